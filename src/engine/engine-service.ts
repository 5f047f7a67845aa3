import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  EnginePartitionStatus_State as State,
  type EngineLevelSchema,
  type EnginePartitionStatusSchema,
  type GetEngineBookAtRequest,
  type GetEngineBookAtResponseSchema,
  type GetEngineBookRequest,
  type GetEngineBookResponseSchema,
  type GetEngineOrderRequest,
  type GetEngineOrderResponseSchema,
  type GetEngineStatusResponseSchema,
} from "../gen/penstock/v1/engine_service_pb.ts";
import type { PositionSchema, TradingStatus } from "../gen/penstock/v1/order_pb.ts";
import type { Partitioning } from "../stream/partition.ts";
import {
  type EntryId,
  type EntryPosition,
  formatEntryId,
  orderIdText,
  parseEntryId,
  parseOrderId,
} from "../stream/position.ts";
import { EngineUnavailableError } from "./engine-run.ts";
import type { BookLevel, MatchingEngine } from "./matching/interface.ts";
import { Side } from "./matching/sets.ts";
import type { EngineState, EngineStatus, PartitionEngine } from "./partition-engine.ts";
import type { BookReplays } from "./replay/book-replays.ts";

/** Of each side. To read and write them takes 20 ms, for which no entry is worked. */
const MAX_LEVELS = 10_000;
/** Of what an entry did: an entry of 500 orders has some 150 kB. More than a client of ours takes is left out. */
const MAX_EVENTS_BYTES = 3 * 1024 * 1024;
/** Reads that wait for the events of an entry. They are answered within milliseconds, or the log does not answer at all. */
const MAX_WAITING = 1_000;

/** Behind every entry there is, and will be. */
const NEWEST: EntryId = { ms: 2 ** 48 - 1, seq: 2 ** 32 - 1 };

const STATES: Readonly<Record<EngineState, State>> = {
  starting: State.STARTING,
  active: State.ACTIVE,
  standby: State.STANDBY,
  stopped: State.STOPPED,
};

/** What was asked for is not there. */
export class NotFoundError extends Error {
  override readonly name = "NotFoundError";
}

/** An engine as it is asked here. */
export type AskedEngine = Pick<PartitionEngine, "status" | "read">;

/** What the engines of a process know, in ticks and lots. Every answer is of a state whose events stand in the log. */
export class EngineAnswers {
  readonly #engines: readonly AskedEngine[];
  readonly #partitioning: Partitioning;
  readonly #replays: Pick<BookReplays, "book">;
  #waiting = 0;

  /** One engine a partition, in their order. */
  constructor(engines: readonly AskedEngine[], partitioning: Partitioning, replays: Pick<BookReplays, "book">) {
    this.#engines = engines;
    this.#partitioning = partitioning;
    this.#replays = replays;
  }

  /** Rejects with a NotFoundError or an EngineUnavailableError, as `order` does. */
  async book({ symbol, depth }: GetEngineBookRequest): Promise<MessageInitShape<typeof GetEngineBookResponseSchema>> {
    const levels = depth === 0 ? MAX_LEVELS : Math.min(depth, MAX_LEVELS);
    const partition = this.#partitioning.of(symbol);
    const { result, position } = await this.#read(partition, (engine) => {
      const state = engine.symbol(symbol);
      if (state === undefined) return undefined;
      return {
        symbol,
        version: BigInt(state.bookVersion),
        tradingStatus: state.status,
        lastPrice: BigInt(state.lastPrice),
        bids: engine.depth(symbol, Side.BUY, levels).map(levelOf),
        asks: engine.depth(symbol, Side.SELL, levels).map(levelOf),
      };
    });
    if (result === undefined) throw new NotFoundError("the engine knows no such symbol");
    return { ...result, position: positionOf(partition, position) };
  }

  /** Rejects as BookReplays.book does, and with a NotFoundError where the entry's ID is none. */
  async bookAt(request: GetEngineBookAtRequest): Promise<MessageInitShape<typeof GetEngineBookAtResponseSchema>> {
    const { symbol, entryId } = request;
    const partition = this.#partitioning.of(symbol);
    const depth = request.depth === 0 ? MAX_LEVELS : Math.min(request.depth, MAX_LEVELS);
    const at = entryId === "" ? NEWEST : entryIdOf(entryId);
    const { book, position, previous, next, events } = await this.#replays.book({ partition, symbol, at, depth });
    return {
      book: {
        symbol,
        version: BigInt(book.version),
        tradingStatus: book.status as TradingStatus,
        lastPrice: BigInt(book.lastPrice),
        bids: book.bids.map(levelOf),
        asks: book.asks.map(levelOf),
        ...(position && { position: positionOf(partition, position) }),
      },
      ...(previous && { previous: positionOf(partition, previous) }),
      ...(next && { next: positionOf(partition, next) }),
      events: events.length > MAX_EVENTS_BYTES ? new Uint8Array() : events,
    };
  }

  async order({ orderId }: GetEngineOrderRequest): Promise<MessageInitShape<typeof GetEngineOrderResponseSchema>> {
    const place = parseOrderId(orderIdText(orderId));
    if (place === undefined || place.partition >= this.#engines.length) throw notOpen();
    const { result: order } = await this.#read(place.partition, (engine) => engine.order(place));
    if (order === undefined) throw notOpen();
    return {
      account: order.account,
      symbol: order.symbol,
      visibleQuantity: BigInt(order.visibleQuantity),
      priority: BigInt(order.priority),
      cumQuantity: BigInt(order.cumQuantity),
      leavesQuantity: BigInt(order.leavesQuantity),
    };
  }

  async status(): Promise<MessageInitShape<typeof GetEngineStatusResponseSchema>> {
    return { partitions: this.#engines.map(({ status }) => statusOf(status)) };
  }

  async #read<Result>(partition: number, look: (engine: MatchingEngine) => Result) {
    if (this.#waiting >= MAX_WAITING) throw new EngineUnavailableError("too many reads are waiting");
    this.#waiting++;
    try {
      return await this.#engines[partition]!.read(look);
    } finally {
      this.#waiting--;
    }
  }
}

function entryIdOf(text: string): EntryId {
  try {
    return parseEntryId(text);
  } catch {
    throw new NotFoundError("that is no ID of an entry");
  }
}

function notOpen(): NotFoundError {
  return new NotFoundError("there is no such open order");
}

function levelOf({ price, quantityLow, quantityHigh, orders }: BookLevel): MessageInitShape<typeof EngineLevelSchema> {
  return { price: BigInt(price), quantityLow: BigInt(quantityLow), quantityHigh: BigInt(quantityHigh), orders };
}

function positionOf(partition: number, position: EntryPosition): MessageInitShape<typeof PositionSchema> {
  return { partition, epoch: position.epoch, entryId: formatEntryId(position) };
}

function statusOf(status: EngineStatus): MessageInitShape<typeof EnginePartitionStatusSchema> {
  const { partition, state, detail, position, stateHash, rules, openOrders, snapshot, unworkable, gap } = status;
  return {
    ...{ partition, state: STATES[state], detail, stateHash, rules, openOrders },
    ...(position && { position: positionOf(partition, position) }),
    ...(snapshot && { snapshot: positionOf(partition, snapshot) }),
    unworkable: unworkable ?? "",
    ...(gap && { gap: { after: positionOf(partition, gap.after), missing: formatEntryId(gap.missing) } }),
  };
}
