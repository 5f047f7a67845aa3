import { randomUUID } from "node:crypto";

import { toJsonString } from "@bufbuild/protobuf";

import { AdminService, SetTradingStatusResponseSchema } from "../gen/penstock/v1/admin_service_pb.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { Instrument } from "../gen/penstock/v1/instrument_pb.ts";
import { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import { ApiClient } from "./client.ts";
import { apiOf } from "./stack-file.ts";
import { orderWords } from "./submit.ts";
import { formatTable } from "./table.ts";

const statusWords = {
  open: TradingStatus.OPEN,
  "cancel-only": TradingStatus.CANCEL_ONLY,
  halted: TradingStatus.HALTED,
} as const;

export interface InstrumentOptions {
  readonly url?: string;
  readonly token?: string;
  readonly json?: true;
}

export interface DefineOptions extends InstrumentOptions {
  readonly tick: string;
  readonly lot: string;
  readonly minQuantity?: string;
  readonly maxQuantity?: string;
  readonly minPrice?: string;
  readonly maxPrice?: string;
  readonly types?: (keyof typeof orderWords.type)[];
  readonly timesInForce?: (keyof typeof orderWords.timeInForce)[];
}

/** Prints all instruments, by symbol. */
export async function listInstruments(options: InstrumentOptions): Promise<void> {
  const api = new ApiClient(apiOf(options, "trader"));
  try {
    const { instruments } = await api.call(MarketDataService.method.listInstruments, {});
    print(instruments, options);
  } finally {
    api.close();
  }
}

/** Defines an instrument, or replaces the limits of one that exists: the present version is looked up first. */
export async function defineInstrument(symbol: string, options: DefineOptions): Promise<void> {
  const api = new ApiClient(apiOf(options, "admin"));
  try {
    const { instruments } = await api.call(MarketDataService.method.listInstruments, {});
    const { instrument } = await api.call(AdminService.method.upsertInstrument, {
      instrument: {
        symbol,
        tickSize: options.tick,
        lotSize: options.lot,
        minQuantity: options.minQuantity ?? "",
        maxQuantity: options.maxQuantity ?? "",
        minPrice: options.minPrice ?? "",
        maxPrice: options.maxPrice ?? "",
        orderTypes: (options.types ?? []).map((word) => orderWords.type[word]),
        timesInForce: (options.timesInForce ?? []).map((word) => orderWords.timeInForce[word]),
        version: instruments.find((present) => present.symbol === symbol)?.version ?? 0,
      },
    });
    if (instrument) print([instrument], options);
  } finally {
    api.close();
  }
}

/** Says what a symbol takes from here on. */
export async function setTradingStatus(
  symbol: string,
  status: keyof typeof statusWords,
  options: InstrumentOptions,
): Promise<void> {
  const api = new ApiClient(apiOf(options, "admin"));
  try {
    const request = { requestId: randomUUID(), symbol, status: statusWords[status] };
    const answer = await api.call(AdminService.method.setTradingStatus, request);
    const said = `${symbol} is ${status} from ${answer.commandId} on`;
    process.stdout.write(`${options.json ? toJsonString(SetTradingStatusResponseSchema, answer) : said}\n`);
  } finally {
    api.close();
  }
}

function print(instruments: readonly Instrument[], { json }: InstrumentOptions): void {
  if (json) {
    for (const instrument of instruments) process.stdout.write(`${toJsonString(InstrumentSchema, instrument)}\n`);
    return;
  }
  const rows = instruments.map((instrument) => ({
    symbol: instrument.symbol,
    tick: instrument.tickSize,
    lot: instrument.lotSize,
    quantity: range(instrument.minQuantity, instrument.maxQuantity),
    price: range(instrument.minPrice, instrument.maxPrice),
    types: words(orderWords.type, instrument.orderTypes),
    times_in_force: words(orderWords.timeInForce, instrument.timesInForce),
    version: instrument.version,
  }));
  process.stdout.write(rows.length === 0 ? "no instruments\n" : `${formatTable(rows)}\n`);
}

function range(least: string, most: string): string {
  return least === "" && most === "" ? "any" : `${least || "…"} to ${most || "…"}`;
}

function words(names: Readonly<Record<string, number>>, values: readonly number[]): string {
  const chosen = Object.keys(names).filter((name) => values.includes(names[name] ?? -1));
  return values.length === 0 ? "all" : chosen.join(",");
}
