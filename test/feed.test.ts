import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { gzipSync } from "node:zlib";

import { Command, type Outcome } from "./support/command.ts";
import { tokenOf } from "./support/pipeline.ts";
import { Proxy } from "./support/proxy.ts";
import { Venue } from "./support/venue.ts";

/** `penstock feed` as a process, against a real ingest. */

interface Summary {
  readonly run: string;
  readonly sent: Readonly<Record<"submit" | "cancel" | "replace" | "cancelAll", number>>;
  readonly accepted: number;
  readonly duplicates: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly skipped: Readonly<Record<string, number>>;
  readonly unreadable: number;
  readonly resent: number;
}

/** A file with this content, in a folder of its own. */
function fileOf(t: TestContext, content: string | Buffer): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-feed-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "recording");
  writeFileSync(path, content);
  return path;
}

async function start(t: TestContext, address: string, path: string, ...args: readonly string[]): Promise<Command> {
  return new Command(t, ["feed", path, "--url", address, ...args], await tokenOf("demo"));
}

async function feed(t: TestContext, address: string, path: string, ...args: readonly string[]): Promise<Outcome> {
  return (await start(t, address, path, ...args)).end();
}

async function summaryOf(...[t, address, path, ...args]: Parameters<typeof feed>): Promise<Summary & { code: number }> {
  const { stdout, stderr, code } = await feed(t, address, path, "--json", ...args);
  assert.ok(stdout !== "", stderr);
  return { ...(JSON.parse(stdout) as Summary), code: code ?? -1 };
}

const line = (id: number, fields: object = {}) =>
  JSON.stringify({
    submit: {
      clientOrderId: `n-${id}`,
      symbol: "BTC-USD",
      side: id % 2 === 0 ? "SIDE_BUY" : "SIDE_SELL",
      type: "ORDER_TYPE_LIMIT",
      quantity: "0.1",
      price: "100.25",
      ...fields,
    },
  });

const BITSTAMP = `id,timestamp,exchange.timestamp,price,volume,action,direction
10,1000,0,236.47,200000000,created,bid
9,1001,0,236.50,100,deleted,ask
11,1001,0,236.47,21144331,created,ask
10,1002,0,236.47,178855669,changed,bid
11,1002,0,236.47,0,deleted,ask
10,1400,0,236.47,178855669,deleted,bid
`;

