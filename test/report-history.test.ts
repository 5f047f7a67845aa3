import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fromBinary, toJson } from "@bufbuild/protobuf";
import { EVENT_ROWS } from "../src/consumers/event-rows.ts";
import { recordOf } from "../src/consumers/record.ts";
import { workEntry } from "../src/engine/entry-outcome.ts";
import { Engine } from "../src/engine/matching/engine.ts";
import { type ExecutionReport, ExecutionReportSchema, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { WatchOrdersResponseSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { RequestError } from "../src/ingest/errors.ts";
import { ReportHistory } from "../src/ingest/report-history.ts";
import { type ReportPlace, WHOLE_ENTRY } from "../src/ingest/reports.ts";
import { persist } from "../src/store/batch.ts";
import { Writer } from "../src/store/writer.ts";
import type { Entry } from "../src/stream/entry.ts";
import { InstrumentBook } from "../src/stream/instrument-book.ts";
import { formatEntryId, START } from "../src/stream/position.ts";
import { createLog } from "../src/telemetry/log.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order, type TestAppender } from "./support/log.ts";

const BEGINNING: ReportPlace = { epoch: 0, ...START, index: WHOLE_ENTRY };

/** A log in which an order is an entry, what an engine makes of it, and who tells of that. */
class Scene {
  readonly log: LogScene;
  readonly appender: TestAppender;
  readonly history: ReportHistory;
  readonly #instruments: InstrumentBook;
  readonly #writer: Writer;

  private constructor(log: LogScene) {
    const { redis, sql, keys } = log;
    this.log = log;
    this.appender = log.appender();
    this.#instruments = new InstrumentBook(redis, [keys], createLog("test", "silent"));
    this.history = new ReportHistory({ redis, sql, partitions: [keys], instruments: this.#instruments });
    this.#writer = new Writer(log.databaseUrl, { timeoutMs: 10_000 });
    log.closing(() => this.#writer.close());
  }

  static async set(t: TestContext): Promise<Scene> {
    const scene = new Scene(await LogScene.set(t));
    await Flow.define(scene.appender);
    await scene.#instruments.refresh();
    return scene;
  }

  /** Appends and writes the events of all that is in the log. */
  async match(): Promise<void> {
    const { redis, keys } = this.log;
    const engine = new Engine();
    for (const entry of await this.log.entries()) {
      const { id, epoch, previous, payload } = workEntry(engine, 0, entry, false);
      const values = { d: payload, p: formatEntryId(previous), e: String(epoch), v: "1" };
      const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
      await redis.xadd(keys.events, id, ...fields);
      const options = { partition: 0, instruments: this.#instruments, instrumentsAreFresh: true };
      await persist(this.#writer, [recordOf(EVENT_ROWS, { id, fields, deliveries: 1 }, options)]);
    }
  }

  /** All reports behind a place. */
  async read(after: ReportPlace = BEGINNING): Promise<ExecutionReport[]> {
    const reports: ExecutionReport[] = [];
    for (let place = after; ;) {
      const page = await this.history.next(0, place, { account: "demo", symbol: undefined });
      if (page === undefined) return reports;
      for (const { bytes } of page.reports) {
        const { update } = fromBinary(WatchOrdersResponseSchema, bytes);
        assert.ok(update.case === "execution");
        reports.push(update.value);
      }
      place = page.end;
    }
  }
}

const jsonOf = (reports: readonly ExecutionReport[]) => reports.map((report) => toJson(ExecutionReportSchema, report));

test("reports tell of their orders, whether those are rows, still in the log, or dead letters (I4)", async (t) => {
  const scene = await Scene.set(t);
  const { redis, sql, keys } = scene.log;
  for (const [i, side] of [Side.BUY, Side.SELL, Side.BUY].entries())
    await scene.appender.append(...["a", "b"].map((name) => order(`${i}-${name}`, { side, quantity: side + 1 })));
  await scene.match();
  const read = async () => jsonOf(await scene.read());
  const reports = await read();
  assert.ok(reports.length >= 6, "from the stream");

  // The events are trimmed before any order is written.
  await redis.xtrim(keys.events, "MAXLEN", 0);
  assert.deepEqual(await read(), reports, "from the log");
  await scene.log.persist();
  assert.deepEqual(await read(), reports, "from their rows");
  await redis.xtrim(keys.orders, "MAXLEN", 0);
  await sql`DELETE FROM orders`;
  assert.deepEqual(await read(), reports, "from the journal");
});

test("a hole in what is written is waited for while the stream is gone: the engine makes it again (I4)", async (t) => {
  const scene = await Scene.set(t);
  const { redis, sql, keys } = scene.log;
  for (const name of ["first", "second", "third"]) await scene.appender.append(order(name));
  const [first, second] = (await scene.log.entries()).slice(-3);
  await scene.match();
  await redis.xtrim(keys.events, "MAXLEN", 0);
  const told = async (after?: ReportPlace) => (await scene.read(after)).map(({ order }) => order?.clientOrderId);
  assert.deepEqual(await told(), ["first", "second", "third"]);
  const { ms, seq } = second!;
  await sql`DELETE FROM journal WHERE stream = 1 AND ms = ${ms} AND seq = ${seq}`;
  await sql`DELETE FROM executions WHERE ms = ${ms} AND seq = ${seq}`;
  for (const after of [BEGINNING, { epoch: first!.epoch, ms: first!.ms, seq: first!.seq, index: WHOLE_ENTRY }])
    await assert.rejects(told(after), { code: "UNAVAILABLE", message: /events are missing at present/ });
});

test("behind an entry that the log has lost it says where to resume; what came of it is not told any more (I4)", async (t) => {
  const scene = await Scene.set(t);
  const { redis, keys } = scene.log;
  await scene.appender.append(order("kept"));
  await scene.log.persist();
  for (const name of ["lost", "lost too"]) await scene.appender.append(order(name));
  const [kept, ...lost] = (await scene.log.entries()).slice(-3);
  const placeOf = ({ epoch, ms, seq }: Entry, index = WHOLE_ENTRY): ReportPlace => ({ epoch, ms, seq, index });
  await scene.match(); // the workers of the events were quicker than those of the orders
  for (const entry of [kept!, ...lost]) await scene.history.expect(0, placeOf(entry));

  await redis.flushall();
  await scene.appender.append(order("new"));
  const [again] = (await scene.log.entries()).slice(-1);
  assert.deepEqual([again?.epoch, again?.previous], [2, { ms: kept!.ms, seq: kept!.seq }]);
  const resume = placeOf(kept!);
  const asserted = async () => {
    for (const entry of lost) {
      const refusal = await scene.history.expect(0, placeOf(entry, 0)).catch((error: unknown) => error);
      assert.ok(refusal instanceof RequestError);
      assert.equal(refusal.code, "OUT_OF_RANGE");
      assert.match(refusal.message, new RegExp(`has lost entry ${entry.id} of epoch 1, .* epoch 1, index 65535: `));
      assert.ok(refusal.message.includes(`Resume behind entry_id ${kept!.id}, epoch`), refusal.message);
    }
    for (const place of [BEGINNING, resume]) await scene.history.expect(0, place);
  };
  await asserted();
  await scene.match();
  await asserted();
  await scene.history.expect(0, placeOf(again!));

  const told = async (after?: ReportPlace) => (await scene.read(after)).map(({ order }) => order?.clientOrderId);
  const assertTold = async (what: string) => {
    assert.deepEqual(await told(), ["kept", "new"], what);
    assert.deepEqual(await told(resume), ["new"], what);
  };
  await assertTold("from the stream");
  await redis.xtrim(keys.events, "MAXLEN", 1);
  await assertTold("from rows, and the newest entry of the stream");
  await scene.log.persist();
  await redis.xtrim(keys.events, "MAXLEN", 0);
  await assertTold("from rows");
  await redis.xtrim(keys.orders, "MAXLEN", 0);
  await asserted();
});
