import { once } from "node:events";

import { toJsonString } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";

import { MarketDataService, TradeSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import type { Trade } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side } from "../gen/penstock/v1/order_pb.ts";
import { delay } from "../runtime/backoff.ts";
import { ApiClient } from "./client.ts";
import { interruption } from "./interruption.ts";
import { resumed } from "./resume.ts";
import { apiOf } from "./stack-file.ts";
import { enumName } from "./table.ts";

export interface TradesOptions {
  readonly url?: string;
  readonly token?: string;
  readonly limit: number;
  readonly follow?: true;
  readonly json?: true;
}

/** As many as ListTrades gives at once. */
const PAGE = 1_000;
/** What is written lags behind what happens, by less than this unless Postgres is away. */
const WRITTEN_MS = 10_000;
const ASK_AGAIN_MS = 200;

/** Prints the newest trades of a symbol, the oldest of them first; with `follow` those that come, until Ctrl-C. @throws CallError */
export async function trades(symbol: string, options: TradesOptions): Promise<void> {
  const api = new ApiClient(apiOf(options, "trader"));
  const { signal, release } = interruption();
  const print = async (trades: readonly Trade[]): Promise<void> => {
    const lines = trades.map((trade) => `${options.json ? toJsonString(TradeSchema, trade) : textLine(trade)}\n`);
    if (!process.stdout.write(lines.join(""))) await once(process.stdout, "drain");
  };
  try {
    const newest = await listTrades(api, symbol, options.limit);
    await print(newest);
    if (!options.follow) return;
    for await (const trades of followTrades(api, symbol, newest.at(-1)?.trade, signal)) await print(trades);
  } finally {
    release();
    api.close();
  }
}

/** The newest `limit`, oldest first; those behind `after` alone where it is given. */
async function listTrades(api: ApiClient, symbol: string, limit: number, after = 0n): Promise<Trade[]> {
  const found: Trade[] = [];
  let pageToken = "";
  do {
    const pageSize = Math.min(PAGE, limit - found.length);
    const page = await api.call(MarketDataService.method.listTrades, { symbol, pageSize, pageToken });
    const newer = page.trades.filter(({ trade }) => trade > after);
    found.push(...newer);
    pageToken = newer.length < page.trades.length ? "" : page.nextPageToken;
  } while (pageToken !== "" && found.length < limit);
  return found.toReversed();
}

/** Trades behind the number `last`. What the stream did not tell (before its start, in a cut) is read from what is written. */
async function* followTrades(
  api: ApiClient,
  symbol: string,
  last: bigint | undefined,
  signal: AbortSignal,
): AsyncGenerator<readonly Trade[], void> {
  const open = () => api.stream(MarketDataService.method.watchTrades, { symbol }, signal);
  const onCut = (error: Error): void => void process.stderr.write(`penstock: cut off, going on: ${error.message}\n`);
  for await (const { trades } of resumed(open, { signal, onCut })) {
    const fresh = trades.filter(({ trade }) => last === undefined || trade > last);
    const first = fresh[0]?.trade;
    if (first === undefined) continue;
    if (last !== undefined && first > last + 1n) {
      yield await missingTrades(api, symbol, { after: last, before: first }, signal);
    }
    yield fresh;
    last = fresh.at(-1)?.trade;
  }
}

async function missingTrades(
  api: ApiClient,
  symbol: string,
  { after, before }: { readonly after: bigint; readonly before: bigint },
  signal: AbortSignal,
): Promise<readonly Trade[]> {
  const until = performance.now() + WRITTEN_MS;
  for (;;) {
    const listed = await listTrades(api, symbol, PAGE, after);
    const found = listed.filter(({ trade }) => trade < before);
    if (BigInt(found.length) === before - after - 1n) return found;
    if (performance.now() > until || listed.length >= PAGE || signal.aborted) {
      process.stderr.write(`penstock: some trades between ${after} and ${before} are left out\n`);
      return found;
    }
    await delay(ASK_AGAIN_MS, signal);
  }
}

/** `2026-01-31T12:00:00.000Z  17  BUY  0.1 @ 100.25`: the side is the one that took. */
function textLine({ trade, price, quantity, aggressorSide, at }: Trade): string {
  const time = at === undefined ? "" : timestampDate(at).toISOString();
  return `${time}  ${trade}  ${enumName(Side, aggressorSide).padEnd(4)}  ${quantity} @ ${price}`;
}
