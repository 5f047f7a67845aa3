import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { countOf, findingsIn, wordsOf } from "./audit.ts";
import type { Kind } from "./fault.ts";
import { audited } from "./matrix.ts";
import type { Outcome } from "./scene.ts";
import { Plan } from "./plan.ts";
import { type Kept, report, Results } from "./results.ts";

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

test("what changes links has none beside it that uses them; the turns are counted from the seed on", () => {
  const on = (name: string, onLinks: Kind["onLinks"]) => kind(name, onLinks === undefined ? {} : { onLinks });
  const all = [
    on("cut", "changes"),
    on("slow", "changes"),
    on("trap", "traps"),
    on("snare", "traps"),
    on("kill", undefined),
  ];
  const plan = new Plan(7, all);
  const rounds = Array.from({ length: 500 }, (_, round) => plan.at(round));
  const pairs = new Set(
    rounds.map(({ kinds }) =>
      kinds
        .map(({ name }) => name)
        .sort()
        .join(),
    ),
  );
  for (const pair of ["cut,kill", "kill,slow", "snare,trap", "kill,trap"]) assert.ok(pairs.has(pair), pair);
  for (const pair of ["cut,slow", "cut,trap", "cut,snare", "slow,trap", "slow,snare"])
    assert.ok(!pairs.has(pair), pair);
  assert.deepEqual(
    [0, 4, 5, 499].map((round) => rounds[round]!.turn),
    [7, 7, 8, 106],
  );
});

const round = (number: number, more: Partial<Kept> = {}): Omit<Kept, "attempt"> => ({
  ...{ round: number, kinds: ["a"], faults: [{ kind: "a", where: "x" }], recoveryMs: 100, findings: [], commit: "abc" },
  ...{ acknowledged: 100, retries: 1, lost: 0, doubled: 0, forgiven: 0, seconds: 2, load: 1, ...more },
});

function resultsFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-results-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, "kept", "seed-7.jsonl");
}

const reportOf = (rounds: readonly Kept[], of: readonly Kind[], words?: string): string =>
  report({ rounds: rounds.map((each) => ({ ...each, seed: 7 })), kinds: of, about: [], words });

test("results are kept as they come; half a line is none; a repeat does not replace what was found", (t) => {
  const file = resultsFile(t);
  const results = new Results(file);
  assert.equal(results.next, 0);
  results.add(round(0));
  results.add(round(1, { findings: ["it was not healthy\n    at until (file:///x/until.ts:13:45)"] }));
  const last = results.add(round(1, { commit: "def" }));
  assert.equal(last.attempt, 1);
  results.amend({ ...last, findings: ["at the end of its stack: a gap"] });
  appendFileSync(file, '{"round":3,"faults":[{"kind":"a"');
  const again = new Results(file);
  assert.equal(again.next, 2);
  assert.deepEqual(again.rounds, results.rounds);
  assert.deepEqual(
    again.rounds.map(({ round, attempt, findings }) => [round, attempt, findings.length]),
    [
      [0, 0, 0],
      [1, 0, 1],
      [1, 1, 1],
    ],
  );
  again.add(round(2));
  assert.equal(new Results(file).rounds.length, 4);
  const text = reportOf(again.rounds, [kinds[0]!], "FINDINGS.md");
  assert.match(text, /Commits: abc \(3 rounds\), def \(1 rounds\)\./);
  assert.match(text, /seed 7, round 1, abc, a:\n {2}- `it was not healthy`/);
  assert.match(text, /seed 7, round 1, done again \(1\), def, a:\n {2}- `at the end of its stack: a gap`/);
  assert.match(text, /\[FINDINGS\.md\]\(FINDINGS\.md\)/);
  appendFileSync(file, '{"round":9,"faults":[]}\n');
  assert.throws(() => new Results(file), /of an earlier matrix/);
});

test("the table counts what was looked at, and what was injected", (t) => {
  const results = new Results(resultsFile(t));
  const pair = {
    kinds: ["a", "b"],
    faults: [{ kind: "b", where: "y" }],
    missed: "a did not come by",
    recoveryMs: 9_000,
  };
  const {
    lost: _lost,
    doubled: _doubled,
    recoveryMs: _recoveryMs,
    ...unjudged
  } = round(3, { findings: ["not drained"] });
  for (const each of [round(0), round(1, { recoveryMs: 300, lost: 1 }), round(2, pair), { ...unjudged, faults: [] }])
    results.add(each);
  const text = reportOf(results.rounds, [kinds[0]!, kinds[1]!]);
  assert.match(
    text,
    /\*\*3 faults of 2 kinds in 4 rounds, seeds 7; 400 orders .*: 1 lost, 0 doubled; 1 rounds not judged, 100 orders in them; 1 rounds with a finding/,
  );
  assert.ok(text.includes("| `a` | what a does | I1 | 2 | 1 | 0 | 1 | 300 | 300 |"), text);
  assert.ok(text.includes("| `b` | what b does | I1 | 1 | 0 | 0 | 0 |  |  |"), text);
});

test("what a kind lost within its contract is told as it was", (t) => {
  const results = new Results(resultsFile(t));
  const lossy = kind("a", { mayLose: { what: "the last moments", withinMs: 5 } });
  const contract = (): string => /^- `a`: .*$/m.exec(reportOf(results.rounds, [lossy]))![0];
  results.add(round(0, { isTold: false }));
  assert.equal(contract(), "- `a`: the last moments. 0 of 100 acknowledged orders.");
  results.add(round(1, { forgiven: 3, isTold: true }));
  results.add(round(2, { forgiven: 2, isTold: false }));
  assert.equal(
    contract(),
    "- `a`: the last moments. 5 of 300 acknowledged orders, in 2 of 3 rounds; in 1 of them a role said so.",
  );
});

test("what an audit finds counts, and says nothing of what nobody could look at", () => {
  const lines = [
    '{"partition":0,"logged":3}',
    '{"invariant":"I1","verdict":"broken","found":[{"kind":"acknowledged and lost","count":7,"where":["ann A 1"]}],"proved":[]}',
    '{"invariant":"I2","verdict":"held","found":[],"proved":["x"]}',
  ];
  const found = findingsIn(`${lines.join("\n")}\n`);
  assert.deepEqual(found.map(wordsOf), ["audit: I1 acknowledged and lost: ann A 1; 6 more"]);
  const { lost: _lost, doubled: _doubled, ...rest } = round(0);
  const unjudged: Outcome = rest;
  const nothing = { findings: [], lost: 0, doubled: 0 };
  assert.equal(audited(unjudged, nothing).lost, undefined);
  const seven = { ...nothing, findings: found.map(wordsOf), lost: countOf(found, "acknowledged and lost") };
  assert.deepEqual([audited(unjudged, seven).lost, audited(unjudged, seven).doubled], [7, undefined]);
  assert.deepEqual([audited(round(0, { lost: 9 }), seven).lost, audited(round(0), seven).findings.length], [9, 1]);
});
