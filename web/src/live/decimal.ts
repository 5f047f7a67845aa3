/** Decimals as the API writes them: without sign, exponent or needless zeros in front. They are never floats here. */

/** Digits behind the point. */
export function digitsOf(text: string): number {
  const point = text.indexOf(".");
  return point < 0 ? 0 : text.length - point - 1;
}

/** Exact, however long they are. Below 0 where `a` is the smaller one. */
export function compareDecimals(a: string, b: string): number {
  const pointA = a.indexOf(".");
  const pointB = b.indexOf(".");
  // Prices of one symbol mostly look alike, and this stands in the way of every change of a book.
  if (a.length === b.length && pointA === pointB) return order(a, b);
  const wholeA = pointA < 0 ? a.length : pointA;
  const wholeB = pointB < 0 ? b.length : pointB;
  if (wholeA !== wholeB) return wholeA - wholeB;
  const digits = Math.max(digitsOf(a), digitsOf(b));
  return order(padded(a, digits), padded(b, digits));
}

function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** With at least so many digits behind the point, so that a column of them stands in line. */
export function padded(text: string, digits: number): string {
  const missing = digits - digitsOf(text);
  if (missing <= 0) return text;
  return `${text}${text.includes(".") ? "" : "."}${"0".repeat(missing)}`;
}

/** How many 10^-digits it is. It has no more digits than that. */
export function unitsOf(text: string, digits: number): bigint {
  return BigInt(padded(text, digits).replace(".", ""));
}

/** `units` × 10^-digits, with all of the digits. */
export function decimalOf(units: bigint, digits: number): string {
  if (digits === 0) return String(units);
  const text = String(units).padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** What a field of a form may hold: the server says the rest. */
export function isDecimal(text: string): boolean {
  return /^\d+(\.\d+)?$/.test(text);
}
