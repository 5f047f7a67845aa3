import { create, toBinary } from "@bufbuild/protobuf";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import { LiveService, Subscription as Kind, WatchResponseSchema } from "../gen/penstock/v1/live_service_pb.ts";
import type { WatchRequest } from "../gen/penstock/v1/live_service_pb.ts";
import type { MarketDataService } from "../gen/penstock/v1/market_data_service_pb.ts";
import type { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { WireWriter } from "../stream/wire.ts";
import type { Call, Feed, Implementation } from "./call.ts";
import { asRequestError, invalidArgument, RequestError, toStatus } from "./errors.ts";
import type { Gate } from "./gate.ts";
import { liveFaults } from "./validation/live.ts";

type Kinds = Exclude<(typeof Kind)[keyof typeof Kind], 0>;

export interface LiveWatchesOptions {
  readonly orders: Pick<Implementation<typeof OrderService>, "watchOrders">;
  readonly market: Pick<Implementation<typeof MarketDataService>, "watchBook" | "watchTrades">;
  readonly pipeline: Pick<Implementation<typeof AdminService>, "watchPipeline">;
  readonly gate: Pick<Gate, "refuse">;
}

/** Where a WatchResponse holds the answers of each kind. */
const FIELDS: Readonly<Record<Kinds, number>> = {
  [Kind.ORDERS]: WatchResponseSchema.field.orders.number,
  [Kind.BOOK]: WatchResponseSchema.field.book.number,
  [Kind.TRADES]: WatchResponseSchema.field.trades.number,
  [Kind.PIPELINE]: WatchResponseSchema.field.pipeline.number,
};
const SYMBOL_FIELD = WatchResponseSchema.field.symbol.number;

/** Several watches over one stream. */
export class LiveWatches implements Implementation<typeof LiveService> {
  readonly #options: LiveWatchesOptions;
  /** By kind and symbol: no more than there are instruments, twice, and two. */
  readonly #envelopes = new Map<string, Envelope>();

  constructor(options: LiveWatchesOptions) {
    this.#options = options;
  }

  watch: Implementation<typeof LiveService>["watch"] = async (request, call, feed) => {
    const violations = liveFaults(request);
    if (violations.length > 0) throw invalidArgument({ violations });
    const works = this.#worksOf(request, call);
    let left = works.length;
    const refuse = (thrown: unknown): RequestError =>
      this.#options.gate.refuse(LiveService.method.watch, thrown, undefined).error;
    const subscriptions = works.map(async ({ kind, symbol, work }) => {
      const own = new Subscription(feed, () => this.#envelopeOf(kind, symbol));
      const error = await own.outcome(work);
      // The last one ends the stream in its own way.
      if (--left === 0) throw error;
      if (!feed.isOver) feed.send([ended(kind, symbol, refuse(error))]);
    });
    await Promise.race([feed.over, Promise.all(subscriptions)]);
    await Promise.allSettled(subscriptions);
  };

  #worksOf(request: WatchRequest, call: Call) {
    const { orders, market, pipeline } = this.#options;
    const { books, trades } = request;
    const works: { kind: Kinds; symbol: string; work: (feed: Feed) => Promise<void> }[] = [];
    const { orders: ofOrders, pipeline: ofPipeline } = request;
    if (ofOrders !== undefined) {
      works.push({ kind: Kind.ORDERS, symbol: "", work: (feed) => orders.watchOrders(ofOrders, call, feed) });
    }
    for (const of of books) {
      works.push({ kind: Kind.BOOK, symbol: of.symbol, work: (feed) => market.watchBook(of, call, feed) });
    }
    for (const of of trades) {
      works.push({ kind: Kind.TRADES, symbol: of.symbol, work: (feed) => market.watchTrades(of, call, feed) });
    }
    if (ofPipeline !== undefined) {
      works.push({ kind: Kind.PIPELINE, symbol: "", work: (feed) => pipeline.watchPipeline(ofPipeline, call, feed) });
    }
    return works;
  }

  #envelopeOf(kind: Kinds, symbol: string): Envelope {
    const key = `${kind} ${symbol}`;
    const envelope = this.#envelopes.get(key) ?? new Envelope(kind, symbol);
    this.#envelopes.set(key, envelope);
    return envelope;
  }
}

const OVER = new RequestError("CANCELLED", "the stream is over");

/** One of the watches of a stream, as its own work sees it. Always true: once it is over nothing is sent of it. */
class Subscription implements Feed {
  readonly over: Promise<void>;
  readonly #stream: Feed;
  readonly #envelope: () => Envelope;
  readonly #end: (error: RequestError) => void;
  readonly #ended: Promise<RequestError>;
  #error: RequestError | undefined;

  /** The envelope is asked for with the first answer, which no symbol gets that is none. */
  constructor(stream: Feed, envelope: () => Envelope) {
    this.#stream = stream;
    this.#envelope = envelope;
    const { promise, resolve } = Promise.withResolvers<RequestError>();
    this.#ended = promise;
    this.#end = resolve;
    this.over = Promise.race([stream.over, promise.then(() => undefined)]);
  }

  get isOver(): boolean {
    return this.#error !== undefined || this.#stream.isOver;
  }

  send(answers: readonly Uint8Array[]): void {
    if (this.isOver) return;
    const envelope = this.#envelope();
    this.#stream.send(answers.map((answer) => envelope.around(answer)));
  }

  room(): Promise<void> {
    return this.#stream.room();
  }

  end(error: RequestError): void {
    this.#error ??= error;
    this.#end(this.#error);
  }

  /** Why it is over, once its work has ended. */
  async outcome(work: (feed: Feed) => Promise<void>): Promise<RequestError> {
    try {
      await work(this);
      this.end(OVER);
    } catch (error) {
      this.end(asRequestError(error));
    }
    return this.#ended;
  }
}

const head = new WireWriter(256);

/** Puts the answers of a kind, and of a symbol, into WatchResponses: each one once, however many watch the same. */
class Envelope {
  readonly #kind: Kinds;
  readonly #symbol: string;
  readonly #made = new WeakMap<Uint8Array, Uint8Array>();

  constructor(kind: Kinds, symbol: string) {
    this.#kind = kind;
    this.#symbol = symbol;
  }

  around(answer: Uint8Array): Uint8Array {
    const known = this.#made.get(answer);
    if (known !== undefined) return known;
    head.length = 0;
    head.string(SYMBOL_FIELD, this.#symbol);
    head.header(FIELDS[this.#kind], answer.length);
    const made = Buffer.concat([head.bytes(), answer]);
    this.#made.set(answer, made);
    return made;
  }
}

function ended(kind: Kinds, symbol: string, error: RequestError): Uint8Array {
  const value = { subscription: kind, status: toStatus(error) };
  return toBinary(WatchResponseSchema, create(WatchResponseSchema, { symbol, update: { case: "ended", value } }));
}
