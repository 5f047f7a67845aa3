/**
 * Array and bytea parameters for statements that take many rows at once by `unnest`.
 *
 * postgres.js sends every parameter as text, so arrays are written as literals here. A column of byte strings goes as one
 * bytea with offsets: an array of bytea would be escaped and parsed twice, byte for byte.
 */

/** For smallint[], integer[], bigint[] and boolean[]. */
export function plainArray(values: readonly (number | bigint | boolean | null)[]): string {
  return `{${values.map((value) => value ?? "NULL").join(",")}}`;
}

/** For text[] and every type that is written as text. */
export function textArray(values: readonly (string | null)[]): string {
  return `{${values.map((value) => (value === null ? "NULL" : `"${escaped(value)}"`)).join(",")}}`;
}

/** Nearly no text has anything to escape, and the test alone takes a fraction of a replacement. */
function escaped(text: string): string {
  return /["\\]/.test(text) ? text.replace(/["\\]/g, "\\$&") : text;
}

/** Byte strings for `substring(bytes FROM at FOR size)`: a null one has a null size, which gives null. */
export function packBytes(values: readonly (Buffer | null)[]): { bytes: Buffer; at: string; size: string } {
  const present: Buffer[] = [];
  const at: number[] = [];
  let end = 1; // SQL counts from 1
  for (const value of values) {
    at.push(end);
    if (value === null) continue;
    present.push(value);
    end += value.length;
  }
  return {
    bytes: Buffer.concat(present),
    at: plainArray(at),
    size: plainArray(values.map((value) => value?.length ?? null)),
  };
}
