/**
 * A gap in the log that nobody fills: Redis loses its end when one worker has written the last entry of it, and the worker that
 * had those before it in hand is gone as well.
 *
 * - I4 it is alarmed, and the engine stands still, until an operator closes it as docs/recovery.md says; what comes of it later is a dead letter
 * - I7, I8 engine, replay and audit agree on what is left, also where Redis is emptied once more
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";

import { expectedRecord, storedInstruments } from "../src/audit/expected.ts";
import { EVENT_ROWS } from "../src/consumers/event-rows.ts";
import { ORDER_ROWS } from "../src/consumers/order-rows.ts";
import type { StreamRows } from "../src/consumers/record.ts";
import { takeSnapshot, workEntry } from "../src/engine/entry-outcome.ts";
import { Engine } from "../src/engine/matching/engine.ts";
import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { Side } from "../src/gen/penstock/v1/order_pb.ts";
import { persist } from "../src/store/batch.ts";
import { saveSnapshot, snapshotPlaces } from "../src/store/engine-snapshots.ts";
import { allLetters } from "../src/store/test-entries.ts";
import { Writer } from "../src/store/writer.ts";
import { type Entry, readEntry, type StreamReply } from "../src/stream/entry.ts";
import { formatEntryId } from "../src/stream/position.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { EngineStack } from "./support/engine-stack.ts";
import { eventually, startConsumers, tokenOf } from "./support/pipeline.ts";
import { Runbook } from "./support/runbook.ts";
import { type Scene, untilFinished } from "./support/worker.ts";

const ENV = { PENSTOCK_READ_BLOCK_MS: "100" };

const { closeGap, getPipelineStatus, listAdminActions, redriveDeadLetter } = AdminService.method;

/** All roles but workers, which come and go. */
class Deployment {
  readonly stack: EngineStack;
  readonly #t: TestContext;
  readonly #writer: Writer;