suite("penstock feed", { concurrency: true }, () => {
  test("one venue", { concurrency: true }, async (t) => {
    const venue = await Venue.trading(t);
    const { address } = venue.ingest;
    const loggedOf = async (prefix: string) => (await venue.logged()).filter((id) => id.startsWith(prefix));
    await Promise.all([
      t.test("a file is fed once, in its order; a second time all of it is duplicates", async (t) => {
        const path = fileOf(t, gzipSync(BITSTAMP));
        const first = await summaryOf(t, address, path, "--symbol", "BTC-USD");
        const { run } = first;
        assert.match(run, /^[0-9a-f]{10}$/);
        assert.deepEqual(first, {
          run,
          sent: { submit: 2, cancel: 1, replace: 0, cancelAll: 0 },
          accepted: 3,
          duplicates: 0,
          refused: {},
          skipped: { "of an order from before the recording": 1, "executions: matching makes them": 2 },
          unreadable: 0,
          resent: 0,
          unsettled: 0,
          seconds: (first as { seconds?: number }).seconds,
          code: 0,
        });
        assert.deepEqual(await loggedOf(run), [`${run}-10`, `${run}-11`, `${run}-L7`]);
        const again = await summaryOf(t, address, path, "--symbol", "BTC-USD");
        assert.deepEqual([again.accepted, again.duplicates, again.code], [0, 3, 0]);
        const anew = await summaryOf(t, address, path, "--symbol", "BTC-USD", "--run", "other", "--speed", "4");
        assert.deepEqual([anew.accepted, anew.run], [3, "other"]);
        assert.deepEqual(await loggedOf("other"), ["other-10", "other-11", "other-L7"]);
      }),
      t.test("thousands of commands, cut off again and again: each is logged once, in its order", async (t) => {
        const proxy = await Proxy.start(t, `http://${address}`);
        const ids = Array.from({ length: 8_000 }, (_, i) => i);
        const path = fileOf(t, ids.map((id) => line(id)).join("\n"));
        const command = await start(t, proxy.address, path, "--run", "cut", "--json");
        for (const share of [500, 3_000, 6_000]) {
          while ((await loggedOf("cut-")).length < share) await new Promise((resolve) => setTimeout(resolve, 20));
          proxy.cut();
        }
        const { stdout, stderr, code } = await command.end();
        assert.equal(code, 0, stderr);
        const summary = JSON.parse(stdout) as Summary;
        assert.equal(summary.accepted + summary.duplicates, 8_000);
        assert.ok(summary.resent > 0);
        assert.deepEqual(
          await loggedOf("cut-"),
          ids.map((id) => `cut-n-${id}`),
        );
      }),
      t.test("what is refused, and what cannot be read, is told with its line, and the exit code is 1", async (t) => {
        const path = fileOf(
          t,
          [line(1), "{", line(2, { price: "100.251" }), line(1), line(3, { symbol: "" })].join("\n"),
        );
        const { stdout, stderr, code } = await feed(t, address, path, "--run", "bad", "--symbol", "BTC-USD");
        assert.equal(code, 1);
        assert.match(stderr, /^penstock: line 2: .*JSON.*\npenstock: line 3: INVALID_ARGUMENT: .*\n  price: .*\n$/);
        assert.match(
          stdout,
          /^sent +4  4 orders\naccepted +2\nduplicates +1\nrefused +1\n +1  INVALID_ARGUMENT: price /,
        );
        assert.match(stdout, /\nskipped +0\nunreadable +1\ntook +\d/);
        assert.deepEqual(await loggedOf("bad-"), ["bad-n-1", "bad-n-3"]);
      }),
      t.test("LOBSTER: a price that the instrument has no tick for is a refused line", async (t) => {
        await venue.define("AAPL");
        const rows = ["1.0,1,1,100,5853301,1", "1.5,1,2,100,5853300,1", "2.0,2,2,40,5853300,1", "2.5,4,2,10,5853300,1"];
        const path = fileOf(t, rows.join("\n"));
        const { stdout, stderr, code } = await feed(t, address, path, "--symbol", "AAPL", "--executions", "--run", "l");
        assert.equal(code, 1);
        assert.match(stderr, /^penstock: line 1: INVALID_ARGUMENT: .*\n  price: /);
        assert.match(stdout, /^sent +4  3 orders, 1 replaces\naccepted +3\n/);
        assert.deepEqual(await loggedOf("l-"), ["l-2", "l-L3", "l-x4"]);
      }),
      t.test("Ctrl-C ends it early: what was sent is settled and summed up", async (t) => {
        const at = (id: number, at: number) => `${line(id).slice(0, -1)},"at":${at}}`;
        const path = fileOf(t, [at(1, 0), at(2, 10), at(3, 3_600_000)].join("\n"));
        const command = await start(t, address, path, "--speed", "1", "--run", "slow", "--json");
        while ((await loggedOf("slow-")).length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
        const { stdout, code } = await command.interrupt();
        assert.equal(code, 1);
        assert.equal((JSON.parse(stdout) as Summary).accepted, 2);
      }),
      t.test("what makes no sense ends with 2 and a line that helps", async (t) => {
        const cases: [string, string[], RegExp][] = [
          ["/nowhere/at/all", [], /cannot be read/],
          [fileOf(t, BITSTAMP), [], /a bitstamp file names no symbol: give --symbol/],
          [fileOf(t, BITSTAMP), ["--symbol", "NONE"], /there is no instrument NONE/],
          [fileOf(t, "what is this"), [], /does not show its format: give --format/],
          [fileOf(t, line(1)), ["--compare"], /nothing to compare/],
          [fileOf(t, line(1)), ["--speed", "0"], /A number above 0/],
          [fileOf(t, line(1)), ["--run", "a b"], /printable ASCII/],
        ];
        for (const [path, args, message] of cases) {
          const { code, stderr, stdout } = await feed(t, address, path, ...args);
          assert.deepEqual([code, stdout], [2, ""], stderr);
          assert.match(stderr, message);
        }
        const empty = await summaryOf(t, address, fileOf(t, ""));
        assert.deepEqual([empty.accepted, empty.code], [0, 0]);
      }),
    ]);
  });
});
