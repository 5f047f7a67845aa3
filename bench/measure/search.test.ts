import assert from "node:assert/strict";
import { test } from "node:test";
import { highestRate } from "./search.ts";

for (const limit of [120, 800, 1_000, 1_001, 4_321, 9_500]) {
  test(`a limit of ${limit} is found from a guess of 1,000`, async () => {
    let asked = 0;
    const found = await highestRate(1000, async (rate) => {
      asked++;
      return rate <= limit;
    });
    assert.ok(found <= limit && found > limit / 1.06, `${found}`);
    assert.ok(asked <= 16, `asked ${asked} times`);
  });
}

test("nothing is sustained", async () => {
  assert.equal(await highestRate(1000, async () => false), 0);
});
