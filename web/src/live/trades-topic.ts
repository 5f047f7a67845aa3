import { create } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";
import { Subscription, type WatchRequest, type WatchResponse } from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { type Trade, WatchTradesRequestSchema } from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { Candles } from "./candles.ts";
import { Frames } from "./frames.ts";
import type { Topic } from "./live.ts";
import { Tape } from "./tape.ts";

const PAGE = 1_000;
/** Of what was before: 5,000 trades are 200 kB. */
const PAGES = 5;
/** Until what was on its way to Postgres is there: a worker's transaction and its turn. */
const WRITTEN_MS = 1_500;
/** Trades that Postgres does not have after so many looks are waited for no longer. */
const LOOKS = 5;

/** The trades of a symbol: those that are written, and those that happen. */
export class TradesTopic implements Topic {
  readonly subscription = Subscription.TRADES;
  readonly symbol: string;
  readonly frames = new Frames();
  readonly tape = new Tape();
  readonly candles = new Candles();
  /** Whether what was before is here, as far as it is wanted. */
  readonly loaded = signal(false);
  readonly trouble = signal<string | undefined>(undefined);
  readonly #market: Clients["market"];
  #loading = false;
  readonly #closed = new AbortController();

  constructor(symbol: string, market: Clients["market"]) {
    this.symbol = symbol;
    this.#market = market;
  }

  ask(request: WatchRequest): void {
    request.trades.push(create(WatchTradesRequestSchema, { symbol: this.symbol }));
    // What happens between this and its first answer is in Postgres soon.
    void this.#load();
  }

  take(update: WatchResponse["update"]): void {
    if (update.case !== "trades") return;
    if (this.trouble.peek() !== undefined) this.trouble.value = undefined;
    if (this.#add(update.value.trades) && this.#hasHoles()) void this.#load();
  }

  interrupted({ message }: Failure): void {
    this.trouble.value = message;
  }

  close(): void {
    this.#closed.abort();
  }

  #add(trades: readonly Trade[]): boolean {
    let added = false;
    for (const trade of trades) {
      if (!this.tape.add(trade)) continue;
      this.candles.add(trade);
      added = true;
    }
    if (added) this.frames.touch();
    return added;
  }

  #hasHoles(): boolean {
    return this.loaded.peek() && this.tape.holes.length > 0;
  }

  /** Reads what is written, once at a time, and again until nothing is missing or nothing more comes. */
  async #load(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    try {
      for (let look = 0; look < LOOKS; look++) {
        await this.#read();
        this.loaded.value = true;
        await wait(WRITTEN_MS, this.#closed.signal);
        if (look > 0 && this.tape.holes.length === 0) return;
      }
      // The numbers are not in Postgres either: they are nobody's to show.
      this.tape.giveUpBefore(this.tape.trades[0]?.trade ?? 0n);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.trouble.value = failureOf(error).message;
    } finally {
      this.#loading = false;
    }
  }

  /** Back to the first trade, to what is here, or as far as is wanted. */
  async #read(): Promise<void> {
    let pageToken = "";
    for (let page = 0; page < PAGES; page++) {
      const answer = await this.#page(pageToken);
      this.#add(answer.trades);
      pageToken = answer.nextPageToken;
      const oldest = answer.trades.at(-1)?.trade ?? 0n;
      if (pageToken === "" || page === PAGES - 1) this.tape.giveUpBefore(oldest);
      if (pageToken === "" || this.tape.holes.every(({ from }) => from >= oldest)) return;
    }
  }

  async #page(pageToken: string) {
    const request = { symbol: this.symbol, pageSize: PAGE, pageToken };
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#market.listTrades(request, { signal: this.#closed.signal });
      } catch (error) {
        if (this.#closed.signal.aborted || attempt === LOOKS) throw error;
        await wait(failureOf(error).retryAfterMs ?? backoffMs(attempt), this.#closed.signal);
      }
    }
  }
}
