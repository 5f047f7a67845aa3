import { fromBinary } from "@bufbuild/protobuf";
import type { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side } from "../gen/penstock/v1/order_pb.ts";
import type { ExecutionReport, Position } from "../gen/penstock/v1/order_pb.ts";
import { WatchOrdersResponseSchema } from "../gen/penstock/v1/order_service_pb.ts";
import type { EventBatch } from "../stream/event-batch.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { Partitioning } from "../stream/partition.ts";
import { parseEntryId } from "../stream/position.ts";
import type { Principal } from "./auth/tokens.ts";
import { CHECKED_LEVELS, levelOf, messageOf } from "./book-side.ts";
import type { Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { invalidArgument } from "./errors.ts";
import { bookOf } from "./live-book.ts";
import { reportOf } from "./reports.ts";
import { timestampOf } from "./timestamp.ts";
import { tradesOf } from "./trade-watches.ts";
import { validateBookAt } from "./validation/market.ts";
import { isRefused } from "./validation/violation.ts";

type MarketMethods = Implementation<typeof MarketDataService>;

export interface BookHistoryOptions {
  readonly engines: EngineClient;
  readonly instruments: InstrumentBook;
  readonly partitioning: Partitioning;
}

/** As many as are shown. */
const MAX_REPORTS = 1_000;

/** Books as they were, by a replay beside the engine. */
export class BookHistory implements Pick<MarketMethods, "getBookAt"> {
  readonly #options: BookHistoryOptions;

  constructor(options: BookHistoryOptions) {
    this.#options = options;
  }

  getBookAt: MarketMethods["getBookAt"] = async (request, { principal, deadline }) => {
    const { engines, instruments, partitioning } = this.#options;
    await instruments.find(request.symbol);
    const wanted = validateBookAt(request, instruments, partitioning);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    const { instrument, depth, entryId } = wanted;
    const found = await engines.getBookAt(instrument.symbol, entryId, Math.max(depth, CHECKED_LEVELS), deadline);
    const { book, previous, next, events } = found;
    const position = book?.position;
    const around = { ...(previous && { previous }), ...(next && { next }) };
    const answer = { ...(book && { book: bookOf(instrument, book, depth) }), ...around };
    if (position === undefined) return answer;
    const at = timestampOf(parseEntryId(position.entryId).ms);
    // Empty where the entry lies before what is kept.
    const batch = decodeEventBatch(Buffer.from(events));
    return { ...answer, position, at, ...this.#done(instrument, position, batch, principal) };
  };

  /** What an entry did to a symbol, as far as the caller may see it. */
  #done(instrument: TradedInstrument, position: Position, batch: EventBatch, { account, role }: Principal) {
    const { instruments } = this.#options;
    const { symbol } = instrument;
    const { partition, epoch, entryId: id } = position;
    const { ms, seq } = parseEntryId(id);
    const entry = { id, epoch, ms, seq };
    const own = batch.events.filter((event) => event.symbol === symbol);
    const levels = batch.levels.filter((level) => level.symbol === symbol);
    const levelsOf = (side: Side) =>
      levels.filter((level) => level.side === side).map((level) => messageOf(levelOf(level, instrument)));
    const reports: ExecutionReport[] = [];
    for (const [index, event] of batch.events.entries()) {
      if (event.symbol !== symbol || (role !== "admin" && event.account !== account)) continue;
      if (reports.length === MAX_REPORTS) break;
      const report = reportOf(event, index, entry, partition, instruments);
      if (report === undefined) continue;
      reports.push(fromBinary(WatchOrdersResponseSchema, report.bytes).update.value as ExecutionReport);
    }
    return {
      commands: new Set(own.filter(({ command }) => command >= 0).map(({ command }) => command)).size,
      bids: levelsOf(Side.BUY),
      asks: levelsOf(Side.SELL),
      trades: tradesOf(instrument, ms, own),
      reports,
    };
  }
}
