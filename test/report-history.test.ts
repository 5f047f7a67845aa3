import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, toJson } from "@bufbuild/protobuf";
import { EVENT_ROWS } from "../src/consumers/event-rows.ts";
import { recordOf } from "../src/consumers/record.ts";
import { workEntry } from "../src/engine/entry-outcome.ts";
import { Engine } from "../src/engine/matching/engine.ts";
import { ExecutionReportSchema, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { WatchOrdersResponseSchema } from "../src/gen/penstock/v1/order_service_pb.ts";
import { ReportHistory } from "../src/ingest/report-history.ts";
import { WHOLE_ENTRY } from "../src/ingest/reports.ts";
import { persist } from "../src/store/batch.ts";
import { Writer } from "../src/store/writer.ts";
import { InstrumentBook } from "../src/stream/instrument-book.ts";
import { formatEntryId, START } from "../src/stream/position.ts";
import { createLog } from "../src/telemetry/log.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order } from "./support/log.ts";

test("reports tell of their orders, whether those are rows, still in the log, or dead letters (I4)", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, sql, keys } = scene;
  const appender = scene.appender();
  await Flow.define(appender);
  for (const [i, side] of [Side.BUY, Side.SELL, Side.BUY].entries())
    await appender.append(...["a", "b"].map((name) => order(`${i}-${name}`, { side, quantity: side + 1 })));

  const instruments = new InstrumentBook(redis, [keys], createLog("test", "silent"));
  await instruments.refresh();
  const history = new ReportHistory({ redis, sql, partitions: [keys], instruments });
  const read = async () => {
    const page = await history.next(
      0,
      { epoch: 0, ...START, index: WHOLE_ENTRY },
      { account: "demo", symbol: undefined },
    );
    return page!.reports.map(({ bytes }) => {
      const { update } = fromBinary(WatchOrdersResponseSchema, bytes);
      assert.ok(update.case === "execution");
      return toJson(ExecutionReportSchema, update.value);
    });
  };
  const writer = new Writer(scene.databaseUrl, { timeoutMs: 10_000 });
  scene.closing(() => writer.close());
  const engine = new Engine();
  for (const entry of await scene.entries()) {
    const { id, epoch, previous, payload } = workEntry(engine, 0, entry, false);
    const values = { d: payload, p: formatEntryId(previous), e: String(epoch), v: "1" };
    const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
    await redis.xadd(keys.events, id, ...fields);
    const options = { partition: 0, instruments, instrumentsAreFresh: true };
    await persist(writer, [recordOf(EVENT_ROWS, { id, fields, deliveries: 1 }, options)]);
  }
  const reports = await read();
  assert.ok(reports.length >= 6, "from the stream");

  // The events are trimmed before any order is written.
  await redis.xtrim(keys.events, "MAXLEN", 0);
  assert.deepEqual(await read(), reports, "from the log");
  await scene.persist();
  assert.deepEqual(await read(), reports, "from their rows");
  await redis.xtrim(keys.orders, "MAXLEN", 0);
  await sql`DELETE FROM orders`;
  assert.deepEqual(await read(), reports, "from the journal");
});
