import { AppendError } from "../../src/stream/append-error.ts";
import type { Placement } from "../../src/stream/flush.ts";
import { formatEntryId, parseOrderId } from "../../src/stream/position.ts";

/** What tests ask of the answers of an append. */

export const ids = (placements: readonly Placement[]) => placements.map(({ id }) => id);

export const outcomes = (placements: readonly Placement[]) => placements.map(({ outcome }) => outcome);

/** The entry that the order stands in. */
export const entryIdOf = (orderId: string) => formatEntryId(parseOrderId(orderId)!);

export const epochOf = ({ id }: Placement) => parseOrderId(id)!.epoch;

export const unique = (values: readonly string[]) => new Set(values).size === values.length;

/** For `assert.rejects`. */
export function refusedAs(code: AppendError["code"]): (error: unknown) => boolean {
  return (error) => error instanceof AppendError && error.code === code;
}
