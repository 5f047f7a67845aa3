import assert from "node:assert/strict";
import { test } from "node:test";

import { fromUnits, fromValue, MAX_UNITS, parseScale, quotient, readScale, toUnits } from "./decimal.ts";

const SIZES = ["0.01", "0.25", "5", "100", "1", "0.00000001", "0.000000000000000001", "12.5", "999999999999999999"];

// xorshift32, so that every failure comes again from its seed.
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test("a scale is read in its shortest form", () => {
  for (const [text, shortest, decimals] of [
    ["0.01", "0.01", 2],
    ["0.250", "0.25", 2],
    ["5", "5", 0],
    ["5.00", "5", 0],
    ["100", "100", 0],
    ["0.00000001", "0.00000001", 8],
    ["0.000000000000000001", "0.000000000000000001", 18],
    ["123456789012345678", "123456789012345678", 0],
  ] as const) {
    const scale = parseScale(text);
    assert.equal(scale.text, shortest);
    assert.equal(scale.decimals, decimals);
    assert.ok(Object.isFrozen(scale));
  }
});

test("a scale that is none is refused", () => {
  for (const [text, fault] of [
    ["", "syntax"],
    ["0", "zero"],
    ["0.00", "zero"],
    ["-1", "syntax"],
    ["1e-2", "syntax"],
    [".1", "syntax"],
    ["1.", "syntax"],
    ["01", "syntax"],
    [" 1", "syntax"],
    ["1\n", "syntax"],
    ["1234567890123456789", "digits"],
    ["0.0000000000000000001", "digits"],
    ["1".repeat(40), "digits"],
  ] as const) {
    assert.equal(readScale(text), fault, JSON.stringify(text));
    assert.throws(() => parseScale(text), RangeError);
  }
});

test("a decimal becomes units", () => {
  for (const [text, size, units] of [
    ["123.45", "0.01", 12345],
    ["123.4", "0.01", 12340],
    ["123", "0.01", 12300],
    ["123.450000", "0.01", 12345],
    ["0.01", "0.01", 1],
    ["0.75", "0.25", 3],
    ["15", "5", 3],
    ["15.0", "5", 3],
    ["37.5", "12.5", 3],
    ["0.00000001", "0.00000001", 1],
    ["90071992.54740991", "0.00000001", MAX_UNITS],
    ["9007199254740991", "1", MAX_UNITS],
    ["45035996273704955", "5", MAX_UNITS],
    ["45035996273704955.000", "5", MAX_UNITS],
    ["0.009007199254740991", "0.000000000000000001", MAX_UNITS],
    ["1999999999999999998", "999999999999999999", 2],
  ] as const) {
    assert.equal(toUnits(text, parseScale(size)), units, `${text} by ${size}`);
  }
});

test("what is no positive multiple is refused with its reason", () => {
  for (const [text, size, fault] of [
    ["", "0.01", "syntax"],
    ["1e9", "0.01", "syntax"],
    ["1E9", "0.01", "syntax"],
    ["-1", "0.01", "syntax"],
    ["+1", "0.01", "syntax"],
    [" 1", "0.01", "syntax"],
    ["1 ", "0.01", "syntax"],
    ["1\n", "0.01", "syntax"],
    ["1\0", "0.01", "syntax"],
    ["\0", "0.01", "syntax"],
    ["1.", "0.01", "syntax"],
    [".5", "0.01", "syntax"],
    [".", "0.01", "syntax"],
    ["1.2.3", "0.01", "syntax"],
    ["01", "0.01", "syntax"],
    ["00", "0.01", "syntax"],
    ["0x10", "0.01", "syntax"],
    ["1,5", "0.01", "syntax"],
    ["1_000", "0.01", "syntax"],
    ["NaN", "0.01", "syntax"],
    ["Infinity", "0.01", "syntax"],
    ["١", "0.01", "syntax"],
    ["１", "0.01", "syntax"],
    ["0", "0.01", "zero"],
    ["0.00", "0.01", "zero"],
    ["0.0000", "0.01", "zero"],
    ["0.001", "0.01", "multiple"],
    ["1.005", "0.01", "multiple"],
    ["1.1", "0.25", "multiple"],
    ["7", "5", "multiple"],
    ["999999999999999998", "999999999999999999", "multiple"],
    ["1", "999999999999999999", "multiple"],
    ["45035996273704956", "5", "multiple"],
    ["90071992.54740992", "0.00000001", "range"],
    ["9007199254740992", "1", "range"],
    ["9007199254740993", "1", "range"],
    ["45035996273704960", "5", "range"],
    ["9".repeat(34), "1", "range"],
    ["1".repeat(40), "0.01", "digits"],
    [`0.${"0".repeat(40)}1`, "0.01", "digits"],
  ] as const) {
    assert.equal(toUnits(text, parseScale(size)), fault, `${JSON.stringify(text)} by ${size}`);
  }
});

test("units become the shortest decimal", () => {
  for (const [units, size, text] of [
    [0, "0.01", "0"],
    [1, "0.01", "0.01"],
    [10, "0.01", "0.1"],
    [100, "0.01", "1"],
    [12345, "0.01", "123.45"],
    [12300, "0.01", "123"],
    [3, "0.25", "0.75"],
    [4, "0.25", "1"],
    [3, "5", "15"],
    [10, "100", "1000"],
    [1, "0.00000001", "0.00000001"],
    [100_000_000, "0.00000001", "1"],
    [MAX_UNITS, "0.00000001", "90071992.54740991"],
    [MAX_UNITS, "5", "45035996273704955"],
    [MAX_UNITS, "0.000000000000000001", "0.009007199254740991"],
    [MAX_UNITS, "999999999999999999", "9007199254740990990992800745259009"],
  ] as const) {
    assert.equal(fromUnits(units, parseScale(size)), text, `${units} by ${size}`);
  }
});

