import type postgres from "postgres";
import { type MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side } from "../gen/penstock/v1/order_pb.ts";
import { listTrades } from "../store/trades.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import { CHECKED_LEVELS } from "./book-side.ts";
import { type BookWatches, notThereYet } from "./book-watches.ts";
import type { Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { bookOf } from "./live-book.ts";
import { timestampOf } from "./timestamp.ts";
import type { TradeWatches } from "./trade-watches.ts";
import { validateBook, validateSymbol, validateTrades } from "./validation/market.ts";
import { isRefused } from "./validation/violation.ts";

type MarketMethods = Implementation<typeof MarketDataService>;

export interface MarketDataOptions {
  readonly sql: postgres.Sql;
  readonly engines: EngineClient;
  readonly instruments: InstrumentBook;
  readonly books: BookWatches;
  readonly trades: TradeWatches;
}

/** What all can see of the market. */
export class MarketData implements Omit<MarketMethods, "listInstruments" | "getBookAt"> {
  readonly #options: MarketDataOptions;

  constructor(options: MarketDataOptions) {
    this.#options = options;
  }

  getBook: MarketMethods["getBook"] = async (request, call) => {
    const { engines, instruments } = this.#options;
    await instruments.find(request.symbol);
    const wanted = validateBook(request, instruments);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    const { instrument, depth } = wanted;
    try {
      const book = await engines.getBook(instrument.symbol, Math.max(depth, CHECKED_LEVELS), call.deadline);
      return { book: bookOf(instrument, book, depth) };
    } catch (error) {
      throw error instanceof RequestError && error.code === "NOT_FOUND" ? notThereYet() : error;
    }
  };

  watchBook: MarketMethods["watchBook"] = async (request, _, feed) => {
    const { instruments, books } = this.#options;
    await instruments.find(request.symbol);
    const wanted = validateSymbol(request, instruments);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    await books.watch(wanted.instrument, feed);
  };

  watchTrades: MarketMethods["watchTrades"] = async (request, _, feed) => {
    const { instruments, trades } = this.#options;
    await instruments.find(request.symbol);
    const wanted = validateSymbol(request, instruments);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    await trades.watch(wanted.instrument, feed);
  };

  listTrades: MarketMethods["listTrades"] = async (request) => {
    const { sql, instruments } = this.#options;
    await instruments.find(request.symbol);
    const wanted = validateTrades(request, instruments);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    const { instrument, limit, before } = wanted;
    // One more than asked for tells whether there is another page.
    const found = await listTrades(sql, instrument.symbol, { before, limit: limit + 1 });
    const trades = found.slice(0, limit);
    const nextPageToken = found.length > limit ? String(trades.at(-1)!.trade) : "";
    return {
      trades: trades.map(({ symbol, trade, ms, price, quantity, aggressor }) => ({
        symbol,
        trade: BigInt(trade),
        price,
        quantity,
        aggressorSide: Side[aggressor],
        at: timestampOf(ms),
      })),
      nextPageToken,
    };
  };
}
