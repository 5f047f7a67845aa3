/** The runbooks of docs/recovery.md, followed to the letter beside real processes, and under load where that is the point. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";

import postgres from "postgres";

import { Side, OrderType } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { prepareRules } from "../src/stream/prepared-command.ts";
import { PERSIST_GROUP } from "../src/stream/groups.ts";
import { formatEntryId, parseOrderId } from "../src/stream/position.ts";
import { EngineStack, failingOf, metricOf } from "./support/engine-stack.ts";
import { order, TestAppender } from "./support/log.ts";
import { type EngineProcess, eventually, type RoleProcess, startConsumers, tokenOf } from "./support/pipeline.ts";
import { Runbook } from "./support/runbook.ts";
import { type Scene, untilFinished } from "./support/worker.ts";

const ENV = {
  PENSTOCK_READ_BLOCK_MS: "100",
  PENSTOCK_SNAPSHOT_INTERVAL_MS: "1000",
  PENSTOCK_TRIM_INTERVAL_MS: "1000",
};

/** The n-th order of a client. */
function requestOf(n: number) {
  const side = n % 3 === 0 ? Side.SELL : Side.BUY;
  const order = { symbol: "BTC-USD", type: OrderType.LIMIT, side, quantity: "0.1", price: String(100 - (n % 5)) };
  return { ...order, clientOrderId: `client-${n}` };
}

/** All roles, with an operator beside them. */
class Deployment {
  readonly stack: EngineStack;
  readonly runbook: Runbook;
  readonly #t: TestContext;
  engine: EngineProcess;
  consumers: RoleProcess;
  /** What clients were told: client order id → order id. */
  readonly acknowledged = new Map<string, string>();

  private constructor(t: TestContext, stack: EngineStack, roles: [EngineProcess, RoleProcess], runbook: Runbook) {
    this.#t = t;
    this.stack = stack;
    [this.engine, this.consumers] = roles;
    this.runbook = runbook;
  }

  static async start(t: TestContext): Promise<Deployment> {
    const stack = await EngineStack.open(t, { env: ENV });
    const roles = await Promise.all([stack.engine(), startConsumers(t, stack.servers)]);
    const { redisUrl, databaseUrl } = stack.servers;
    const tokens = { token: await tokenOf("demo"), adminToken: await tokenOf("root", "admin") };
    const runbook = new Runbook(t, { redisUrl, databaseUrl, grpc: `http://${stack.ingest.address}`, ...tokens });
    return new Deployment(t, stack, roles, runbook);
  }

  /** One order after the other, each until it is answered. They trade with each other. */
  async submit(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const request = requestOf(this.acknowledged.size);
      const { orderId } = await eventually(
        () => this.stack.client.call(OrderService.method.submitOrder, request).catch(() => undefined),
        "an answer",
      );
      this.acknowledged.set(request.clientOrderId, orderId);
    }
  }

  /** The id that the same order is answered with when it is sent once more; undefined where it is taken for a new one. */
  async again(n: number): Promise<string | undefined> {
    const { duplicate, orderId } = await this.stack.client.call(OrderService.method.submitOrder, requestOf(n));
    return duplicate ? orderId : undefined;
  }

  /** Waits until the engine has stored one. */
  async snapshot(): Promise<void> {
    await eventually(async () => {
      await this.submit(1); // one is taken behind an entry
      return (await this.stack.sql`SELECT FROM engine_snapshots LIMIT 1`).length > 0;
    }, "a snapshot");
  }

  async written(): Promise<void> {
    await this.stack.untilMatched();
    const scene = { redis: this.stack.redis, log: { keys: this.stack.keys } as Scene["log"] };
    await untilFinished(scene);
    await untilFinished(scene, "events");
  }

  async restartConsumers(): Promise<RoleProcess> {
    await this.consumers.kill();
    this.consumers = await startConsumers(this.#t, this.stack.servers);
    return this.consumers;
  }

  async restartEngine(): Promise<EngineProcess> {
    await this.engine.kill();
    this.engine = await this.stack.engine();
    return this.engine;
  }

  /** The client order ids and order ids of the rows. */
  async rows(): Promise<Map<string, string>> {
    const rows = await eventually(
      () =>
        this.stack.sql<{ id: string; order: string }[]>`
        SELECT client_order_id AS id, order_id AS order FROM orders`.catch(() => undefined),
      "Postgres",
    );
    return new Map(rows.map(({ id, order }) => [id, order]));
  }
}

