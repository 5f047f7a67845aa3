import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type TradeSchema, WatchTradesResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import type { Side } from "../gen/penstock/v1/order_pb.ts";
import { fromUnits } from "../stream/decimal.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import type { Feed } from "./call.ts";
import { RequestError } from "./errors.ts";
import type { News, NewsListener, SymbolNews } from "./symbol-news.ts";
import { timestampOf } from "./timestamp.ts";

/** Half of what the API promises, so that one that is late is not missed. */
const HEARTBEAT_MS = 5_000;

const MISSED = new RequestError(
  "UNAVAILABLE",
  "trades may have been missed: open another watch, and read them by ListTrades",
);
const NOTHING = encode([]);

/** Trades as they happen, of each symbol that is watched: each entry's are encoded once. */
export class TradeWatches {
  readonly #news: SymbolNews;
  readonly #tapes = new Map<string, Tape>();

  constructor(news: SymbolNews) {
    this.#news = news;
  }

  /** Until the feed is over. */
  async watch(instrument: TradedInstrument, feed: Feed): Promise<void> {
    const { symbol } = instrument;
    const tape = this.#tapes.get(symbol) ?? new Tape(instrument, this.#news);
    this.#tapes.set(symbol, tape);
    tape.feeds.add(feed);
    // From here on no trade is missed.
    feed.send([NOTHING]);
    await feed.over;
    tape.feeds.delete(feed);
    if (tape.feeds.size > 0 || this.#tapes.get(symbol) !== tape) return;
    tape.end();
    this.#tapes.delete(symbol);
  }
}

class Tape implements NewsListener {
  readonly feeds = new Set<Feed>();
  readonly #instrument: TradedInstrument;
  readonly #stopListening: () => void;
  readonly #beats: NodeJS.Timeout;

  constructor(instrument: TradedInstrument, news: SymbolNews) {
    this.#instrument = instrument;
    this.#stopListening = news.listen(instrument.symbol, this);
    this.#beats = setInterval(() => this.#tell(NOTHING), HEARTBEAT_MS);
  }

  news({ ms, events }: News): void {
    const trades = tradesOf(this.#instrument, ms, events);
    if (trades.length > 0) this.#tell(encode(trades));
  }

  reset(): void {
    for (const feed of this.feeds) feed.end(MISSED);
  }

  end(): void {
    clearInterval(this.#beats);
    this.#stopListening();
  }

  #tell(answer: Uint8Array): void {
    for (const feed of this.feeds) feed.send([answer]);
  }
}

/** The trades of a symbol that its events tell of; `ms` is the time of their entry. A trade is two events, one of them the aggressor's. */
export function tradesOf(
  { symbol, tick, lot }: TradedInstrument,
  ms: number,
  events: readonly EngineEvent[],
): MessageInitShape<typeof TradeSchema>[] {
  return events
    .filter(({ trade, aggressor }) => trade > 0 && aggressor)
    .map(({ trade, lastPrice, lastQuantity, side }) => ({
      symbol,
      trade: BigInt(trade),
      price: fromUnits(lastPrice, tick),
      quantity: fromUnits(lastQuantity, lot),
      aggressorSide: side as Side,
      at: timestampOf(ms),
    }));
}

function encode(trades: MessageInitShape<typeof TradeSchema>[]): Uint8Array {
  return toBinary(WatchTradesResponseSchema, create(WatchTradesResponseSchema, { trades }));
}
