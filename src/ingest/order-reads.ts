import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import {
  type OrderSchema,
  OrderStatus,
  OrderType,
  SelfTradePrevention,
  Side,
  TimeInForce,
} from "../gen/penstock/v1/order_pb.ts";
import type { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry as readJournalEntry } from "../store/journal.ts";
import { findOrder, findOrderByClientId, listOrders, type StoredOrder } from "../store/orders.ts";
import { clientKeyOf, decodeBatch, idempotencyKey } from "../stream/command.ts";
import { fromUnits } from "../stream/decimal.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import type { TradedInstrument } from "../stream/instrument.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry, findNewest, findSeen } from "../stream/lookup.ts";
import type { Partitioning } from "../stream/partition.ts";
import { compareEntryIds, formatEntryId, formatOrderId, parseEntryId, type Place, START } from "../stream/position.ts";
import type { StreamState } from "../stream/status.ts";
import type { Admission } from "./admission.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateGet, validateList } from "./validation/requests.ts";
import type { Target } from "./validation/target.ts";
import { isRefused } from "./validation/violation.ts";

type OrderMethods = Implementation<typeof OrderService>;
type OrderInit = MessageInitShape<typeof OrderSchema>;

export interface OrderReadsOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
  readonly partitioning: Partitioning;
  readonly instruments: InstrumentBook;
  readonly admission: Admission;
}

/**
 * Reads of orders. An acknowledged order is never NOT_FOUND: it is in Postgres, or still in the log at its place, or by then
 * in Postgres after all; or, where the log was trimmed and its row was dead-lettered, in the journal.
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
    return { order: await this.#get(target, call.principal.account) };
  };

  listOrders: OrderMethods["listOrders"] = async (request, call) => {
    const { sql, instruments, admission } = this.#options;
    if (instruments.isUnknown(request.symbol)) await instruments.refresh();
    const page = validateList(request, instruments);
    if (isRefused(page)) throw invalidArgument(page);
    // Looked at before the rows: what was finished by then is in them.
    const { partitions } = await admission.look();
    const asOf = await Promise.all(partitions.map(({ partition, state }) => this.#finished(partition, state)));
    const symbol = page.instrument?.symbol;
    const { account } = call.principal;
    // One more than asked for tells whether there is another page.
    const found = await listOrders(sql, { account, symbol, before: page.before, limit: page.limit + 1 });
    const orders = found.slice(0, page.limit);
    const nextPageToken = found.length > page.limit ? orders.at(-1)!.orderId : "";
    return { orders: orders.map(fromStored), nextPageToken, asOf };
  };

  /** The place up to which everything is written. Its epoch is that of the entry there, which may be older than the log's. */
  async #finished(partition: number, { head, groups }: StreamState) {
    const { redis, partitions } = this.#options;
    const entryId = groups.find(({ group }) => group === PERSIST_GROUP)?.finished ?? formatEntryId(START);
    const finished = parseEntryId(entryId);
    if (compareEntryIds(finished, head.base) >= 0) return { partition, epoch: head.epoch, entryId };
    const newest = await findNewest(redis, partitions[partition]!, finished);
    return { partition, epoch: newest?.epoch ?? 0, entryId };
  }

  /** The order that a request means, if it is the account's own. Throws NOT_FOUND. */
  async find(target: Target, account: string): Promise<{ readonly symbol: string }> {
    const order = await this.#get(target, account);
    return { symbol: order.symbol ?? "" };
  }

  async #get(target: Target, account: string): Promise<OrderInit> {
    const order =
      target.by === "order_id"
        ? await this.#byPlace(target.place)
        : await this.#byClientId(account, target.instrument.symbol, target.clientOrderId);
    // Another account's order is no more there than one that never was.
    if (order === undefined || order.account !== account) throw new RequestError("NOT_FOUND", "there is no such order");
    return order;
  }

  async #byClientId(account: string, symbol: string, clientOrderId: string): Promise<OrderInit | undefined> {
    const { redis, sql, partitioning, partitions } = this.#options;
    const key = idempotencyKey("submit", account, symbol, clientOrderId);
    const partition = partitioning.of(symbol);
    const seen = await findSeen(redis, partitions[partition]!, key);
    if (seen !== undefined) return this.#byPlace({ partition, ...seen });
    const stored = await findOrderByClientId(sql, account, symbol, clientOrderId, BigInt(clientKeyOf(key)));
    return stored && fromStored(stored);
  }

  async #byPlace(place: Place): Promise<OrderInit | undefined> {
    const { redis, sql, partitions } = this.#options;
    const keys = partitions[place.partition];
    if (keys === undefined) return undefined;
    const orderId = formatOrderId(place);
    const stored = await findOrder(sql, orderId);
    if (stored !== undefined) return fromStored(stored);
    const entry = await findEntry(redis, keys, place);
    if (entry !== undefined) return this.#fromLog(entry.payload, place);
    // It may have been written and trimmed in between.
    const storedMeanwhile = await findOrder(sql, orderId);
    if (storedMeanwhile !== undefined) return fromStored(storedMeanwhile);
    const journaled = await readJournalEntry(sql, ORDERS_STREAM, place.partition, place);
    return journaled?.payload ? this.#fromLog(journaled.payload, place) : undefined;
  }

  /** It was defined before the order was taken, though perhaps through another process, and not seen here yet. */
  async #instrument(symbol: string): Promise<TradedInstrument> {
    const { instruments } = this.#options;
    if (instruments.get(symbol) === undefined) await instruments.refresh();
    const instrument = instruments.get(symbol);
    if (instrument === undefined)
      throw new RequestError("UNAVAILABLE", "the order's instrument cannot be read at present");
    return instrument;
  }

  async #fromLog(payload: Buffer, place: Place): Promise<OrderInit | undefined> {
    const command = decodeBatch(payload)[place.index];
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

function fromStored(order: StoredOrder): OrderInit {
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
