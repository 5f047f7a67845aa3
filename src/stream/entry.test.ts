import assert from "node:assert/strict";
import { test } from "node:test";

import { EntryError, readEntry } from "./entry.ts";

const GOOD = { d: "payload", p: "10-1", e: "3", v: "1" };

function fieldsOf(values: Readonly<Record<string, string>>): Buffer[] {
  return Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
}

test("an entry is read by the names of its fields, in any order; unknown ones are skipped", () => {
  const wanted = {
    ...{ id: "10-2", ms: 10, seq: 2, epoch: 3, version: 1 },
    ...{ previous: { ms: 10, seq: 1 }, payload: Buffer.from("payload") },
  };
  assert.deepEqual(readEntry("10-2", fieldsOf(GOOD)), wanted);
  const { d, p, e, v } = GOOD;
  assert.deepEqual(readEntry("10-2", fieldsOf({ x: "?", v, e, p, d })), wanted);
});

test("I4: what is none of our entries is told, never guessed", () => {
  const { d, p, e, v } = GOOD;
  const wrong: Readonly<Record<string, string>>[] = [
    {},
    { p, e, v },
    { d, e, v },
    { d, p, v },
    { d, p, e },
    { ...GOOD, p: "10" },
    { ...GOOD, p: "x-1" },
    { ...GOOD, e: "0" },
    { ...GOOD, e: "one" },
    { ...GOOD, e: "1.5" },
    { ...GOOD, v: "" },
    { ...GOOD, v: "-1" },
  ];
  for (const values of wrong)
    assert.throws(() => readEntry("10-2", fieldsOf(values)), EntryError, JSON.stringify(values));
});
