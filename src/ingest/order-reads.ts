import type { Redis } from "ioredis";
import type postgres from "postgres";
import { OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import type { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry as readJournalEntry } from "../store/journal.ts";
import { findOrder, findOrderByClientId, listOrders, type StoredOrder } from "../store/orders.ts";
import type { PlacedEvent } from "../stream/order-status.ts";
import { clientKeyOf, idempotencyKey, SCHEMA_VERSION } from "../stream/command.ts";
import { decodeBatch } from "../stream/logged-command.ts";
import { fromUnits } from "../stream/decimal.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { NotOpenError, openHead } from "../stream/head.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry, findNewest, findSeen } from "../stream/lookup.ts";
import type { Partitioning } from "../stream/partition.ts";
import {
  compareEntryIds,
  type EntryId,
  formatEntryId,
  formatOrderId,
  orderIdBytes,
  parseEntryId,
  type Place,
  START,
} from "../stream/position.ts";
import type { GroupState } from "../stream/status.ts";
import type { Admission, PartitionState } from "./admission.ts";
import type { Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { createdMsOf, type OrderInit, orderOf, storedAveragePrice } from "./execution-reports.ts";
import { isBehind, type OrderStates } from "./order-states.ts";
import { isOutage } from "./outage.ts";
import { timestampOf } from "./timestamp.ts";
import { validateGet, validateList } from "./validation/requests.ts";
import type { Target } from "./validation/target.ts";
import { isRefused } from "./validation/violation.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderReadsOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly states: OrderStates;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
  readonly partitioning: Partitioning;
  readonly instruments: InstrumentBook;
  readonly admission: Admission;
  readonly engines: Pick<EngineClient, "getOrder">;
  /** For so long an order's rows are kept, however long it is open; 0: for ever. */
  readonly retentionDays: number;
}

const DAY_MS = 86_400_000;
const NOT_OPEN = "the log is being opened, and whether the order is there is not known until then: ask again";

/**
 * Reads of orders. An acknowledged order is never NOT_FOUND: it is in Postgres, or still in the log at its place, or by then
 * in Postgres after all; or, where the log was trimmed and its row was dead-lettered, in the journal.
 *
 * Its state is the newest one that Redis or Postgres has: Redis knows what was answered as MATCHED, and Postgres what Redis
 * has forgotten, so a state that was seen does not go back.
 */
export class OrderReads implements Pick<OrderMethods, "getOrder" | "listOrders"> {
  readonly #options: OrderReadsOptions;

  constructor(options: OrderReadsOptions) {
    this.#options = options;
  }

  getOrder: OrderMethods["getOrder"] = async (request, call) => {
    const { instruments } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const target = validateGet(request, instruments);
    if (isRefused(target)) throw invalidArgument(target);
    return { order: await this.read(target, call.principal.account) };
  };

