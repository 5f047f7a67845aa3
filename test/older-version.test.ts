/**
 * Versions beside each other: the roles of an earlier commit, and ours. (The way back is in the matrix: test/fault/kinds/versions.ts.)
 *
 * - I2, I4, I5, I6 whoever takes, matches and writes them: orders are in the log once, and once in the rows
 * - I7 an engine of before and one of ours make the same of the same log: both would stop otherwise
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { EngineStack, failingOf, metricOf } from "./support/engine-stack.ts";
import { OlderVersion } from "./support/older-version.ts";
import { PatientClient } from "./support/patient-client.ts";
import { eventually, startConsumers, startEngine, startIngest, tokenOf } from "./support/pipeline.ts";

const QUICK = {
  PENSTOCK_MIN_IDLE_MS: "3000",
  PENSTOCK_TRANSACTION_TIMEOUT_MS: "2500",
  PENSTOCK_CLAIM_INTERVAL_MS: "200",
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_SNAPSHOT_COMMANDS: "1000",
};

test(
  "a rolling change from an earlier version to this one under load (I2, I4, I5, I6, I7)",
  { skip: OlderVersion.hindrance() ?? false },
  async (t) => {
    const older = OlderVersion.unpack();
    t.after(() => older.remove());
    const stack = await EngineStack.open(t, { env: QUICK });
    // Engines beside each other, at addresses of their own: nobody asks them for books here.
    const env = (name: string) => ({ ...stack.servers.env, PENSTOCK_ENGINE_PORT: "0", PENSTOCK_CONSUMER_NAME: name });
    // Its sources lie elsewhere each time: what Node made of them is not worth keeping.
    const before = (name: string) => ({
      ...stack.servers,
      main: older.main,
      env: { ...env(name), NODE_DISABLE_COMPILE_CACHE: "1" },
    });
    const [oldIngest, oldWorker, oldEngine] = await Promise.all([
      startIngest(t, before("")),
      startConsumers(t, before("old")),
      startEngine(t, before("")),
    ]);

    const clients = new PatientClient([oldIngest.address, stack.ingest.address], await tokenOf("demo"));
    t.after(() => clients.close());
    clients.start(8);
    const some = async () => {
      const count = clients.acknowledged.size;
      await eventually(async () => clients.acknowledged.size > count + 150, "some orders");
    };
    await some();

    // Who reads goes before who writes: workers, engines (the standby first), ingest.
    const worker = await startConsumers(t, { ...stack.servers, env: env("new") });
    await some();
    assert.equal(await oldWorker.stop(), 0);
    const engine = await startEngine(t, { ...stack.servers, env: env("") });
    await some();
    await eventually(async () => (await failingOf(engine.http)) === "", "the new engine to have come to the present");
    assert.equal(await oldEngine.stop(), 0);
    await some();
    assert.equal(await oldIngest.stop(), 0);
    await some();
    await clients.stop();
    await stack.untilMatched();

    const { acknowledged } = clients;
    await eventually(async () => {
      const [row] = await stack.sql`
      SELECT (SELECT count(*)::int FROM orders) AS orders, (SELECT count(*)::int FROM order_states) AS states`;
      return row!["orders"] === acknowledged.size && row!["states"] === acknowledged.size;
    }, "a row and a state of each");
    const rows = await stack.sql<
      { id: string; order: string }[]
    >`SELECT client_order_id AS id, order_id AS order FROM orders`;
    assert.deepEqual(new Map(rows.map(({ id, order }) => [id, order])), acknowledged);
    const [letters] = await stack.sql`SELECT count(*)::int AS count FROM dead_letters`;
    assert.equal(letters!["count"], 0);
    assert.equal(await metricOf(engine.http, "engine_state", 'state="stopped"'), 0);
    for (const role of [oldEngine, engine, oldWorker, worker]) {
      assert.ok(
        role.lines.every((line) => !/DIVERGENCE|STOPPED|FORK|GAP/.test(line)),
        role.lines.filter((line) => line.includes('"level":"error"')).join("\n"),
      );
    }
  },
);
