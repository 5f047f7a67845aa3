/** Entries of events that are as large as they can be: whoever reads them asks for few at once, whatever a page may have. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import { EventFollower, FOLLOW_BLOCK_MS } from "../src/ingest/event-follower.ts";
import { ReportHistory } from "../src/ingest/report-history.ts";
import { type ReportPlace, WHOLE_ENTRY } from "../src/ingest/reports.ts";
import { connect } from "../src/store/connection.ts";
import { GroupReader } from "../src/stream/group-reader.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { InstrumentBook } from "../src/stream/instrument-book.ts";
import { PartitionKeys } from "../src/stream/keys.ts";
import { START } from "../src/stream/position.ts";
import { connectRedis } from "../src/stream/redis.ts";
import { createLog } from "../src/telemetry/log.ts";
import { eventBatch } from "./support/hand-events.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";
import { until } from "./support/until.ts";

const KEYS = new PartitionKeys(0);
const ENTRIES = 40;
const ENTRY_BYTES = 1_250_000;
/** Redis cuts a connection for which it would have to hold more than that. */
const MOST_BYTES = 20 * ENTRY_BYTES;
const LOG = createLog("test", "silent");

/** The events of an entry that was many orders' end. */
const PAYLOAD = (() => {
  const events = (count: number) =>
    Array.from({ length: count }, () => ({ clientOrderId: "client-order-id-".repeat(4) }));
  return eventBatch(events(Math.ceil((ENTRY_BYTES / eventBatch(events(1_000)).length) * 1_000)));
})();

class Scene {
  readonly url: string;
  readonly #t: TestContext;

  private constructor(t: TestContext, url: string) {
    this.#t = t;
    this.url = url;
  }

  /** A Redis with `ENTRIES` such entries, of which it will not send 20 in one answer. */
  static async set(t: TestContext): Promise<Scene> {
    const scene = new Scene(t, (await startTestRedis(t)).url);
    const redis = scene.open();
    await scene.append(redis, 1, ENTRIES);
    await redis.config("SET", "client-output-buffer-limit", `normal ${MOST_BYTES} 0 0`);
    await assert.rejects(redis.callBuffer("XRANGE", KEYS.events, "-", "+", "COUNT", 32), "the bound is there");
    return scene;
  }

  open(socketTimeoutMs = 10_000): Redis {
    const redis = connectRedis(this.url, { name: "test", socketTimeoutMs });
    this.#t.after(() => redis.disconnect());
    return redis;
  }

  /** All at once. */
  async append(redis: Redis, from: number, to: number): Promise<void> {
    const transaction = redis.multi();
    for (let n = from; n <= to; n++)
      transaction.xadd(KEYS.events, `${n}-0`, "d", PAYLOAD, "p", `${n - 1}-0`, "e", "1", "v", "1");
    await transaction.exec();
  }
}

suite("large entries are read in pages of few", () => {
  test("by the follower: those that are there, and those that come", async (t) => {
    const scene = await Scene.set(t);
    const following = scene.open(10_000 + FOLLOW_BLOCK_MS);
    const follower = new EventFollower({ partitions: [KEYS], redis: [following], log: LOG });
    t.after(() => follower.stop());
    await follower.start();
    assert.equal(follower.end(0)?.ms, ENTRIES);
    let resets = 0;
    follower.listen(0, { entry: () => {}, reset: () => resets++ });
    await scene.append(scene.open(), ENTRIES + 1, ENTRIES + 30);
    await until("all are followed", () => follower.end(0)?.ms === ENTRIES + 30);
    assert.equal(resets, 0);
  });

  test("by who asks for what is over", async (t) => {
    const scene = await Scene.set(t);
    const redis = scene.open();
    const sql = connect((await createTestDatabase(t)).url, { max: 1 });
    t.after(() => sql.end({ timeout: 1 }));
    const instruments = new InstrumentBook(redis, [KEYS], LOG);
    const history = new ReportHistory({ redis, sql, partitions: [KEYS], instruments });
    const filter = { account: "nobody", symbol: undefined };
    let place: ReportPlace = { epoch: 0, ...START, index: WHOLE_ENTRY };
    for (;;) {
      const page = await history.next(0, place, filter);
      if (page === undefined) break;
      place = page.end;
    }
    assert.equal(place.ms, ENTRIES);
  });

  test("by a group: new ones, its own again, and those of others", async (t) => {
    const scene = await Scene.set(t);
    const redis = scene.open();
    /** IDs of all that comes, until nothing does. */
    const readBy = async (consumer: string): Promise<string[]> => {
      const reader = new GroupReader({
        ...{
          blocking: scene.open(),
          redis,
          stream: KEYS.events,
          group: PERSIST_GROUP,
          consumer,
          count: 50,
          firstCount: 8,
        },
        ...{ minIdleMs: 0, claimIntervalMs: 60_000, blockMs: 20, onGroupLost: () => {} },
      });
      const ids: string[] = [];
      for (let quiet = 0; quiet < 2;) {
        const { entries } = await reader.next();
        quiet = entries.length === 0 ? quiet + 1 : 0;
        ids.push(...entries.map(({ id }) => id));
      }
      return ids;
    };
    const all = Array.from({ length: ENTRIES }, (_, i) => `${i + 1}-0`);
    assert.deepEqual(await readBy("one"), all);
    // What it holds comes again, first by its name, then because it is old enough to be taken over.
    assert.deepEqual(await readBy("one"), [...all, ...all]);
    assert.deepEqual(await readBy("another"), all);
  });
});