  listOrders: OrderMethods["listOrders"] = async (request, call) => {
    const { sql, instruments, admission } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const page = validateList(request, instruments);
    if (isRefused(page)) throw invalidArgument(page);
    // Looked at before the rows: what was finished by then is in them.
    const { partitions } = await admission.look();
    const { before, openOnly, limit } = page;
    const asOf = await Promise.all(partitions.map((state) => this.#finished(state, openOnly)));
    const symbol = page.instrument?.symbol;
    const { account } = call.principal;
    const list = await listOrders(sql, { account, symbol, before, openOnly, limit });
    const orders = await this.#withNewest(list.orders);
    return { orders: openOnly ? orders.filter(isOpen) : orders, nextPageToken: list.end ?? "", asOf };
  };

  /** Rows with what Redis knows of them beyond. */
  async #withNewest(rows: readonly StoredOrder[]): Promise<OrderInit[]> {
    const { states, partitioning } = this.#options;
    const orders: OrderInit[] = [];
    const byPartition = Map.groupBy(rows.entries(), ([, { symbol }]) => partitioning.of(symbol));
    await Promise.all(
      Array.from(byPartition, async ([partition, group]) => {
        const known = group.map(([, { orderId, state }]) => ({ orderId, known: state ?? undefined }));
        const newer = await states.newer(partition, known);
        for (const [k, [i, row]] of group.entries()) {
          const event = newer[k];
          orders[i] = await (event === undefined ? this.#fromStored(row) : this.#fromEvent(event));
        }
      }),
    );
    return orders;
  }

  /**
   * The place up to which all orders are written, and with `states` what the engine made of them. Its epoch is that of the entry
   * there, which may be older than the log's.
   */
  async #finished({ partition, state, events }: PartitionState, states: boolean) {
    const { redis, partitions } = this.#options;
    let finished = finishedBy(state.groups);
    if (states) {
      // The events of an entry have its ID.
      const ofEvents = finishedBy(events?.groups ?? []);
      if (compareEntryIds(ofEvents, finished) < 0) finished = ofEvents;
    }
    const entryId = formatEntryId(finished);
    const { head } = state;
    if (compareEntryIds(finished, head.base) >= 0) return { partition, epoch: head.epoch, entryId };
    const newest = await findNewest(redis, partitions[partition]!, finished);
    return { partition, epoch: newest?.epoch ?? 0, entryId };
  }

  /** The order that a request means, if it is the account's own, as far as it never changes. Throws NOT_FOUND. */
  async find({ place }: Target & { readonly by: "order_id" }, account: string): Promise<{ readonly symbol: string }> {
    const kept = await this.#surely(
      place.partition,
      async () => (await this.#newestIn(place))?.event ?? (await this.#beyond(place)),
    );
    const order = kept ?? (await this.#inBook(place));
    return { symbol: own(order, account).symbol ?? "" };
  }

  /** One that is open for longer than its rows are kept: the engine alone knows it. */
  async #inBook(place: Place): Promise<{ readonly account: string; readonly symbol: string } | undefined> {
    const { redis, partitions, engines, retentionDays } = this.#options;
    const keys = partitions[place.partition];
    if (keys === undefined || retentionDays === 0 || place.ms > Date.now() - retentionDays * DAY_MS) return undefined;
    if ((await redis.exists(keys.engine)) === 0) return undefined; // no engine is part of the deployment
    try {
      return await engines.getOrder(orderIdBytes(formatOrderId(place)));
    } catch (error) {
      if (error instanceof RequestError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** The order that a request means, if it is the account's own. Throws NOT_FOUND. */
  async read(target: Target, account: string): Promise<OrderInit> {
    if (target.by === "order_id") {
      const { place } = target;
      return own(await this.#surely(place.partition, () => this.orderAt(place)), account);
    }
    const { symbol } = target.instrument;
    const look = () => this.#byClientId(account, symbol, target.clientOrderId);
    return own(await this.#surely(this.#options.partitioning.of(symbol), look), account);
  }

  /**
   * What there is in a partition. Only of a log that was open all the while it counts that there is nothing: where Redis has lost an
   * order, a worker may have it in hand, and it is put back before the log is open again. Throws UNAVAILABLE of any other.
   */
  async #surely<Found>(partition: number, look: () => Promise<Found | undefined>): Promise<Found | undefined> {
    const found = await look();
    const keys = this.#options.partitions[partition];
    if (found !== undefined || keys === undefined) return found;
    const epoch = await this.#openEpoch(keys);
    const foundAgain = await look();
    if (foundAgain !== undefined || (await this.#openEpoch(keys)) === epoch) return foundAgain;
    throw new RequestError("UNAVAILABLE", NOT_OPEN);
  }

  async #openEpoch(keys: PartitionKeys): Promise<number> {
    try {
      return (await openHead(this.#options.redis, keys)).epoch;
    } catch (error) {
      if (error instanceof NotOpenError) throw new RequestError("UNAVAILABLE", NOT_OPEN);
      throw error;
    }
  }

  async #byClientId(account: string, symbol: string, clientOrderId: string): Promise<OrderInit | undefined> {
    const { redis, sql, partitioning, partitions } = this.#options;
    const key = idempotencyKey("submit", account, symbol, clientOrderId);
    const partition = partitioning.of(symbol);
    const seen = await findSeen(redis, partitions[partition]!, key);
    if (seen !== undefined) return this.orderAt({ partition, ...seen });
    const stored = await findOrderByClientId(sql, account, symbol, clientOrderId, BigInt(clientKeyOf(key)));
    return stored && (await this.#withNewest([stored]))[0];
  }

  /** The order at a place of the log, whosever it is; undefined where there is none. */
  async orderAt(place: Place): Promise<OrderInit | undefined> {
    const newest = await this.#newestIn(place);
    if (newest === undefined) return this.#beyond(place);
    // An end is the end. What is open may be so only in a Redis that has lost its newest events.
    if (newest.event.leavesQuantity === 0) return this.#fromEvent(newest);
    const stored = await findOrder(this.#options.sql, formatOrderId(place)).catch((error: unknown) => {
      if (!isOutage(error)) throw error;
      return undefined;
    });
    return stored?.state && isBehind(newest, stored.state) ? this.#fromStored(stored) : this.#fromEvent(newest);
  }

  /** The newest event that Redis has of the order at a place. */
  async #newestIn(place: Place): Promise<PlacedEvent | undefined> {
    const { states, partitions } = this.#options;
    if (partitions[place.partition] === undefined) return undefined;
    const [newest] = await states.newer(place.partition, [{ orderId: formatOrderId(place), known: undefined }]);
    return newest;
  }

  /** The order at a place of which Redis has no event. */
  async #beyond(place: Place): Promise<OrderInit | undefined> {
    const { redis, sql, partitions } = this.#options;
    const keys = partitions[place.partition];
    if (keys === undefined) return undefined;
    const orderId = formatOrderId(place);
    const stored = await findOrder(sql, orderId);
    if (stored !== undefined) return this.#fromStored(stored);
    const entry = await findEntry(redis, keys, place);
    if (entry !== undefined) return this.#fromLog(entry, place);
    // It may have been written and trimmed in between.
    const storedMeanwhile = await findOrder(sql, orderId);
    if (storedMeanwhile !== undefined) return this.#fromStored(storedMeanwhile);
    const journaled = await readJournalEntry(sql, ORDERS_STREAM, place.partition, place);
    return journaled && this.#fromLog(journaled, place);
  }

  async #fromEvent({ event, ms }: PlacedEvent): Promise<OrderInit> {
    const instrument = await this.#instrument(event.symbol);
    return orderOf(event, instrument, { createdMs: createdMsOf(event.orderId), updatedMs: ms });
  }

  async #fromStored(order: StoredOrder): Promise<OrderInit> {
    const { state } = order;
    const pending = pendingOf(order);
    if (state === null) return pending;
    const isFilled = state.cumQuantity !== "0";
    const tick = isFilled ? (await this.#instrument(order.symbol)).tick : undefined;
    return {
      ...pending,
      status: OrderStatus[state.status as keyof typeof OrderStatus],
      quantity: state.quantity,
      price: state.price ?? "",
      stopPrice: state.stopPrice ?? "",
      displayQuantity: state.displayQuantity ?? "",
      cumQuantity: state.cumQuantity,
      leavesQuantity: state.leavesQuantity,
      averagePrice: tick ? storedAveragePrice(state.tradedValue, state.cumQuantity, tick) : "",
      reason: state.reason ?? "",
      updatedAt: timestampOf(state.ms),
    };
  }

  /** It was defined before the order was taken, though perhaps through another process, and not seen here yet. */
  async #instrument(symbol: string): Promise<TradedInstrument> {
    const { instruments } = this.#options;
    const instrument = instruments.get(symbol) ?? (await instruments.find(symbol));
    if (instrument === undefined)
      throw new RequestError("UNAVAILABLE", "the order's instrument cannot be read at present");
    return instrument;
  }

  async #fromLog(
    { payload, version }: { readonly payload: Buffer | null; readonly version: number },
    place: Place,
  ): Promise<OrderInit | undefined> {
    // Nothing is guessed of it: there are servers that know it, or it will be a row.
    if (version > SCHEMA_VERSION)
      throw new RequestError("UNAVAILABLE", "the order was taken by a newer server: ask later");
    const command = payload === null ? undefined : decodeBatch(payload)[place.index];
    if (command?.kind !== "submit") return undefined;
    const { submit, account } = command;
    const instrument = await this.#instrument(submit.symbol);
    const price = (ticks: number) => (ticks === 0 ? "" : fromUnits(ticks, instrument.tick));
    const quantity = fromUnits(submit.quantity, instrument.lot);
    return pending(place.ms, {
      orderId: formatOrderId(place),
      clientOrderId: submit.clientOrderId,
      account,
      symbol: submit.symbol,
      side: submit.side,
      type: submit.type,
      timeInForce: submit.timeInForce,
      quantity,
      price: price(submit.price),
      stopPrice: price(submit.stopPrice),
      displayQuantity: submit.displayQuantity === 0 ? "" : fromUnits(submit.displayQuantity, instrument.lot),
      ...(submit.expireTime === 0 ? {} : { expireTime: timestampOf(submit.expireTime) }),
      postOnly: submit.postOnly,
      selfTradePrevention: submit.selfTradePrevention,
    });
  }
}

/** The ID up to which a stream is written. */
function finishedBy(groups: readonly GroupState[]): EntryId {
  const persist = groups.find(({ group }) => group === PERSIST_GROUP);
  return persist === undefined ? START : parseEntryId(persist.finished);
}

/** What the account may see of an order. Throws NOT_FOUND: another one's is no more there than one that never was. */
function own<Order extends { readonly account?: string }>(order: Order | undefined, account: string): Order {
  if (order?.account !== account) throw new RequestError("NOT_FOUND", "there is no such order");
  return order;
}

function isOpen({ leavesQuantity }: OrderInit): boolean {
  return leavesQuantity !== "0";
}

function pendingOf(order: StoredOrder): OrderInit {
  return pending(order.createdAt.getTime(), {
    orderId: order.orderId,
    clientOrderId: order.clientOrderId,
    account: order.account,
    symbol: order.symbol,
    side: Side[order.side],
    type: OrderType[order.type],
    timeInForce: TimeInForce[order.timeInForce],
    quantity: order.quantity,
    price: order.price ?? "",
    stopPrice: order.stopPrice ?? "",
    displayQuantity: order.displayQuantity ?? "",
    ...(order.expireTime === null ? {} : { expireTime: timestampOf(order.expireTime) }),
    postOnly: order.postOnly,
    selfTradePrevention: SelfTradePrevention[order.selfTradePrevention ?? "UNSPECIFIED"],
  });
}

/** What the engine has not touched: nothing done, all left. */
function pending(ms: number, facts: OrderInit & { readonly quantity: string }): OrderInit {
  return {
    ...facts,
    status: OrderStatus.PENDING_NEW,
    cumQuantity: "0",
    leavesQuantity: facts.quantity,
    createdAt: timestampOf(ms),
    updatedAt: timestampOf(ms),
  };
}
