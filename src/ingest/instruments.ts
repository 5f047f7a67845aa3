import { toBinary } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { prepareInstrument } from "../stream/prepared-command.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { Partitioning } from "../stream/partition.ts";
import type { AuditTrail } from "./audit-trail.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import type { OrderLog } from "./order-log.ts";
import { validateUpsertInstrument } from "./validation/definition.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;
type MarketMethods = Implementation<typeof MarketDataService>;

/** What can be traded. A definition is a command in the log, written together with the hash that doors and workers read. */
export class InstrumentMethods
  implements Pick<MarketMethods, "listInstruments">, Pick<AdminMethods, "upsertInstrument">
{
  readonly #book: InstrumentBook;
  readonly #partitioning: Partitioning;
  readonly #orderLog: OrderLog;
  readonly #trail: AuditTrail;
  readonly #log: Logger;

  constructor(book: InstrumentBook, partitioning: Partitioning, orderLog: OrderLog, trail: AuditTrail, log: Logger) {
    this.#book = book;
    this.#partitioning = partitioning;
    this.#orderLog = orderLog;
    this.#trail = trail;
    this.#log = log;
  }

  listInstruments: MarketMethods["listInstruments"] = async () => {
    await this.#book.refresh();
    return { instruments: this.#book.all().map(({ definition }) => definition) };
  };

  upsertInstrument: AdminMethods["upsertInstrument"] = async (request, call) => {
    await this.#book.refresh(); // tick and lot are held against what is there now
    const next = validateUpsertInstrument(request, this.#book);
    if (isRefused(next)) throw invalidArgument(next);
    const present = this.#book.defined(next.symbol);
    const version = present?.definition.version ?? 0;
    if (next.version !== version + 1) {
      throw new RequestError("ABORTED", `the present version of ${next.symbol} is ${version}, not ${next.version - 1}`);
    }
    const change = {
      symbol: next.symbol,
      present: present?.encoded ?? Buffer.alloc(0),
      next: Buffer.from(toBinary(InstrumentSchema, next)),
    };
    const actor = call.principal.account;
    const command = prepareInstrument(actor, next);
    const action = {
      actor,
      action: "UpsertInstrument",
      subject: next.symbol,
      details: { version: String(next.version) },
    };
    const commandId = await this.#trail.around(action, async () => {
      const [placement] = await this.#orderLog.append(this.#partitioning.of(next.symbol), [command], call, change);
      const { id, outcome } = placement!;
      if (outcome === "conflict")
        throw new RequestError("ABORTED", `version ${next.version} of ${next.symbol} is another one`);
      return id;
    });
    await this.#book.refresh();
    this.#log.info({ symbol: next.symbol, version: next.version, by: actor }, "instrument defined");
    return { instrument: next, commandId };
  };
}
