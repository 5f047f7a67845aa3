import assert from "node:assert/strict";
import { test } from "node:test";

import { pageOf, verdictOf } from "./report.ts";
import type { Sample } from "./sampler.ts";
import type { SoakResult, Window } from "./soak.ts";

const SECONDS = 600;

const sample = (at: number, pids: Readonly<Record<string, number>>): Sample => ({
  ...{ at, database: 1, redis: { memory: 1, keys: 1, unfinished: 0, engineBehind: 0, consumers: 2 } },
  processes: Object.entries(pids).map(([name, pid]) => ({ name, pid, rss: 1, files: 1, heap: undefined })),
});

const window = (from: number): Window => ({
  ...{ from, to: from + 10, clients: 2, acknowledged: 800, answered: 200, failed: 0 },
  ...{ logged: { p50: 2, p99: 20 }, matched: { p50: 4, p99: 30 } },
});

/** An engine that was killed once, and came back; all else is as it should be. */
const WELL: SoakResult = {
  ...{
    options: { minutes: 10, seed: "s", clients: 6 },
    seconds: SECONDS,
    versions: {},
    acknowledged: 10,
    retries: 0,
    rows: 10,
  },
  ...{ settledAfter: 1, extraWorkers: 1, audit: { code: 0, output: "all is well" }, findings: [] },
  settings: { daySeconds: 200, killSeconds: 30, idempotencyMs: 1, goneMs: 1, warmUpSeconds: 60 },
  kills: [{ at: 100, name: "engine" }],
  windows: Array.from({ length: 60 }, (_, i) => window(i * 10)),
  samples: Array.from({ length: SECONDS }, (_, at) => sample(at, { engine: at < 100 ? 1 : 2, ingest: 9 })),
};

const broken = (more: Partial<SoakResult>) =>
  verdictOf({ ...WELL, ...more })
    .filter(({ ok }) => ok === false)
    .map(({ what }) => what);
const windows = (of: (window: Window) => Partial<Window>) => WELL.windows.map((each) => ({ ...each, ...of(each) }));
const samples = (pids: (at: number) => Readonly<Record<string, number>>) =>
  WELL.samples.map(({ at }) => sample(at, pids(at)));

test("a run in which all was well is one, kept as JSON too", () => {
  assert.deepEqual(broken({}), []);
  assert.deepEqual(verdictOf(JSON.parse(JSON.stringify(WELL)) as SoakResult), verdictOf(WELL));
  const page = pageOf(WELL, verdictOf(WELL), "x.svg", "a machine");
  assert.ok(page.includes("npm run soak -- --minutes 10 --seed s --clients 6"));
});

test("a dead engine, a crash loop and a silent server are not well", () => {
  const { settledAfter: _settled, ...unsettled } = WELL;
  const rows = verdictOf(unsettled).filter(({ ok }) => ok === false);
  assert.deepEqual(
    rows.map(({ what }) => what),
    ["all matched and written after the load"],
  );
  const starts = ["starts that no kill explains"];
  assert.deepEqual(
    broken({ samples: samples((at) => ({ engine: at < 100 ? 1 : 2 + Math.floor(at / 50), ingest: 9 })) }),
    starts,
  );
  assert.deepEqual(broken({ samples: samples((at) => (at < 100 ? { engine: 1, ingest: 9 } : { ingest: 9 })) }), starts);
  assert.deepEqual(broken({ rows: 9 }), ["acknowledged orders that are rows"]);
  const failed = "calls of the small load that failed between kills";
  assert.deepEqual(broken({ windows: windows(() => ({ failed: 3 })) }), [failed]);
  assert.deepEqual(
    broken({ windows: windows(({ from }) => (from >= 100 && from < 120 ? { failed: 200 } : {})) }),
    [],
    "a kill",
  );
  const silence = { answered: 0, logged: { p50: null, p99: null }, matched: { p50: null, p99: null } };
  assert.deepEqual(broken({ windows: windows(({ from }) => (from === 300 ? silence : {})) }), [
    "windows between kills without an answer",
  ]);
  assert.deepEqual(broken({ windows: windows(({ from }) => (from > 400 ? { acknowledged: 100 } : {})) }), [
    "pace of the clients",
  ]);
});
