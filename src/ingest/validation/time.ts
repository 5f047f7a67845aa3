import type { Timestamp } from "@bufbuild/protobuf/wkt";

/** Further away it is a mistake of unit: an order is GTC then, and a key has no end. */
const MAX_AHEAD_MS = 10 * 365 * 86_400_000;
const NANOS_PER_S = 1_000_000_000;
const NANOS_PER_MS = 1_000_000;

/** A time to come in milliseconds since 1970, or what is wanted. */
export function readFutureTime(
  { seconds, nanos }: Pick<Timestamp, "seconds" | "nanos">,
  nowMs: number,
): number | string {
  if (nanos < 0 || nanos >= NANOS_PER_S || nanos % NANOS_PER_MS !== 0) return "must be a time in whole milliseconds";
  const ms = Number(seconds) * 1000 + nanos / NANOS_PER_MS;
  if (ms <= nowMs) return "must be in the future";
  return ms > nowMs + MAX_AHEAD_MS ? "must be at most 10 years ahead" : ms;
}

/** Of an entry's time: 48 bits. */
const MAX_MS = 2 ** 48 - 1;

/** A time in whole milliseconds since 1970, rounded down, or what is wanted. */
export function readTime({ seconds, nanos }: Pick<Timestamp, "seconds" | "nanos">): number | string {
  const ms = Number(seconds) * 1000 + Math.floor(nanos / NANOS_PER_MS);
  return nanos >= 0 && nanos < NANOS_PER_S && ms >= 0 && ms <= MAX_MS ? ms : "must be a time since 1970";
}
