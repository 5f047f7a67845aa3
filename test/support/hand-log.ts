import { create, toBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";

import { InstrumentSchema } from "../../src/gen/penstock/v1/instrument_pb.ts";
import { OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import type { SubmitFields } from "../../src/stream/command.ts";
import { prepareInstrument, prepareSubmit } from "../../src/stream/prepared-command.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { HandStream, type Oddities } from "./hand-stream.ts";

/** What an order of the tests is, unless they say otherwise: 0.00000001 BTC at 100.25. */
export const ORDER: SubmitFields = {
  clientOrderId: "",
  symbol: "BTC-USD",
  side: Side.BUY,
  type: OrderType.LIMIT,
  timeInForce: TimeInForce.GTC,
  quantity: 1,
  price: 10_025,
  stopPrice: 0,
  displayQuantity: 0,
  expireTime: 0,
  postOnly: false,
  selfTradePrevention: 0,
};

export const ACCOUNT = "demo";

const KEYS = new PartitionKeys(0);

/**
 * A log written by hand, as the commit script writes it: quicker than an ingest, and able to hold what no ingest lets in.
 *
 * Invariant: `head` names the newest entry that was appended along the chain.
 */
export class HandLog {
  readonly keys = KEYS;
  readonly #redis: Redis;
  readonly #stream: HandStream;
  #orders = 0;

  private constructor(redis: Redis, stream: HandStream) {
    this.#redis = redis;
    this.#stream = stream;
  }

  /** With the group, and with BTC-USD defined (tick 0.01, lot 0.00000001), which is the first entry. */
  static async begin(redis: Redis): Promise<HandLog> {
    const log = new HandLog(redis, await HandStream.begin(redis, KEYS.orders));
    await log.define("BTC-USD");
    return log;
  }

  /** ID of the newest entry in the chain. */
  get last(): string {
    return this.#stream.last;
  }

  async define(symbol: string): Promise<string> {
    const instrument = create(InstrumentSchema, { symbol, tickSize: "0.01", lotSize: "0.00000001", version: 1 });
    const definition = Buffer.from(toBinary(InstrumentSchema, instrument));
    await this.#redis
      .multi()
      .hset(this.keys.instruments, symbol, definition)
      .hincrby(this.keys.head, "defined", 1)
      .exec();
    return await this.append(prepareInstrument("root", instrument).element);
  }

  /** Entries with so many orders each, in one go. Returns their IDs. */
  async fill(entries: number, ordersEach = 1): Promise<string[]> {
    const ids: string[] = [];
    for (let i = 0; i < entries; i++) {
      ids.push(await this.append(...Array.from({ length: ordersEach }, () => this.order())));
    }
    return ids;
  }

  /** The next order, encoded; its client order id is "order-<number>". */
  order(fields: Partial<SubmitFields> = {}): Buffer {
    return prepareSubmit(ACCOUNT, { ...ORDER, clientOrderId: `order-${this.#orders++}`, ...fields }).element;
  }

  async append(...elements: readonly Buffer[]): Promise<string> {
    return await this.appendOdd({ d: Buffer.concat(elements) });
  }

  /** An entry in its place of the chain. Returns its ID. */
  async appendOdd(oddities: Oddities): Promise<string> {
    const id = await this.#stream.append(oddities);
    await this.#redis.hset(this.keys.head, "last", id);
    return id;
  }
}