/** Takes the database of the deployment away from it, for as long as it takes to do something with it. */
async function alone(databaseUrl: string, statements: (name: string) => readonly string[]): Promise<void> {
  const url = new URL(databaseUrl);
  const name = url.pathname.slice(1);
  url.pathname = "/postgres";
  const sql = postgres(url.href, { max: 1, fetch_types: false, onnotice: () => {} });
  try {
    await sql.unsafe(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`;
    for (const statement of statements(name)) await sql.unsafe(statement);
    await sql.unsafe(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

test("a bad day", async (t) => {
  const deployment = await Deployment.start(t);
  const { stack, runbook, acknowledged } = deployment;
  const { redis, keys, sql } = stack;

  await t.test("I5, I10: Postgres goes back to a backup, while orders come in; then rows of it are lost", async () => {
    await deployment.submit(60);
    await deployment.written();
    await alone(stack.servers.databaseUrl, (name) => [`CREATE DATABASE ${name}_backup TEMPLATE ${name}`]);
    await deployment.submit(60);
    await deployment.written();
    const coming = deployment.submit(60);
    await alone(stack.servers.databaseUrl, (name) => [
      `ALTER DATABASE ${name} RENAME TO ${name}_gone`,
      `ALTER DATABASE ${name}_backup RENAME TO ${name}`,
    ]);
    const consumers = await deployment.restartConsumers();
    const { run } = await consumers.logged("POSTGRES WENT BACK");
    const { url } = await consumers.logged("health and metrics");
    assert.ok((await metricOf(String(url), "journal_behind")) > 0);
    const from = /^penstock replay --from (\d+-\d+)$/.exec(String(run))?.[1];
    assert.ok(from !== undefined, String(run));
    const [replay] = await runbook.follow("Postgres went back", { FROM: from });
    assert.match(replay!.output, /; \d{2,} had no receipt, \d{2,} rows were missing\n/);
    await coming;
    await deployment.written();
    assert.deepEqual(await deployment.rows(), acknowledged);

    await sql`TRUNCATE executions, trades`;
    await sql`DELETE FROM orders WHERE side = 'SELL'`;
    await sql`DELETE FROM order_states WHERE open`;
    await runbook.follow("Rows were lost");
    assert.deepEqual(await deployment.rows(), acknowledged);
  });

  await t.test(
    "I7, I8: the engine without a snapshot, with damaged ones, and at an entry that it cannot work",
    async () => {
      await deployment.snapshot();
      await deployment.engine.kill();
      await sql`TRUNCATE engine_snapshots CASCADE`;
      const first = await deployment.restartEngine();
      await deployment.submit(20);
      await deployment.written();
      assert.equal((await first.logged("the engine starts"))["snapshot"], undefined);
      await runbook.follow("The engine has no good snapshot");

      await deployment.snapshot();
      await deployment.engine.kill();
      await sql`
      UPDATE engine_snapshot_parts SET data = overlay(data PLACING '\\xffffffff'::bytea FROM octet_length(data) / 2)`;
      const second = await deployment.restartEngine();
      await deployment.submit(10);
      await deployment.written();
      await second.logged("passed over a snapshot that is damaged");
      await sql`TRUNCATE engine_snapshots CASCADE`; // the audit would tell of them

      const log = new TestAppender(stack.servers.redisUrl, sql);
      t.after(() => log.stop());
      await log.append(order("beside"), prepareRules("root", "rules-1", 99)); // rules that only a newer program would know
      await deployment.submit(5);
      const failing = await eventually(async () => (await failingOf(second.http)) || undefined, "the alarm");
      const entry = /cannot work entry (\d+-\d+)/.exec(failing)?.[1];
      assert.ok(entry !== undefined, failing);
      const [tail] = await runbook.follow("The engine stands still at an entry", { ENTRY: entry });
      assert.match(tail!.output, new RegExp(entry));
    },
  );

  await t.test("I2, I3, I5: Redis is emptied under load; then a group is lost, and the events stream", async () => {
    const from = new Date(Date.now() - 1_000).toISOString();
    const before = acknowledged.size;
    const coming = deployment.submit(200);
    await eventually(async () => acknowledged.size > before + 80, "some orders");
    await redis.flushall();
    await coming;
    await deployment.written();
    await runbook.follow("Redis was lost", { FROM: from });

    // What was acknowledged is a row under the id that was told, unless it was in Redis alone.
    const rows = await deployment.rows();
    const lost = [...acknowledged].filter(([id, orderId]) => rows.get(id) !== orderId);
    for (const [id, orderId] of lost) {
      assert.ok(!rows.has(id));
      const { ms, seq } = parseOrderId(orderId)!;
      const journaled = await sql`SELECT FROM journal WHERE stream = 0 AND ms = ${ms} AND seq = ${seq} AND epoch > 0`;
      assert.equal(journaled.length, 0, `${id} was journaled at ${formatEntryId({ ms, seq })}`);
    }
    assert.ok(lost.length < 40, `${lost.length} of ${acknowledged.size} lost`);
    assert.equal(parseOrderId([...acknowledged.values()].at(-1)!)!.epoch, 2);
    for (const n of [0, 49, 120, before + 5]) assert.equal(await deployment.again(n), acknowledged.get(`client-${n}`));

    for (const stream of [keys.orders, keys.events]) await redis.xgroup("DESTROY", stream, PERSIST_GROUP);
    await deployment.consumers.logged("GROUP LOST");
    await deployment.submit(10);
    await deployment.written();
    const [groups] = await runbook.follow("A group was lost");
    assert.match(groups!.output, /persist/);

    await redis.xtrim(keys.events, "MAXLEN", 0);
    await deployment.submit(10);
    await deployment.written();
    await runbook.follow("The events stream was emptied", { FROM: from });
    await deployment.engine.logged("THE EVENTS STREAM HAD LOST ITS END");
  });
});
