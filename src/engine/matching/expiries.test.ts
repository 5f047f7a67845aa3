import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as check, nat, property, tuple } from "fast-check";
import { Expiries } from "./expiries.ts";
import { EPOCH_INDEX, EXPIRE, INT, MS, NIL, NUM, SEQ } from "./layout.ts";
import { Orders } from "./orders.ts";

test("whatever is added and removed, the next one is the earliest due, then the oldest", () => {
  const steps = array(tuple(nat(2), nat(20), nat()), { maxLength: 300, size: "max" });
  check(
    property(steps, (steps) => {
      const orders = new Orders();
      const expiries = new Expiries(orders);
      let open: number[] = [];
      for (const [what, due, which] of steps) {
        if (what === 0 && open.length > 0) {
          const gone = open[which % open.length]!;
          expiries.remove(gone);
          open = open.filter((slot) => slot !== gone);
        } else {
          const slot = orders.allocate();
          orders.num[slot * NUM + EXPIRE] = due;
          orders.num[slot * NUM + MS] = slot;
          orders.int[slot * INT + SEQ] = 0;
          orders.int[slot * INT + EPOCH_INDEX] = 0;
          expiries.add(slot);
          open.push(slot);
        }
        const dueOf = (slot: number) => orders.num[slot * NUM + EXPIRE]!;
        const [first = NIL] = open.toSorted((a, b) => dueOf(a) - dueOf(b) || a - b);
        assert.equal(expiries.next, first);
        assert.equal(expiries.due, first === NIL ? Infinity : dueOf(first));
      }
    }),
    { numRuns: 100 },
  );
});