test("every number of units comes back from its decimal, however it is padded", () => {
  const seed = 0x9e3779b9;
  const below = random(seed);
  for (let i = 0; i < 50_000; i++) {
    const scale = parseScale(SIZES[i % SIZES.length] ?? "1");
    const bits = below(53) + 1;
    const units = Math.max(1, Math.floor((below(2 ** 32) / 2 ** 32) * 2 ** bits) - below(2));
    const text = fromUnits(units, scale);
    const context = `seed ${seed}, round ${i}: ${units} by ${scale.text} is ${text}`;
    assert.match(text, /^(0|[1-9]\d*)(\.\d*[1-9])?$/, context);
    assert.equal(toUnits(text, scale), units, context);
    const padded = text.includes(".") ? `${text}0` : `${text}.0`;
    if (padded.length <= 35) assert.equal(toUnits(padded, scale), units, context);
  }
});

test("a traded value is the exact product of price and quantity, summed", () => {
  const [tick, lot] = [parseScale("0.01"), parseScale("0.00000001")];
  assert.equal(fromValue(0, 0, tick, lot), "0");
  assert.equal(fromValue(0, 10_025, tick, lot), "0.0000010025");
  assert.equal(fromValue(0, 2_000_001 * 100_000_000, tick, lot), "20000.01");
  assert.equal(fromValue(1, 0, tick, lot), "900719.9254740992");
  assert.equal(fromValue(0, 7, parseScale("5"), parseScale("100")), "3500");
  const seed = 0x51ed270b;
  const below = random(seed);
  for (let i = 0; i < 20_000; i++) {
    const [price, quantity] = [
      parseScale(SIZES[below(SIZES.length)] ?? "1"),
      parseScale(SIZES[below(SIZES.length)] ?? "1"),
    ];
    const high = below(3) === 0 ? below(2 ** 20) : 0;
    const low = Math.floor((below(2 ** 32) / 2 ** 32) * 2 ** (below(53) + 1));
    const text = fromValue(high, low, price, quantity);
    const context = `seed ${seed}, round ${i}: ${high} ${low} by ${price.text} and ${quantity.text} is ${text}`;
    assert.match(text, /^(0|[1-9]\d*)(\.\d*[1-9])?$/, context);
    const [whole = "", fraction = ""] = text.split(".");
    const exact = (BigInt(high) * 2n ** 53n + BigInt(low)) * price.exactStep * quantity.exactStep;
    const scaled = BigInt(whole + fraction.padEnd(36, "0"));
    assert.equal(scaled, exact * 10n ** BigInt(36 - price.decimals - quantity.decimals), context);
  }
});

test("any text means what exact arithmetic says it means", () => {
  const seed = 0x2545f491;
  const below = random(seed);
  for (let i = 0; i < 50_000; i++) {
    const scale = parseScale(SIZES[i % SIZES.length] ?? "1");
    const digits = (length: number) => Array.from({ length }, () => below(4) && below(10)).join("");
    const whole = digits(1 + below(18)).replace(/^0+(?=\d)/, "");
    const fraction = digits(below(16));
    const text = fraction === "" ? whole : `${whole}.${fraction}`;
    // value × 10^18 and step × 10^18, both whole.
    const value = BigInt(whole + fraction.padEnd(18, "0"));
    const step = scale.exactStep * 10n ** BigInt(18 - scale.decimals);
    const expected =
      value === 0n
        ? "zero"
        : value % step !== 0n
          ? "multiple"
          : value / step > MAX_UNITS
            ? "range"
            : Number(value / step);
    const actual = toUnits(text, scale);
    const context = `seed ${seed}, round ${i}: ${text} by ${scale.text}`;
    assert.equal(actual, expected, context);
  }
});

test("a quotient is rounded half up, in its shortest form", () => {
  for (const [a, b, digits, expected] of [
    [0n, 3n, 2, "0"],
    [1n, 3n, 4, "0.3333"],
    [2n, 3n, 4, "0.6667"],
    [1n, 8n, 2, "0.13"],
    [5n, 2n, 0, "3"],
    [200n, 2n, 8, "100"],
    [1n, 10n ** 20n, 18, "0"],
    [2n ** 63n, 1n, 3, "9223372036854775808"],
  ] as const) {
    assert.equal(quotient(a, b, digits), expected);
  }
  const below = random(7);
  for (let i = 0; i < 2_000; i++) {
    const [a, b, digits] = [BigInt(below(2 ** 31)), BigInt(1 + below(2 ** 20)), below(12)];
    const [whole = "", fraction = ""] = quotient(a, b, digits).split(".");
    assert.doesNotMatch(fraction, /0$/);
    // Off by at most half a unit of the last digit.
    const off = 2n * (BigInt(whole + fraction.padEnd(digits, "0")) * b - a * 10n ** BigInt(digits));
    assert.ok(off <= b && off > -b, `${a} / ${b}`);
  }
});
