import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type ReadonlySignal, signal } from "@preact/signals";
import { AckLevel, OrderType, SelfTradePrevention, Side, TimeInForce } from "../../../src/gen/penstock/v1/order_pb.ts";
import { type SubmitOrderRequest, SubmitOrderRequestSchema } from "../../../src/gen/penstock/v1/order_service_pb.ts";
import { newClientId } from "./client-id.ts";
import type { Outcome, Store } from "./outbox.ts";

/** What a person fills in. Decimals are as they were typed. */
export interface Draft {
  readonly side: Side;
  readonly type: OrderType;
  readonly timeInForce: TimeInForce;
  readonly quantity: string;
  readonly price: string;
  readonly stopPrice: string;
  readonly displayQuantity: string;
  /** Local time as an input of the type datetime-local gives it. */
  readonly expireTime: string;
  readonly postOnly: boolean;
  readonly selfTradePrevention: SelfTradePrevention;
  readonly ackLevel: AckLevel;
}

const EMPTY: Draft = {
  side: Side.BUY,
  type: OrderType.LIMIT,
  timeInForce: TimeInForce.GTC,
  quantity: "",
  price: "",
  stopPrice: "",
  displayQuantity: "",
  expireTime: "",
  postOnly: false,
  selfTradePrevention: SelfTradePrevention.UNSPECIFIED,
  ackLevel: AckLevel.MATCHED,
};

const RESTING = [TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTD] as const;
const TAKING = [TimeInForce.IOC, TimeInForce.FOK] as const;

/** Which times in force an order of a type can have; the first is the usual one. */
export function timesOf(type: OrderType): typeof RESTING | typeof TAKING {
  return type === OrderType.LIMIT || type === OrderType.STOP_LIMIT ? RESTING : TAKING;
}

/** Which fields an order has. */
export function fieldsOf({ type, timeInForce }: Pick<Draft, "type" | "timeInForce">) {
  const hasPrice = type === OrderType.LIMIT || type === OrderType.STOP_LIMIT;
  const mayRest = timeInForce === TimeInForce.GTC || timeInForce === TimeInForce.GTD;
  return {
    price: hasPrice,
    stopPrice: type === OrderType.STOP || type === OrderType.STOP_LIMIT,
    displayQuantity: hasPrice && mayRest,
    expireTime: timeInForce === TimeInForce.GTD,
    postOnly: type === OrderType.LIMIT && mayRest,
  };
}

/**
 * An order of a symbol as it is being filled in, with its id.
 *
 * Always true: the id was made before the order was first sent, stays with it until its outcome is known, and is in the store
 * as long; a new one is made for the next order only.
 */
export class Ticket {
  readonly symbol: string;
  /** What became of the order that was sent last; undefined from the next change on. */
  readonly outcome = signal<Outcome | undefined>(undefined);
  readonly #store: Store;
  readonly #key: string;
  readonly #draft = signal<Draft>(EMPTY);
  #id: string;

  constructor(symbol: string, account: string, store: Store) {
    this.symbol = symbol;
    this.#store = store;
    this.#key = `penstock.ticket.${account}.${symbol}`;
    const stored = this.#read();
    this.#id = stored?.id ?? newClientId();
    this.#draft.value = { ...EMPTY, ...stored?.draft };
    this.#write();
  }

  get draft(): ReadonlySignal<Draft> {
    return this.#draft;
  }

  /** Of the order that `request` makes. */
  get id(): string {
    return this.#id;
  }

  change(fields: Partial<Draft>): void {
    const draft = { ...this.#draft.peek(), ...fields };
    const times: readonly TimeInForce[] = timesOf(draft.type);
    const [usual] = timesOf(draft.type);
    this.#draft.value = times.includes(draft.timeInForce) ? draft : { ...draft, timeInForce: usual };
    this.outcome.value = undefined;
    this.#write();
  }

  /** The order with this id has an outcome. `isOver`: what is sent next is another one; else nothing stands under the id. */
  settle(id: string, outcome: Outcome, isOver: boolean): void {
    if (id !== this.#id) return;
    this.outcome.value = outcome;
    if (!isOver) return;
    this.#id = newClientId();
    this.#write();
  }

  /** What is not of this order's type is left out, though it stays filled in. */
  request(): SubmitOrderRequest {
    const draft = this.#draft.peek();
    const has = fieldsOf(draft);
    const expires = has.expireTime ? Date.parse(draft.expireTime) : NaN;
    return create(SubmitOrderRequestSchema, {
      clientOrderId: this.#id,
      symbol: this.symbol,
      side: draft.side,
      type: draft.type,
      timeInForce: draft.timeInForce,
      quantity: draft.quantity.trim(),
      price: has.price ? draft.price.trim() : "",
      stopPrice: has.stopPrice ? draft.stopPrice.trim() : "",
      displayQuantity: has.displayQuantity ? draft.displayQuantity.trim() : "",
      ...(Number.isNaN(expires) ? {} : { expireTime: timestampFromMs(expires) }),
      postOnly: has.postOnly && draft.postOnly,
      selfTradePrevention: draft.selfTradePrevention,
      ackLevel: draft.ackLevel,
    });
  }

  #write(): void {
    this.#store.setItem(this.#key, JSON.stringify({ id: this.#id, draft: this.#draft.peek() }));
  }

  #read(): { id: string; draft: Draft } | undefined {
    try {
      const stored = JSON.parse(this.#store.getItem(this.#key) ?? "null") as { id: string; draft: Draft } | null;
      return stored ?? undefined;
    } catch {
      return undefined;
    }
  }
}
