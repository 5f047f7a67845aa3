import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Command } from "./support/command.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { tokenOf } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";

/** The command line with all of it running: what is fed is matched, and can be watched. */

const HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction";

/** A bid of 2 and an ask that takes 0.5 of it, again and again, each bid canceled then; and an ask that the record says nothing of. */
const ROUNDS = 200;
const RECORDED = [
  HEADER,
  ...Array.from({ length: ROUNDS }, (_, i) => {
    const [bid, ask, at] = [1_000 + 2 * i, 1_001 + 2 * i, 10_000 * i];
    return [
      `${bid},${at},0,100.00,200000000,created,bid`,
      `${ask},${at},0,99.50,50000000,created,ask`,
      `${bid},${at + 1},0,100.00,150000000,changed,bid`,
      `${ask},${at + 1},0,99.50,0,deleted,ask`,
      `${bid},${at + 2},0,100.00,150000000,deleted,bid`,
    ];
  }).flat(),
  "9000,9000000,0,101.00,7,created,bid",
  "9001,9000000,0,101.00,5,created,ask",
  "9001,9000001,0,101.00,5,deleted,ask",
  "9000,9000002,0,101.00,7,deleted,bid",
];
/** Two new orders a round, a trade's two reports, a cancel or its refusal; and the last cancel. */
const REPORTS = 5 * (ROUNDS + 1) + 1;

test("a recording is fed, matched, compared and watched", { timeout: 120_000 }, async (t) => {
  const stack = await EngineStack.open(t);
  await stack.engine();
  const folder = mkdtempSync(join(tmpdir(), "penstock-feed-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "recording");
  writeFileSync(path, RECORDED.join("\n"));
  const token = await tokenOf("demo");
  const proxy = await Proxy.start(t, `http://${stack.ingest.address}`);
  const run = (...args: readonly string[]) => new Command(t, [...args, "--url", proxy.address], token);

  const watch = run("watch", "--json", "--from", "start");
  const book = run("book", "BTC-USD", "--follow", "--json");
  assert.match((await book.lines(1))[0]!, /^\{"snapshot":/);
  const trades = run("trades", "BTC-USD", "--follow");

  const feed = ["feed", path, "--symbol", "BTC-USD", "--url", stack.ingest.address];
  const fed = await new Command(t, [...feed, "--compare", "--json"], token).end();
  assert.equal(fed.code, 0, fed.stderr);
  const { accepted, compared } = JSON.parse(fed.stdout) as { accepted: number; compared: Record<string, unknown> };
  assert.equal(accepted, 3 * ROUNDS + 4);
  assert.deepEqual(compared["why"], { crossed: 2 });
  assert.deepEqual([compared["orders"], compared["same"], compared["sameFilled"]], [402, 400, 400]);

  // Each report once, in its order, whatever the cut between the two.
  const lines = await watch.lines(REPORTS);
  proxy.cut();
  assert.equal((await new Command(t, [...feed, "--run", "again"], token).end()).code, 0);
  lines.push(...(await watch.lines(REPORTS)));
  const reports = lines.map((line) => JSON.parse(line) as { sequence: string });
  assert.equal(reports.length, 2 * REPORTS);
  assert.deepEqual(
    reports.map(({ sequence }) => Number(sequence)),
    reports.map((_, i) => i + 1),
  );
  const watched = await watch.interrupt();
  assert.equal(watched.code, 0);
  assert.match(watched.stderr, /cut off, going on behind 0:1:/);

  const told = await trades.lines(1);
  assert.match(told[0]!, /^\S+Z  \d+  SELL  0\.5 @ 100$/);
  assert.equal((await trades.interrupt()).code, 0);
  const followed = await book.interrupt();
  assert.equal(followed.code, 0);
  assert.doesNotMatch(followed.stderr, /DATA_LOSS/);
  assert.match((await run("book", "BTC-USD").end()).stdout, /^BTC-USD  OPEN  last 101  version \d+\norders/);
});
