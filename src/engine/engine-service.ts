import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  EnginePartitionStatus_State as State,
  type EngineLevelSchema,
  type EnginePartitionStatusSchema,
  type GetEngineBookRequest,
  type GetEngineBookResponseSchema,
  type GetEngineOrderRequest,
  type GetEngineOrderResponseSchema,
  type GetEngineStatusResponseSchema,
} from "../gen/penstock/v1/engine_service_pb.ts";
import type { PositionSchema } from "../gen/penstock/v1/order_pb.ts";
import type { Partitioning } from "../stream/partition.ts";
import { type EntryPosition, formatEntryId, orderIdText, parseOrderId } from "../stream/position.ts";
import { EngineUnavailableError } from "./engine-run.ts";
import { type BookLevel, type MatchingEngine, Side } from "./matching/interface.ts";
import type { EngineState, EngineStatus, PartitionEngine } from "./partition-engine.ts";

/** Of each side. To read and write them takes 20 ms, for which no entry is worked. */
const MAX_LEVELS = 10_000;
/** Reads that wait for the events of an entry. They are answered within milliseconds, or the log does not answer at all. */
const MAX_WAITING = 1_000;

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
  #waiting = 0;

  /** One engine a partition, in their order. */
  constructor(engines: readonly AskedEngine[], partitioning: Partitioning) {
    this.#engines = engines;
    this.#partitioning = partitioning;
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
  const { partition, state, detail, position, stateHash, rules, openOrders, snapshot, unworkable } = status;
  return {
    ...{ partition, state: STATES[state], detail, stateHash, rules, openOrders },
    ...(position && { position: positionOf(partition, position) }),
    ...(snapshot && { snapshot: positionOf(partition, snapshot) }),
    unworkable: unworkable ?? "",
  };
}
