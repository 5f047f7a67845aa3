import { crc32 } from "node:zlib";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { GetEngineBookResponse } from "../gen/penstock/v1/engine_service_pb.ts";
import { type Book, type BookSchema, WatchBookResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side } from "../gen/penstock/v1/order_pb.ts";
import type { LevelChange } from "../stream/event-batch.ts";
import { EVENT_KIND } from "../stream/event-names.ts";
import { fromUnits } from "../stream/decimal.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import { compareEntries, type EntryPosition, parseEntryId, START } from "../stream/position.ts";
import { BookSide, CHECKED_LEVELS, type Level, levelOf, type LevelSource, messageOf } from "./book-side.ts";
import type { News } from "./symbol-news.ts";
import { timestampOf } from "./timestamp.ts";

/**
 * Levels of each side that a snapshot has at most: some 400 kB in all, a tenth of what clients of gRPC take in a message. What lies
 * beyond the last of them is not told of; where half of them are gone, or there are twice as many, a new snapshot is due.
 */
export const MAX_LEVELS = 5_000;
/** A snapshot of a full book takes 15 ms or so: so many changes later, at the earliest, another one is made for who comes. */
const MAX_SINCE = 100;

type Update = MessageInitShape<typeof WatchBookResponseSchema>["update"];

/**
 * A symbol's book as all its watchers have it, from a snapshot of the engine and the changes behind that.
 *
 * Always true: `version` is that of the last change that was taken, `place` is the last entry of which it knows; each side has
 * every level up to its horizon.
 */
export class LiveBook {
  readonly #instrument: TradedInstrument;
  readonly #bids: BookSide;
  readonly #asks: BookSide;
  readonly #tradingStatus: Book["tradingStatus"];
  #lastPrice: number;
  #version: number;
  #place: EntryPosition;
  #checksum: number;
  /** A snapshot that was made, and all that came behind it. */
  #snapshot: { readonly bytes: Uint8Array; readonly since: Uint8Array[] } | undefined;

  constructor(instrument: TradedInstrument, book: GetEngineBookResponse) {
    this.#instrument = instrument;
    this.#bids = new BookSide(instrument, true, book.bids.map(sourceOf), MAX_LEVELS);
    this.#asks = new BookSide(instrument, false, book.asks.map(sourceOf), MAX_LEVELS);
    this.#tradingStatus = book.tradingStatus;
    this.#lastPrice = Number(book.lastPrice);
    this.#version = Number(book.version);
    const { position } = book;
    this.#place = position ? { epoch: position.epoch, ...parseEntryId(position.entryId) } : { epoch: 0, ...START };
    this.#checksum = checksumOf(this.#bids.best(CHECKED_LEVELS), this.#asks.best(CHECKED_LEVELS));
  }

  get version(): number {
    return this.#version;
  }

  get place(): EntryPosition {
    return this.#place;
  }

  /** Whether so much has come and gone that it is to be taken from the engine anew. */
  get isWorn(): boolean {
    return [this.#bids, this.#asks].some(
      (side) => side.count > 2 * MAX_LEVELS || (side.horizon !== undefined && side.count < MAX_LEVELS / 2),
    );
  }

  /**
   * Takes what an entry did. Gives the answer that tells of it, if it touched the book; "gap" where a change before it is missing,
   * or where the book has what the log has lost since, and "stale" where it tells more than levels can: then the book is to be
   * taken anew.
   */
  apply({ epoch, ms, seq, levels, events }: News): Uint8Array | "gap" | "stale" | undefined {
    // What the engine's snapshot had already.
    if (compareEntries({ epoch, ms, seq }, this.#place) <= 0) return undefined;
    for (const { trade, lastPrice } of events) if (trade > 0) this.#lastPrice = lastPrice;
    // An operator's command, that sets the trading status perhaps, which no increment has.
    if (events.some(({ kind, account }) => kind === EVENT_KIND.COMMAND && account === "")) return "stale";
    const version = levels[0]?.version;
    if (version !== undefined && version !== this.#version + 1) return "gap";
    this.#place = { epoch, ms, seq };
    if (version === undefined) return undefined;
    this.#version = version;
    const bids = this.#take(this.#bids, levels, Side.BUY);
    const asks = this.#take(this.#asks, levels, Side.SELL);
    this.#checksum = checksumOf(this.#bids.best(CHECKED_LEVELS), this.#asks.best(CHECKED_LEVELS));
    const answer = encode({
      case: "increment",
      value: { version: BigInt(version), bids, asks, checksum: this.#checksum, at: timestampOf(ms) },
    });
    if (this.#snapshot !== undefined && this.#snapshot.since.push(answer) > MAX_SINCE) this.#snapshot = undefined;
    return answer;
  }

  /** What makes the book for who has nothing: a snapshot, and what came behind it. */
  answers(): readonly Uint8Array[] {
    this.#snapshot ??= { bytes: encode({ case: "snapshot", value: this.#toMessage() }), since: [] };
    return [this.#snapshot.bytes, ...this.#snapshot.since];
  }

  heartbeat(ms: number): Uint8Array {
    const value = { version: BigInt(this.#version), checksum: this.#checksum, at: timestampOf(ms) };
    return encode({ case: "heartbeat", value });
  }

  #take(side: BookSide, levels: readonly LevelChange[], of: number) {
    return levels.flatMap((change) => {
      const level = change.side === of ? side.set(change) : undefined;
      return level === undefined ? [] : [messageOf(level)];
    });
  }

  #toMessage(): MessageInitShape<typeof BookSchema> {
    const { symbol, tick } = this.#instrument;
    return {
      symbol,
      version: BigInt(this.#version),
      bids: this.#bids.best(Infinity).map(messageOf),
      asks: this.#asks.best(Infinity).map(messageOf),
      tradingStatus: this.#tradingStatus,
      lastPrice: this.#lastPrice === 0 ? "" : fromUnits(this.#lastPrice, tick),
      checksum: this.#checksum,
    };
  }
}

/** The best `depth` levels of each side of an engine's book, which has the ten best at least where there are so many. */
export function bookOf(
  instrument: TradedInstrument,
  book: GetEngineBookResponse,
  depth: number,
): MessageInitShape<typeof BookSchema> {
  const [bids, asks] = [book.bids, book.asks].map((side) =>
    side.slice(0, Math.max(depth, CHECKED_LEVELS)).map((level) => levelOf(sourceOf(level), instrument)),
  ) as [Level[], Level[]];
  return {
    symbol: instrument.symbol,
    version: book.version,
    bids: bids.slice(0, depth).map(messageOf),
    asks: asks.slice(0, depth).map(messageOf),
    tradingStatus: book.tradingStatus,
    lastPrice: book.lastPrice === 0n ? "" : fromUnits(Number(book.lastPrice), instrument.tick),
    checksum: checksumOf(bids.slice(0, CHECKED_LEVELS), asks.slice(0, CHECKED_LEVELS)),
  };
}

function checksumOf(bids: readonly Level[], asks: readonly Level[]): number {
  let text = "";
  for (const level of bids) text += level.text;
  for (const level of asks) text += level.text;
  return crc32(text);
}

function sourceOf({ price, quantityHigh, quantityLow, orders }: GetEngineBookResponse["bids"][number]): LevelSource {
  return {
    price: Number(price),
    quantityHigh: Number(quantityHigh),
    quantityLow: Number(quantityLow),
    orders,
  };
}

function encode(update: NonNullable<Update>): Uint8Array {
  return toBinary(WatchBookResponseSchema, create(WatchBookResponseSchema, { update }));
}
