import { compareEntryIds, type EntryPosition, parseOrderId, type Place } from "../../src/stream/position.ts";
import type { Noted } from "./record.ts";
import { DEADLINE_MS } from "./ways.ts";

/** What a kind of fault may lose by the contract. */
export interface Loss {
  /** In words, for the table. */
  readonly what: string;
  /** How long before the fault an order was acknowledged at most that may be gone, ms. Absent: no acknowledged one may be. */
  readonly withinMs?: number;
}

/** The opening of a partition's log that lacks something which it had. */
export interface Reopening {
  readonly partition: number;
  /** Which began with it. */
  readonly epoch: number;
  /** The end of the log behind which it goes on. */
  readonly base: EntryPosition;
  /** ms since 1970 */
  readonly at: number;
}

/** Whether the log went on without this place. `reopenings`: of each partition the first one since the fault. */
export function isCutOff(place: Place, reopenings: readonly Reopening[]): boolean {
  const { epoch, base } = reopenings.find(({ partition }) => partition === place.partition) ?? {
    epoch: 0,
    base: place,
  };
  if (place.epoch >= epoch) return false;
  return place.epoch > base.epoch || compareEntryIds(place, base) > 0;
}

/**
 * Whether an acknowledged order may be gone: it was acknowledged shortly before the fault, or between that and the opening of the
 * log that ended the loss, and stands behind the end that was put back. What was acknowledged later has been promised anew.
 */
export function mayBeLost(order: Noted, loss: Loss & { since: number }, reopenings: readonly Reopening[]): boolean {
  const place = parseOrderId(order.orderId);
  if (loss.withinMs === undefined || place === undefined || !isCutOff(place, reopenings)) return false;
  const over = reopenings.find(({ partition }) => partition === place.partition)?.at ?? 0;
  // An answer that came before the loss may reach its client as late as that.
  return order.at >= loss.since - loss.withinMs && order.at <= over + DEADLINE_MS;
}
