import {
  E_AGGRESSOR,
  E_CODE,
  E_COMMAND,
  E_CUM,
  E_DISPLAY,
  E_EPOCH_INDEX,
  E_EXPIRE,
  E_FLAGS,
  E_INT,
  E_LAST_PRICE,
  E_LAST_QUANTITY,
  E_LEAVES,
  E_MS,
  E_NUM,
  E_OTHER_EPOCH_INDEX,
  E_OTHER_MS,
  E_OTHER_SEQ,
  E_PRICE,
  E_QUANTITY,
  E_SEQ,
  E_SEQUENCE,
  E_STOP_PRICE,
  E_TRADE,
  E_VALUE_HIGH,
  E_VALUE_LOW,
  type EventRecords,
} from "./event-record.ts";
import type { MatchingEvent } from "./interface.ts";
import { EventKind, type ExecType, type OrderStatus, type Reason } from "./sets.ts";
import { POST_ONLY, preventionOf, sideOf, timeOf, TRIGGERED, typeOf } from "./layout.ts";

/** An event, read where its record lies. Invariant: `position` is below the count of the list. */
export class EventView implements MatchingEvent {
  position = 0;
  readonly #events: EventRecords;

  constructor(events: EventRecords) {
    this.#events = events;
  }

  #num(field: number): number {
    return this.#events.num[this.position * E_NUM + field]!;
  }

  #int(field: number): number {
    return this.#events.int[this.position * E_INT + field]!;
  }

  get kind() {
    return (this.#int(E_CODE) & 0xf) as EventKind;
  }

  get command() {
    return this.#int(E_COMMAND);
  }

  get account() {
    return this.#events.accountAt(this.position);
  }

  get sequence() {
    return this.#num(E_SEQUENCE);
  }

  get reason() {
    return ((this.#int(E_CODE) >> 12) & 0xff) as Reason;
  }

  get symbol() {
    return this.#events.symbolAt(this.position);
  }

  get execType() {
    return ((this.#int(E_CODE) >> 4) & 0xf) as ExecType | 0;
  }

  get status() {
    return ((this.#int(E_CODE) >> 8) & 0xf) as OrderStatus | 0;
  }

  get epoch() {
    return this.#int(E_EPOCH_INDEX) >>> 16;
  }

  get ms() {
    return this.#num(E_MS);
  }

  get seq() {
    return this.#int(E_SEQ) >>> 0;
  }

  get index() {
    return this.#int(E_EPOCH_INDEX) & 0xffff;
  }

  get clientOrderId() {
    return this.#events.clientOrderIds[this.position]!;
  }

  get side() {
    return sideOf(this.#int(E_FLAGS));
  }

  get type() {
    return typeOf(this.#int(E_FLAGS));
  }

  get timeInForce() {
    return timeOf(this.#int(E_FLAGS));
  }

  get selfTradePrevention() {
    return preventionOf(this.#int(E_FLAGS));
  }

  get postOnly() {
    return (this.#int(E_FLAGS) & POST_ONLY) !== 0;
  }

  get triggered() {
    return (this.#int(E_FLAGS) & TRIGGERED) !== 0;
  }

  get quantity() {
    return this.#num(E_QUANTITY);
  }

  get price() {
    return this.#num(E_PRICE);
  }

  get stopPrice() {
    return this.#num(E_STOP_PRICE);
  }

  get displayQuantity() {
    return this.#num(E_DISPLAY);
  }

  get expireTime() {
    return this.#num(E_EXPIRE);
  }

  get cumQuantity() {
    return this.#num(E_CUM);
  }

  get leavesQuantity() {
    return this.#num(E_LEAVES);
  }

  get valueHigh() {
    return this.#num(E_VALUE_HIGH);
  }

  get valueLow() {
    return this.#num(E_VALUE_LOW);
  }

  get lastQuantity() {
    return this.kind === EventKind.COMMAND ? 0 : this.#num(E_LAST_QUANTITY);
  }

  get lastPrice() {
    return this.kind === EventKind.COMMAND ? 0 : this.#num(E_LAST_PRICE);
  }

  get trade() {
    return this.#num(E_TRADE);
  }

  get aggressor() {
    return (this.#int(E_CODE) & E_AGGRESSOR) !== 0;
  }

  get otherEpoch() {
    return this.#int(E_OTHER_EPOCH_INDEX) >>> 16;
  }

  get otherMs() {
    return this.#num(E_OTHER_MS);
  }

  get otherSeq() {
    return this.#int(E_OTHER_SEQ) >>> 0;
  }

  get otherIndex() {
    return this.#int(E_OTHER_EPOCH_INDEX) & 0xffff;
  }

  get affected() {
    return this.kind === EventKind.COMMAND ? this.#num(E_LAST_QUANTITY) : 0;
  }

  get remaining() {
    return this.kind === EventKind.COMMAND ? this.#num(E_LAST_PRICE) : 0;
  }
}

/** The event as an object of its own. */
export function copyOf(event: MatchingEvent): MatchingEvent {
  const copy: Record<string, unknown> = {};
  for (const name of FIELDS) copy[name] = event[name];
  return copy as unknown as MatchingEvent;
}

const FIELDS = [
  "kind",
  "command",
  "account",
  "sequence",
  "reason",
  "symbol",
  "execType",
  "status",
  "epoch",
  "ms",
  "seq",
  "index",
  "clientOrderId",
  "side",
  "type",
  "timeInForce",
  "selfTradePrevention",
  "postOnly",
  "triggered",
  "quantity",
  "price",
  "stopPrice",
  "displayQuantity",
  "expireTime",
  "cumQuantity",
  "leavesQuantity",
  "valueHigh",
  "valueLow",
  "lastQuantity",
  "lastPrice",
  "trade",
  "aggressor",
  "otherEpoch",
  "otherMs",
  "otherSeq",
  "otherIndex",
  "affected",
  "remaining",
] as const satisfies readonly (keyof MatchingEvent)[];
