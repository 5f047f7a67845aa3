import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type { Kind } from "./fault.ts";
import { Plan } from "./plan.ts";
import { report, Results } from "./results.ts";

const kind = (name: string, more: Partial<Kind> = {}): Kind => ({
  ...{ name, what: `what ${name} does`, attacks: ["I1"] },
  inject: () => Promise.resolve({ where: name }),
  ...more,
});

const disk = { partitions: 1 };
const kinds = [
  ...["a", "b", "c", "d", "e"].map((name) => kind(name)),
  ...[kind("alone", { alone: true }), kind("seldom", { turns: 3 })],
  ...[kind("full", { stack: disk }), kind("fuller", { stack: disk })],
];

const namesOf = (plan: Plan, rounds: number) =>
  Array.from({ length: rounds }, (_, round) => plan.at(round).kinds.map(({ name }) => name));

test("the seed decides the rounds: each kind in each of its turns, some with a second one", () => {
  const rounds = namesOf(new Plan(7, kinds), 300);
  assert.deepEqual(namesOf(new Plan(7, kinds), 300), rounds);
  assert.notDeepEqual(namesOf(new Plan(8, kinds), 300), rounds);
  const first = rounds.map(([name]) => name!);
  const turns = [first.slice(0, 9), first.slice(9, 17), first.slice(17, 25)];
  for (const turn of turns) assert.deepEqual(new Set(turn).size, turn.length, "none twice");
  assert.equal(turns.flat().filter((name) => name === "seldom").length, 1);
  assert.equal(turns.flat().filter((name) => name === "a").length, 3);
  for (const turn of turns) assert.equal(Math.abs(turn.indexOf("full") - turn.indexOf("fuller")), 1, "on one stack");
  const pairs = rounds.filter(({ length }) => length === 2);
  assert.ok(pairs.length > 10 && pairs.length < 100);
  for (const name of ["alone", "full", "fuller"]) assert.ok(!pairs.flat().includes(name));
  for (const [one, other] of pairs) assert.notEqual(one, other);
});

test("a round can be repeated by itself", () => {
  const chance = (round: number) => new Plan(7, kinds).at(round).random.next();
  assert.equal(chance(40), chance(40));
  assert.notEqual(chance(40), chance(41));
});

test("results are kept as they come; half a line is none; a round that was repeated counts once", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "penstock-results-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "kept", "seed-7.jsonl");
  const round = (number: number, recoveryMs: number, findings: readonly string[] = []) => ({
    ...{ round: number, faults: [{ kind: "a", where: "x" }], recoveryMs, findings },
    ...{ acknowledged: 100, retries: 1, lost: 0, doubled: 0, forgiven: 0, seconds: 2, load: 1 },
  });
  const results = new Results(file);
  assert.equal(results.next, 0);
  for (const number of [0, 1, 2]) results.add(round(number, 100 * (number + 1)));
  results.add(round(1, 5_000, ["it was not healthy"]));
  appendFileSync(file, '{"round":3,"faults":[{"kind":"a"');
  const again = new Results(file);
  assert.equal(again.next, 3);
  assert.deepEqual(again.rounds, results.rounds);
  again.add(round(3, 100));
  assert.equal(new Results(file).rounds.length, 4);
  const text = report({ seeds: [7], rounds: results.rounds, kinds: [kinds[0]!], about: [] });
  assert.match(
    text,
    /\*\*3 faults of 1 kinds in 3 rounds, seeds 7; 300 orders .*: 0 lost, 0 doubled; 1 rounds with a finding/,
  );
  assert.ok(text.includes("| `a` | what a does | I1 | 3 | 0 | 0 | 1 | 300 | 300 | 300 |"), text);
});
