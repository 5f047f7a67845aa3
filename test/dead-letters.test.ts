/** Dead letters as an operator has them: by the API and the command line, over an ingest and a worker as processes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type postgres from "postgres";

import { AdminService, DeadLetterKind, DeadLetterState } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { Command } from "./support/command.ts";
import { metricOf } from "./support/engine-stack.ts";
import {
  defineInstrument,
  eventually,
  type Ingest,
  type RoleProcess,
  startConsumers,
  startIngest,
  tokenOf,
} from "./support/pipeline.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

const { method } = AdminService;

/** An ingest, a worker, and a database that refuses orders whose client order id begins with "bad". */
class Scene {
  readonly ingest: Ingest;
  readonly worker: RoleProcess;
  readonly sql: postgres.Sql;
  readonly admin: Caller;
  readonly trader: Caller;
  readonly #t: TestContext;
  readonly #adminToken: string;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(
    t: TestContext,
    { ingest, worker, sql }: { ingest: Ingest; worker: RoleProcess; sql: postgres.Sql },
    tokens: { admin: string; trader: string },
    env: NodeJS.ProcessEnv,
  ) {
    this.#t = t;
    this.ingest = ingest;
    this.worker = worker;
    this.sql = sql;
    this.admin = new Caller(ingest.address, `Bearer ${tokens.admin}`);
    this.trader = new Caller(ingest.address, `Bearer ${tokens.trader}`);
    t.after(() => [this.admin, this.trader].forEach((caller) => caller.close()));
    this.#adminToken = tokens.admin;
    this.#env = env;
  }

  static async open(t: TestContext): Promise<Scene> {
    const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
    const sql = connect(databaseUrl, { max: 2 });
    t.after(() => sql.end({ timeout: 1 }));
    await sql.unsafe("ALTER TABLE orders ADD CONSTRAINT poison CHECK (client_order_id NOT LIKE 'bad%')");
    const servers = { redisUrl: redis.url, databaseUrl };
    const ingest = await startIngest(t, servers);
    await defineInstrument(ingest);
    const worker = await startConsumers(t, { ...servers, env: { PENSTOCK_CONSUMER_NAME: "worker" } });
    const tokens = { admin: await tokenOf("root", "admin"), trader: await tokenOf("demo") };
    const env = { REDIS_URL: redis.url, DATABASE_URL: databaseUrl };
    return new Scene(t, { ingest, worker, sql }, tokens, env);
  }

  async submit(...clientOrderIds: readonly string[]): Promise<string[]> {
    const order = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
    const orders = clientOrderIds.map((clientOrderId) => ({ ...order, clientOrderId }));
    const { results } = await this.trader.call(OrderService.method.submitOrders, { orders });
    return results.map(({ result }) => (result.case === "accepted" ? result.value.orderId : ""));
  }

  /** Waits until so many dead letters are open, as GetPipelineStatus tells. */
  async untilOpen(count: number): Promise<void> {
    await eventually(async () => {
      const { deadLetters } = await this.admin.call(method.getPipelineStatus, {});
      return Number(deadLetters) === count;
    }, `${count} open dead letters`);
  }

  /** `penstock dead-letters …` against this ingest, as admin. */
  async letters(...args: readonly string[]) {
    const command = ["dead-letters", ...args, "--url", this.ingest.address];
    return await new Command(this.#t, command, this.#adminToken).end();
  }

  /** The findings of `penstock audit`. */
  async audit() {
    return await new Command(this.#t, ["audit"], "x", this.#env).end();
  }

  async mend(): Promise<void> {
    await this.sql.unsafe("ALTER TABLE orders DROP CONSTRAINT poison");
  }
}

test("dead letters from the first line of the log to the audit", { timeout: 120_000 }, async (t) => {
  const scene = await Scene.open(t);
  const { admin, sql, ingest, worker } = scene;
  const places = await scene.submit("good-1", "bad-1", "bad-2", "good-2");
  await scene.untilOpen(2);

  await t.test("an operator is told of each, by a line, by metrics and by the status", async () => {
    const [first, second] = await eventually(async () => {
      const lines = worker.lines.filter((line) => line.includes('"msg":"DEAD LETTER: '));
      return lines.length === 2 && lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    }, "a line for each");
    assert.deepEqual([first?.["level"], first?.["stream"], first?.["sqlstate"]], ["error", "orders", "23514"]);
    assert.match(String(second?.["msg"]), /see "penstock dead-letters show \d+"$/);
    const { url } = await worker.logged("health and metrics");
    assert.equal(await metricOf(String(url), "dead_letters_open", 'kind="refused"'), 2);
    assert.equal(await metricOf(String(url), "dead_letters_open"), 2);
    assert.equal(await metricOf(String(url), "dead_letters_total"), 2);
  });

  await t.test("the API lists them page by page, and shows one whole", async () => {
    const page = await admin.call(method.listDeadLetters, { pageSize: 1, state: DeadLetterState.OPEN });
    const next = await admin.call(method.listDeadLetters, { pageSize: 1, pageToken: page.nextPageToken });
    assert.equal(next.nextPageToken, "");
    const [newest, older] = [page.deadLetters[0], next.deadLetters[0]];
    assert.deepEqual([newest?.index, older?.index], [2, 1]);
    assert.deepEqual([older?.kind, older?.state], [DeadLetterKind.REFUSED, DeadLetterState.OPEN]);
    const shown = await admin.call(method.getDeadLetter, { id: older!.id });
    assert.deepEqual(shown.deadLetter, older);
    assert.equal(shown.advice, "");
    const { client_order_id: clientOrderId, quantity, price, order_id: orderId } = shown.fields;
    assert.deepEqual([clientOrderId, quantity, price, orderId], ["bad-1", "0.1", "100.25", places[1]]);
    assert.ok(Buffer.from(shown.raw).includes("bad-1"));
  });

  await t.test("bad requests name their fields; traders have no business here", async () => {
    const fields = async (call: Promise<unknown>) => {
      const { code, fields } = await refusalOf(call);
      return [code, ...fields];
    };
    const bad = { pageSize: 1_001, pageToken: "next", state: 9 as DeadLetterState };
    assert.deepEqual(await fields(admin.call(method.listDeadLetters, bad)), ["INVALID_ARGUMENT", "page_size", "page_token", "state"]); // prettier-ignore
    assert.deepEqual(await fields(admin.call(method.getDeadLetter, {})), ["INVALID_ARGUMENT", "id"]);
    assert.deepEqual(await fields(admin.call(method.redriveDeadLetter, { id: 2n ** 60n })), ["INVALID_ARGUMENT", "id"]);
    assert.deepEqual(await fields(admin.call(method.discardDeadLetter, {})), ["INVALID_ARGUMENT", "id", "reason"]);
    assert.deepEqual(await fields(admin.call(method.redriveDeadLetter, { id: 999n })), ["NOT_FOUND"]);
    assert.deepEqual(await fields(admin.call(method.discardDeadLetter, { id: 999n, reason: "x" })), ["NOT_FOUND"]);
    const { trader } = scene;
    const calls: Promise<unknown>[] = [
      trader.call(method.listDeadLetters, {}),
      trader.call(method.getDeadLetter, {}),
      trader.call(method.redriveDeadLetter, {}),
      trader.call(method.discardDeadLetter, {}),
    ];
    for (const call of calls) assert.deepEqual(await fields(call), ["PERMISSION_DENIED"]);
  });

  await t.test("the command line lists, shows, redrives and discards, and the audit agrees", async () => {
    const listed = await scene.letters("list");
    assert.match(
      listed.stdout,
      /open +refused +orders +0 +1 +\d+-\d+ +2 +23514 +1 +new row .* violates check constraint/,
    );
    const ids = (await scene.letters("--json")).stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { id: string }).id);
    const [newest = "", older = ""] = ids;
    const shown = (await scene.letters("show", older)).stdout;
    assert.match(shown, new RegExp(`client_order_id +bad-1\\n[^]*order_id +${places[1]}`));
    assert.match(shown, new RegExp(`next: penstock dead-letters redrive ${older}\n$`));

    const failed = await scene.letters("redrive", older, "999");
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, new RegExp(`^${older} failed again: .*check constraint "poison"\n$`));
    assert.match(failed.stderr, /^999 NOT_FOUND: there is no dead letter of this id\n$/);

    await scene.mend();
    const redriven = await scene.letters("redrive", older);
    assert.deepEqual([redriven.code, redriven.stdout], [0, `${older} redriven\n`]);
    assert.equal((await scene.letters("redrive", older)).stdout, `${older} redriven as before\n`);
    await scene.untilOpen(1);
    assert.match((await scene.audit()).stdout, /3 rows, 1 dead letters[^]*all is well/);

    assert.equal((await scene.letters("discard", newest)).code, 2, "without a reason");
    const discarded = await scene.letters("discard", newest, "--reason", "the client gave it up");
    assert.deepEqual([discarded.code, discarded.stdout], [0, `${newest} discarded: the client gave it up\n`]);
    await scene.untilOpen(0);
    assert.match((await scene.audit()).stdout, /3 rows, 1 dead letters[^]*all is well/);
    assert.equal((await scene.letters("list")).stdout, "no dead letters\n");
    const settled = (await scene.letters("show", newest)).stdout;
    assert.match(settled, /settled +\S+ by root: the client gave it up/);
    const rows = await sql`SELECT client_order_id FROM orders ORDER BY 1`;
    assert.deepEqual(rows.map((row) => row["client_order_id"] as string), ["bad-1", "good-1", "good-2"]); // prettier-ignore
  });

  await t.test("the audit trail has what was done, and the metrics count it", async () => {
    const { actions } = await admin.call(method.listAdminActions, { pageSize: 3 });
    assert.deepEqual(
      actions.map(({ actor, action, details }) => [actor, action, details["outcome"] ?? details["reason"]]),
      [
        ["root", "DiscardDeadLetter", "the client gave it up"],
        ["root", "RedriveDeadLetter", "redriven"],
        ["root", "RedriveDeadLetter", "failed"],
      ],
    );
    for (const outcome of ["redriven", "failed", "discarded"])
      assert.equal(await metricOf(ingest.http, "dead_letters_settled_total", `outcome="${outcome}"`), 1, outcome);
  });
});