  private constructor(t: TestContext, stack: EngineStack) {
    this.#t = t;
    this.stack = stack;
    this.#writer = new Writer(stack.servers.databaseUrl, { timeoutMs: 10_000 });
    t.after(() => this.#writer.close());
  }

  static async start(t: TestContext): Promise<Deployment> {
    const stack = await EngineStack.open(t, { env: ENV });
    await stack.engine();
    return new Deployment(t, stack);
  }

  async caller(role: "admin" | "trader"): Promise<Caller> {
    const caller = new Caller(this.stack.ingest.address, `Bearer ${await tokenOf("root", role)}`);
    this.#t.after(() => caller.close());
    return caller;
  }

  async runbook(): Promise<Runbook> {
    const { redisUrl, databaseUrl } = this.stack.servers;
    const grpc = `http://${this.stack.ingest.address}`;
    return new Runbook(this.#t, { redisUrl, databaseUrl, grpc, adminToken: await tokenOf("root", "admin") });
  }

  /** An order that is answered, whatever happens meanwhile. */
  async order(side: Side): Promise<void> {
    const isTaken = () => this.stack.submit(1, side, "100").then(() => true, () => undefined); // prettier-ignore
    await eventually(isTaken, "an answer", 30_000);
  }

  async entries(key: string): Promise<Entry[]> {
    const replies = (await this.stack.redis.callBuffer("XRANGE", key, "-", "+")) as StreamReply[];
    return replies.map(([id, fields]) => readEntry(id.toString(), fields ?? []));
  }

  /** As a worker writes them that has them in hand. */
  async write(rows: StreamRows, ...entries: readonly Entry[]) {
    const options = { partition: 0, instruments: await storedInstruments(this.stack.sql) };
    return await persist(
      this.#writer,
      entries.map((entry) => expectedRecord(rows, entry, options)),
    );
  }

  /** Waits until a worker has written all that is there and has been matched. */
  async written(): Promise<void> {
    await this.stack.untilMatched();
    const scene = { redis: this.stack.redis, log: { keys: this.stack.keys } as Scene["log"] };
    await untilFinished(scene);
    await untilFinished(scene, "events");
  }

  /** Stored as by the engine that worked the log up to there. */
  async snapshotAt(at: Entry, log: readonly Entry[]): Promise<void> {
    const engine = new Engine();
    for (const entry of log.slice(0, log.findIndex(({ id }) => id === at.id) + 1)) workEntry(engine, 0, entry, false);
    await saveSnapshot(this.#writer, { ...takeSnapshot(engine, at, false), partition: 0 });
  }

  gap = async () => {
    const { partitions } = await this.stack.admin.call(getPipelineStatus, {});
    return partitions[0]?.engine?.gap;
  };
}

test("I4, I7, I8: a gap that nobody fills is closed by an operator; the engine goes on without it, and the audit finds nothing", async (t) => {
  const deployment = await Deployment.start(t);
  const { stack } = deployment;
  const { redis, sql, keys } = stack;
  const first = await startConsumers(t, stack.servers);
  for (const side of [Side.BUY, Side.BUY, Side.SELL]) await deployment.order(side);
  await deployment.written();
  await first.stop();

  for (const side of [Side.SELL, Side.BUY, Side.SELL]) await deployment.order(side);
  await stack.untilMatched();
  const [log, events] = [await deployment.entries(keys.orders), await deployment.entries(keys.events)];
  const [before, one, two, behind] = log.slice(-4) as [Entry, Entry, Entry, Entry];
  const told = events.slice(-3) as [Entry, Entry, Entry];
  await deployment.snapshotAt(before, log);
  for (const entry of [one, behind]) await deployment.snapshotAt(entry, log);
  await deployment.write(ORDER_ROWS, behind);
  await deployment.write(EVENT_ROWS, told[0], told[2]);
  await redis.flushall();
  await deployment.order(Side.BUY);

  const gap = await eventually(async () => await deployment.gap(), "the engine to say what is missing");
  assert.deepEqual([gap.after?.epoch, gap.after?.entryId, gap.missing], [1, before.id, two.id]);
  const [admin, trader] = [await deployment.caller("admin"), await deployment.caller("trader")];
  const wanted = { partition: 0, entryId: two.id, reason: "a power cut" };
  const refusals = [
    await refusalOf(trader.call(closeGap, wanted)),
    await refusalOf(admin.call(closeGap, { ...wanted, entryId: one.id })),
    await refusalOf(admin.call(closeGap, { partition: 1, entryId: "one" })),
  ];
  assert.deepEqual(
    refusals.map(({ code, fields }) => [code, ...fields]),
    [["PERMISSION_DENIED"], ["FAILED_PRECONDITION"], ["INVALID_ARGUMENT", "entry_id", "partition", "reason"]],
  );
  assert.match(refusals[1]!.message, new RegExp(`waits for entry ${two.id}$`));
  // An engine that had what is missing may have gone on.
  await redis.xadd(keys.events, two.id, "d", told[1].payload, "p", one.id, "e", 1, "v", 1);
  assert.match((await refusalOf(admin.call(closeGap, wanted))).message, /clients were told$/);
  await redis.xdel(keys.events, two.id);

  await startConsumers(t, stack.servers);
  const runbook = await deployment.runbook();
  const [closed] = await runbook.follow("A gap in the log", { ENTRY: two.id });
  const words = `the gap from ${before.id} to ${two.id} is closed; events of 2 entries were taken back, 2 snapshots removed`;
  assert.equal(closed!.output.trim(), words);
  await deployment.written();
  assert.deepEqual((await snapshotPlaces(sql, 0)).map(formatEntryId), [before.id]);
  assert.equal(await deployment.gap(), undefined);
  const { duplicate, previousEntryId } = await admin.call(closeGap, wanted);
  assert.deepEqual([duplicate, previousEntryId], [true, before.id]);
  const { actions } = await admin.call(listAdminActions, { pageSize: 10 });
  const mine = actions.filter(({ action }) => action === "CloseGap");
  assert.deepEqual(
    mine.map(({ actor, details }) => [actor, details["entry_id"], details["withdrawn"]]),
    [["root", two.id, "2"]],
  );

  // The worker that had them comes late.
  const late = await deployment.write(ORDER_ROWS, one, two);
  const lateEvents = await deployment.write(EVENT_ROWS, told[0]);
  assert.deepEqual([late.orphans, late.rows, lateEvents.orphans], [2, 0, 1]);
  const letters = await allLetters(sql);
  assert.deepEqual(letters.map(({ kind, stream, ...id }) => `${kind} ${stream} ${formatEntryId(id)}`).sort(), [
    `orphaned 0 ${one.id}`,
    `orphaned 0 ${two.id}`,
    `orphaned 1 ${one.id}`,
  ]);
  for (const { id } of letters) {
    const { message } = await refusalOf(admin.call(redriveDeadLetter, { id: BigInt(id) }));
    assert.match(message, /no engine will ever come to it/);
  }
  const audit = async () => {
    const { code, output } = await runbook.run("penstock audit");
    assert.equal(code, 0, output);
  };
  await audit();

  // What stands in the gap is put back as everything else.
  await redis.flushall();
  await deployment.order(Side.SELL);
  await deployment.written();
  const whole = [...log.slice(0, -3).map(({ id }) => id), two.id, behind.id];
  assert.deepEqual((await stack.idsOf(keys.orders)).slice(0, whole.length), whole);
  await audit();
  const replay = await runbook.run("penstock replay --from journal");
  assert.equal(replay.code, 0, replay.output);
});
