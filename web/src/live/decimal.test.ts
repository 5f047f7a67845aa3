import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { compareDecimals, decimalOf, digitsOf, isDecimal, padded, unitsOf } from "./decimal.ts";

const decimals = fc
  .tuple(fc.bigInt({ min: 0n, max: 10n ** 40n }), fc.integer({ min: 0, max: 18 }))
  .map(([units, digits]) => ({ units, digits, text: decimalOf(units, digits) }));

test("decimals are compared exactly, whatever their digits", () => {
  fc.assert(
    fc.property(decimals, decimals, (a, b) => {
      const digits = Math.max(a.digits, b.digits);
      const [unitsA, unitsB] = [unitsOf(a.text, digits), unitsOf(b.text, digits)];
      const expected = unitsA < unitsB ? -1 : Number(unitsA > unitsB);
      assert.equal(Math.sign(compareDecimals(a.text, b.text)), expected);
    }),
  );
});

test("units and text are the same number", () => {
  fc.assert(fc.property(decimals, ({ units, digits, text }) => assert.equal(unitsOf(text, digits), units)));
  assert.equal(decimalOf(5n, 2), "0.05");
  assert.equal(padded("100", 2), "100.00");
  assert.equal(padded("100.5", 2), "100.50");
  assert.equal(digitsOf("1.250"), 3);
});

test("what is no decimal is told", () => {
  for (const text of ["1", "0.5", "100.25"]) assert.ok(isDecimal(text), text);
  for (const text of ["", "1e5", "-1", ".5", "5.", "1,5", "a"]) assert.ok(!isDecimal(text), text);
});
