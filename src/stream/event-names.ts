import { ExecType, OrderStatus } from "../gen/penstock/v1/order_pb.ts";
import type { EngineEvent } from "./event-batch.ts";

/**
 * What the numbers of the event log are called: in the API, in Postgres and in docs/matching.md. They are the engine's
 * (src/engine/matching/sets.ts), which this folder cannot see; test/event-names.test.ts holds both together.
 */

/** EngineEvent.kind. */
export const EVENT_KIND = { EXECUTION: 1, CANCEL_REJECT: 2, REPLACE_REJECT: 3, COMMAND: 4 } as const;

/** EngineEvent.reason; "" for 0, which says nothing. */
export const REASON_NAMES: readonly (string | undefined)[] = listed({
  "": 0,
  BUSY: 1,
  UNKNOWN_SYMBOL: 2,
  MALFORMED: 3,
  DUPLICATE_CLIENT_ORDER_ID: 4,
  NOT_TAKEN: 5,
  QUANTITY_LIMIT: 6,
  PRICE_BAND: 7,
  VALUE_LIMIT: 8,
  TOO_LATE: 9,
  TRADING_STATUS: 10,
  ACCOUNT_QUANTITY: 11,
  ACCOUNT_ORDERS: 12,
  FULL: 13,
  POST_ONLY: 14,
  UNKNOWN_ORDER: 15,
  ALREADY_FILLED: 16,
  STALE_VERSION: 17,
  VOIDED: 18,
  REQUESTED: 32,
  MASS_CANCEL: 33,
  SELF_TRADE: 34,
  FILL_LIMIT: 35,
  DUE: 48,
  UNFILLED: 49,
  UNFILLABLE: 50,
  NO_LIQUIDITY: 51,
});

/** The API's ExecType, whose first numbers are EngineEvent.execType. */
export const EXEC_TYPE_NAMES: readonly (string | undefined)[] = namesOf(ExecType);

/** EngineEvent.status, which is the API's OrderStatus. */
export const STATUS_NAMES: readonly (string | undefined)[] = namesOf(OrderStatus);

/** The names of one of the API's enums by their numbers; UNSPECIFIED is none. */
export function namesOf<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
): readonly (Exclude<Name, "UNSPECIFIED"> | undefined)[] {
  const { UNSPECIFIED: _none, ...named } = numbers as Readonly<Record<string, number>>;
  return listed(named) as (Exclude<Name, "UNSPECIFIED"> | undefined)[];
}

function listed(numbers: Readonly<Record<string, number>>): (string | undefined)[] {
  const names: (string | undefined)[] = [];
  for (const [name, number] of Object.entries(numbers)) names[number] = name;
  return names;
}

/**
 * The API's ExecType of the report that an event is; 0 where it is no account's: what became of a command about an
 * instrument, a status or limits. Undefined where kind or execType is one that no set has.
 */
export function reportTypeOf({
  kind,
  execType,
  account,
}: Pick<EngineEvent, "kind" | "execType" | "account">): number | undefined {
  switch (kind) {
    case EVENT_KIND.EXECUTION:
      return execType >= ExecType.NEW && execType <= ExecType.RESTATED ? execType : undefined;
    case EVENT_KIND.CANCEL_REJECT:
      return ExecType.CANCEL_REJECTED;
    case EVENT_KIND.REPLACE_REJECT:
      return ExecType.REPLACE_REJECTED;
    case EVENT_KIND.COMMAND:
      return account === "" ? ExecType.UNSPECIFIED : ExecType.MASS_CANCEL_REPORT;
    default:
      return undefined;
  }
}
