import assert from "node:assert/strict";
import { test } from "node:test";
import { Desk } from "./reference/desk.ts";

function told(desk: Desk): string[] {
  return desk.levels.map((level) => {
    return `${level.side === 1 ? "buy" : "sell"} ${level.quantityLow} @ ${level.price} (${level.orders}), v${level.version}`;
  });
}

test("each level that an entry touched is told once, as it is after the entry, with the book's next version", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 1 @ 9", "ann 2 buy 2 @ 9", "ann 3 buy 2 @ 8", "ann 4 sell 5 @ 12");
  assert.deepEqual(told(desk), ["buy 3 @ 9 (2), v1", "buy 2 @ 8 (1), v1", "sell 5 @ 12 (1), v1"]);
  desk.order("bob 1 sell 4 @ 8");
  assert.deepEqual(told(desk), ["buy 0 @ 9 (0), v2", "buy 1 @ 8 (1), v2"]);
});

test("an entry that touches no level makes no version: a stop, a refusal, time", () => {
  const desk = new Desk();
  desk.orders("ann 1 buy 1 @ 9 stop 9", "ann 2 buy 0 @ 9");
  assert.deepEqual(told(desk), []);
  desk.order("ann 3 buy 1 @ 9");
  assert.deepEqual(told(desk), ["buy 1 @ 9 (1), v1"]);
});

test("a level that is emptied and comes back in one entry is one level", () => {
  const desk = new Desk();
  desk.order("ann 1 buy 1 @ 9");
  desk.orders("bob 1 sell 1 @ 9", "ann 2 buy 4 @ 9", "bob 2 sell 4 @ 9", "ann 3 buy 2 @ 9", "ann 4 buy 2 @ 10");
  assert.deepEqual(told(desk), ["buy 2 @ 9 (1), v2", "buy 2 @ 10 (1), v2"]);
});

test("applied one after the other, the changes give the book", () => {
  const desk = new Desk();
  const book = new Map<string, string>();
  for (let i = 0; i < 2_000; i++) {
    const side = (i * 7) % 3 === 0 ? "buy" : "sell";
    desk.order(`a${i % 5} ${i} ${side} ${1 + (i % 4)} @ ${1_000 + ((i * 7_919) % 200)}`);
    for (const { side, price, quantityLow } of desk.levels) {
      if (quantityLow === 0) book.delete(`${side} ${price}`);
      else book.set(`${side} ${price}`, `${quantityLow} @ ${price}`);
    }
  }
  assert.deepEqual([...book.values()].sort(), [...desk.depth("buy"), ...desk.depth("sell")].sort());
  assert.ok(book.size > 100);
});
