/** `penstock replay`, as a process, over real servers: what it writes is what the workers had written, to the last byte. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, rmSync } from "node:fs";
import { PassThrough } from "node:stream";
import { type TestContext, test } from "node:test";

import type postgres from "postgres";

import { StoreSnapshots } from "../src/engine/store-snapshots.ts";
import { replay, type ReplayOptions } from "../src/replay/replay.ts";
import { claimPartitionCount } from "../src/store/settings.ts";
import { openWriter } from "../src/store/test-entries.ts";
import { prepareRules, prepareVoid } from "../src/stream/prepared-command.ts";
import type { Entry } from "../src/stream/entry.ts";
import { type EntryId, formatEntryId, orderIdAt, orderIdPrefix } from "../src/stream/position.ts";
import { eventsOf, startEngine, untilMatched } from "./support/engine.ts";
import { Flow } from "./support/flow.ts";
import { LogScene, order, type TestAppender } from "./support/log.ts";
import { eventually } from "./support/pipeline.ts";
import { Runbook } from "./support/runbook.ts";
import { until } from "./support/until.ts";
import { type Scene, TestWorker, untilFinished } from "./support/worker.ts";

const TABLES = ["journal", "orders", "executions", "trades", "order_states", "instruments", "dead_letters"];

/** What stands in each table: how many rows, and a hash of all of them. */
async function contents(sql: postgres.Sql): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const table of TABLES) {
    const [row] = await sql.unsafe(
      `SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) AS text FROM ${table} t`,
    );
    found[table] = String(row?.["text"]);
  }
  return found;
}

/** A log, an engine and workers of this process, and `penstock` beside them. */
class ReplayScene {
  readonly scene: LogScene;
  readonly appender: TestAppender;
  readonly flow: Flow;
  readonly runbook: Runbook;
  readonly snapshots: StoreSnapshots;
  readonly #t: TestContext;

  private constructor(t: TestContext, scene: LogScene, seed: number) {
    this.#t = t;
    this.scene = scene;
    this.appender = scene.appender();
    this.flow = new Flow(seed);
    this.runbook = new Runbook(t, { redisUrl: scene.server.url, databaseUrl: scene.databaseUrl });
    this.snapshots = new StoreSnapshots(scene.databaseUrl, scene.sql);
    scene.closing(() => this.snapshots.close());
  }

  static async set(t: TestContext, seed: number): Promise<ReplayScene> {
    const scene = new ReplayScene(t, await LogScene.set(t), seed);
    await claimPartitionCount(scene.scene.sql, 1);
    await Flow.define(scene.appender);
    return scene;
  }

  /** Has so many more entries logged, matched and written by the workers of these streams; then all of them are gone. */
  async work(entries: number, streams: readonly ("orders" | "events")[] = ["orders", "events"]): Promise<void> {
    const { scene, snapshots } = this;
    const started = await startEngine(this.#t, scene, { snapshots, snapshotCommands: 60 });
    const { engine } = started;
    const servers = { redisUrl: scene.server.url, databaseUrl: scene.databaseUrl };
    const workers = streams.map((stream) => new TestWorker({ ...servers, stream }));
    for (const worker of workers) scene.closing(() => worker.stop());
    await this.flow.append(this.appender, entries);
    for (const worker of workers) await worker.start();
    await untilMatched(scene);
    await until("nothing is due any more", async () => {
      const read = await engine.read(({ nextDue }) => nextDue).catch(() => undefined);
      return read?.result === Infinity;
    });
    await untilMatched(scene);
    await started.stop();
    for (const stream of streams) await untilFinished(this.group, stream);
    for (const worker of workers) await worker.stop();
  }

  /** Keeps what is written of events now, and puts back what is gone of it. A newer state of an order stays. */
  async keep(): Promise<() => Promise<void>> {
    const { sql } = this.scene;
    const tables = ["journal", "executions", "trades", "order_states"];
    for (const table of tables) await sql.unsafe(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
    return async () => {
      await sql.unsafe(`
        DELETE FROM order_states AS state USING kept_order_states AS kept
        WHERE state.order_id = kept.order_id AND (state.epoch, state.ms, state.seq) < (kept.epoch, kept.ms, kept.seq)`);
      for (const table of tables)
        await sql.unsafe(`INSERT INTO ${table} SELECT * FROM kept_${table} ON CONFLICT DO NOTHING`);
    };
  }

  get group(): Pick<Scene, "redis" | "log"> {
    return { redis: this.scene.redis, log: { keys: this.scene.keys } as Scene["log"] };
  }

  contents(): Promise<Record<string, string>> {
    return contents(this.scene.sql);
  }

  /** In this process, for a process of its own takes longer than what it does. */
  async replay(from: EntryId | "journal", options: Partial<ReplayOptions> = {}): Promise<Replayed> {
    const lines: string[] = [];
    const { server, databaseUrl } = this.scene;
    const findings = await replay({
      ...{
        redisUrl: server.url,
        databaseUrl,
        from,
        to: undefined,
        partition: undefined,
        restart: false,
        withdraw: false,
      },
      ...{ signal: new AbortController().signal, print: (line) => lines.push(line), terminal: SILENT },
      ...options,
    });
    return { findings, output: lines.join("\n") };
  }

  /** A replay of the whole journal, as a process that is killed when it has written the orders. */
  async killedBehindOrders(): Promise<void> {
    const holder = openWriter(this.#t, this.scene.databaseUrl, 60_000);
    await holder.transaction(async (transaction) => {
      // Orders go in, and what the engine made of them waits.
      await transaction.query("LOCK TABLE executions IN ACCESS EXCLUSIVE MODE");
      const child = this.runbook.start(this.#t, "replay", "--from", "journal");
      await eventually(async () => (await this.mark())?.includes('"stage":"orders"'), "the orders to be written");
      child.kill("SIGKILL");
      await once(child, "exit");
    });
  }

  /** Where an interrupted replay stands. */
  async mark(): Promise<string | undefined> {
    const [row] = await this.scene.sql`SELECT value FROM settings WHERE key = 'replay:0'`;
    return row?.["value"] as string | undefined;
  }

  /** As an older backup would have it; an order that changed since is not there at all. */
  async goBack({ ms, seq }: EntryId): Promise<void> {
    const { sql } = this.scene;
    for (const table of ["journal", "executions", "trades", "order_states"])
      await sql.unsafe(`DELETE FROM ${table} WHERE (ms, seq) > (${ms}, ${seq})`);
    await sql`DELETE FROM orders WHERE order_id > ${orderIdAt(orderIdPrefix(0, { epoch: 1, ms, seq }), 0xffff)}`;
  }
}

interface Replayed {
  readonly findings: number;
  readonly output: string;
}

/** No terminal; what it is told goes nowhere. */
const SILENT = Object.assign(new PassThrough().resume(), { isTTY: false }) as unknown as NodeJS.WriteStream;
const BEGIN: EntryId = { ms: 0, seq: 0 };

function assertDone({ findings, output }: Replayed): void {
  assert.equal(findings, 0, output);
  assert.match(output, /\nall that was missing is written$/);
}

const ROWS = "orders, executions, trades, order_states";

test("I5, I6, I7: whatever rows were lost, the journal alone brings them back, the same, and once", async (t) => {
  const replayed = await ReplayScene.set(t, 51);
  const { sql } = replayed.scene;
  await replayed.work(60);
  const before = await replayed.contents();
  await sql.unsafe(`TRUNCATE ${ROWS}, instruments`);
  assertDone(await replayed.replay("journal"));
  assert.deepEqual(await replayed.contents(), before);

  await sql`DELETE FROM executions WHERE seq % 2 = 0 OR index % 3 = 1`;
  await sql`DELETE FROM orders WHERE side = 'BUY'`;
  await sql`DELETE FROM trades WHERE trade % 2 = 0`;
  await sql`DELETE FROM order_states WHERE NOT open`;
  await sql`DELETE FROM journal WHERE stream = 1`;
  assertDone(await replayed.replay("journal"));
  assert.deepEqual(await replayed.contents(), before, "receipts of events are written with their rows");

  await sql.unsafe(`TRUNCATE ${ROWS}, engine_snapshots CASCADE`);
  assertDone(await replayed.replay("journal"));
  assert.deepEqual(await replayed.contents(), before, "from the beginning, with no snapshot");
  const again = await replayed.replay("journal");
  assert.match(again.output, /went through \d+ entries; 0 had no receipt, 0 rows were missing/);
  assert.deepEqual(await replayed.contents(), before);
});

test("I5, I6: a Postgres that went back gets again what Redis has, from an ID or a time; an engine makes the events that Redis has no more", async (t) => {
  const replayed = await ReplayScene.set(t, 52);
  const { redis, keys } = replayed.scene;
  await replayed.work(80);
  const before = await replayed.contents();
  const entries = await replayed.scene.entries();
  const [last, later] = [entries[30]!, entries[60]!];

  await replayed.goBack(last);
  assertDone(await replayed.replay(last));
  assert.deepEqual(await replayed.contents(), before, "all of it was in Redis");

  await redis.xtrim(keys.events, "MINID", later.id);
  await replayed.goBack(last);
  const byTime = await replayed.runbook.run(`penstock replay --from ${new Date(last.ms).toISOString()}`);
  assert.equal(byTime.code, 0, byTime.output);
  assert.deepEqual(await replayed.contents(), before);

  await replayed.goBack(last);
  const part = await replayed.replay(last, { to: entries[40]!, partition: 0 });
  assertDone(part);
  const [row] = await replayed.scene.sql`SELECT max(ms) AS ms FROM journal`;
  assert.equal(Number(row?.["ms"]), entries[40]!.ms);
  assertDone(await replayed.replay(last));
  assert.deepEqual(await replayed.contents(), before);
});

test("a place that holds something else is told, with exit code 3, and stays as it is (I6)", async (t) => {
  const replayed = await ReplayScene.set(t, 53);
  const { sql } = replayed.scene;
  await replayed.work(30);
  const one = (table: string, key: string) => `(SELECT ${key} FROM ${table} ORDER BY ${key} LIMIT 1)`;
  await sql.unsafe(`UPDATE orders SET price = 7 WHERE order_id = ${one("orders", "order_id")}`);
  await sql.unsafe(
    `UPDATE executions SET reason = 'DUE' WHERE (ms, seq, index) = ${one("executions", "ms, seq, index")}`,
  );
  await sql.unsafe(`UPDATE trades SET quantity = 9999 WHERE (ms, seq, trade) = ${one("trades", "ms, seq, trade")}`);
  await sql.unsafe(
    `UPDATE order_states SET triggered = NOT triggered WHERE order_id = ${one("order_states", "order_id")}`,
  );
  const [state] = await sql.unsafe(
    `SELECT order_id AS id FROM order_states WHERE order_id = ${one("order_states", "order_id")}`,
  );
  const damaged = await replayed.contents();
  const { code, output } = await replayed.runbook.run("penstock replay --from 0-0");
  assert.equal(code, 3, output);
  for (const what of ["another row of orders", "another row of executions", "another row of trades"])
    assert.match(output, new RegExp(`^FOUND ${what}: `, "m"));
  assert.match(
    output,
    new RegExp(`^FOUND another state of an order, of the same change: ${String(state?.["id"])}$`, "m"),
  );
  assert.deepEqual(await replayed.contents(), damaged);

  // Another command, and other events, than the journal has a receipt of.
  const [command] = (await replayed.scene.entries()).slice(-1);
  const [event] = (await eventsOf(replayed.scene)).slice(12);
  const spoil = (stream: number, { ms, seq }: EntryId) =>
    sql`UPDATE journal SET hash = sha256('x') WHERE stream = ${stream} AND ms = ${ms} AND seq = ${seq}`;
  await spoil(0, command!);
  await spoil(1, event!);
  const forked = await replayed.contents();
  const fork = await replayed.replay(BEGIN);
  for (const [what, id] of [
    ["entry", command!.id],
    ["events", event!.id],
  ] as const)
    assert.match(
      fork.output,
      new RegExp(`^FOUND another payload in the journal: partition 0, ${what} ${id} of epoch 1$`, "m"),
    );
  const made = await replayed.replay("journal");
  assert.match(
    made.output,
    new RegExp(
      `^FOUND no events can be made from here on: .* DIVERGENCE: the engine makes other events of entry ${event!.id} than`,
      "m",
    ),
  );
  assert.deepEqual(await replayed.contents(), forked);
});

test("killed in the middle it goes on where it was; --restart begins anew", async (t) => {
  const replayed = await ReplayScene.set(t, 54);
  const { sql } = replayed.scene;
  await replayed.work(40);
  const before = await replayed.contents();
  const interrupted = async (): Promise<void> => {
    await sql.unsafe(`TRUNCATE ${ROWS}`);
    await replayed.killedBehindOrders();
  };
  await interrupted();
  await sql`DELETE FROM orders WHERE side = 'BUY'`; // which shows where it begins
  const going = await replayed.replay("journal");
  assertDone(going);
  assert.match(
    going.output,
    /partition 0: goes on where a replay of the same bounds was interrupted: behind orders at \d+-\d+\n/,
  );
  assert.equal(await replayed.mark(), undefined);
  const { orders, ...others } = await replayed.contents();
  assert.notEqual(orders, before["orders"], "what it had behind it is not gone through again");
  assert.deepEqual({ orders: before["orders"], ...others }, before);

  await interrupted();
  await sql`DELETE FROM orders WHERE side = 'BUY'`;
  const anew = await replayed.replay("journal", { restart: true });
  assertDone(anew);
  assert.doesNotMatch(anew.output, /goes on/);
  assert.deepEqual(await replayed.contents(), before);
});

test("what it found before it was killed is told again, and its exit code is 3 (I6)", async (t) => {
  const replayed = await ReplayScene.set(t, 61);
  const { sql } = replayed.scene;
  await replayed.work(20);
  const [other] = await sql`
    UPDATE orders SET price = 7 WHERE order_id = (SELECT order_id FROM orders ORDER BY order_id LIMIT 1)
    RETURNING order_id AS id`;
  await sql`DELETE FROM orders WHERE order_id <> ${String(other?.["id"])}`;
  await replayed.killedBehindOrders();
  await sql`DELETE FROM orders WHERE order_id = ${String(other?.["id"])}`; // nobody could find it any more

  const going = await replayed.runbook.run("penstock replay --from journal");
  assert.equal(going.code, 3, going.output);
  const lines = [
    "partition 0: goes on where a replay of the same bounds was interrupted: behind orders at .*",
    "partition 0: by then it had found 1 .*:",
    `FOUND another row of orders: ${String(other?.["id"])}`,
  ];
  assert.match(going.output, new RegExp(`^${lines.join("\n")}$`, "m"));
  assert.match(going.output, /^1 findings\n {2}another row of orders: 1$/m);
  assertDone(await replayed.replay("journal"));
});

test("I4: what neither Redis nor the journal has is told, from where to where; behind it an engine goes on from a snapshot", async (t) => {
  const replayed = await ReplayScene.set(t, 55);
  const { redis, keys, sql } = replayed.scene;
  await replayed.work(90);
  const before = await replayed.contents();
  const entries = await replayed.scene.entries();
  const snapshots = await sql`SELECT ms, seq FROM engine_snapshots ORDER BY ms, seq`;
  const place = (row: postgres.Row | undefined): EntryId => ({ ms: Number(row?.["ms"]), seq: Number(row?.["seq"]) });
  const indexOf = (id: EntryId) => entries.findIndex((entry) => entry.id === formatEntryId(id));
  // The hole ends before the newest snapshots, and Redis has none of the events.
  const behind = indexOf(place(snapshots.at(-3)));
  const [end, next] = [entries[behind - 12]!, entries[behind - 8]!];
  await redis.xtrim(keys.orders, "MINID", next.id);
  await redis.xtrim(keys.events, "MAXLEN", 0);
  await replayed.goBack(end);
  const { findings, output } = await replayed.replay(end);
  assert.equal(findings, 2, output);
  const text = ({ id, ms }: Entry) => `${id} \\(${new Date(ms).toISOString()}\\)`;
  const last = formatEntryId(next.previous);
  const missing = `partition 0, between ${text(end)} and ${text(next)}; the last of them is ${last}$`;
  assert.match(output, new RegExp(`^FOUND MISSING: neither Redis nor the journal has these entries: ${missing}`, "m"));
  const snapshot = formatEntryId(place(snapshots.at(-3)));
  assert.match(
    output,
    new RegExp(`^FOUND no events can be made: .*: partition 0, entries from ${next.id} to ${snapshot}$`, "m"),
  );
  const [found] = await sql`
    SELECT count(*) FILTER (WHERE stream = 0)::int AS commands, count(*) FILTER (WHERE stream = 1)::int AS events
    FROM journal WHERE (ms, seq) > (${end.ms}::bigint, ${end.seq}::bigint)`;
  assert.deepEqual({ ...found }, { commands: entries.length - indexOf(next), events: entries.length - behind - 1 });
  assert.notDeepEqual(await replayed.contents(), before);
});

test("I6: beside an engine and workers at work it does no harm, however often", async (t) => {
  const replayed = await ReplayScene.set(t, 56);
  await replayed.work(20);
  const working = replayed.work(120);
  const done: Replayed[] = [];
  for (let i = 0; i < 4; i++) done.push(await replayed.replay(i % 2 ? "journal" : BEGIN));
  await working;
  for (const one of done) assertDone(one);
  const audit = await replayed.runbook.run("penstock audit");
  assert.equal(audit.code, 0, audit.output);
  const before = await replayed.contents();
  await replayed.scene.sql.unsafe(`TRUNCATE ${ROWS}`);
  assertDone(await replayed.replay("journal"));
  assert.deepEqual(await replayed.contents(), before);
});

test("events of commands that the log has lost are told, and taken back with --withdraw (I8)", async (t) => {
  const replayed = await ReplayScene.set(t, 57);
  const { server, sql } = replayed.scene;
  await replayed.work(30);
  const copy = `${server.folder}-copy`;
  t.after(() => rmSync(copy, { recursive: true, force: true }));
  await server.stop();
  cpSync(server.folder, copy, { recursive: true });
  await server.start();
  await replayed.work(15, ["events"]); // the workers of the commands are behind
  const putBack = await replayed.keep();
  await server.stop();
  rmSync(server.folder, { recursive: true });
  cpSync(copy, server.folder, { recursive: true });
  await server.start();
  await replayed.work(15);
  const truth = await replayed.contents();
  await putBack(); // a version that knows no fences left them there

  const audit = await replayed.runbook.run("penstock audit");
  assert.equal(audit.code, 3);
  const told = await replayed.replay(BEGIN);
  assert.match(
    told.output,
    /^FOUND events of a command that the log has lost .*: partition 0, events \d+-\d+ of epoch 2$/m,
  );
  assertDone(await replayed.replay(BEGIN, { withdraw: true }));
  const after = await replayed.runbook.run("penstock audit");
  assert.equal(after.code, 0, after.output);
  assert.deepEqual(await replayed.contents(), truth, "as if they had never been");
  await sql.unsafe(`TRUNCATE ${ROWS}`);
  await sql`DELETE FROM journal WHERE stream = 1`;
  assertDone(await replayed.replay(BEGIN));
  assert.deepEqual(await replayed.contents(), truth);
});

test("a command that a worker wrote when the log had gone on without it is told, and taken back with --withdraw (I4)", async (t) => {
  const replayed = await ReplayScene.set(t, 59);
  const { redis, sql } = replayed.scene;
  await replayed.work(20);
  const written = (await replayed.scene.entries()).length;
  await replayed.work(10, []); // which no worker has written, when all is lost
  const inHand = (await replayed.scene.entries()).slice(written);
  await redis.flushall();
  await replayed.work(10);
  const truth = await replayed.contents();
  for (const { epoch, ms, seq, previous, payload } of inHand)
    await sql`
      INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
      VALUES (0, 0, ${epoch}, ${ms}, ${seq}, ${previous.ms}, ${previous.seq}, 1, 1, sha256(${payload}), ${payload})`;
  const told = await replayed.replay(BEGIN);
  const lines = told.output.match(
    /^FOUND a command that the log has lost .*: partition 0, entry \d+-\d+ of epoch 1$/gm,
  );
  assert.equal(lines?.length, inHand.length, told.output);
  const [fed] = await sql`SELECT count(*)::int AS orders FROM orders`;
  assertDone(await replayed.replay(BEGIN, { withdraw: true }));
  const [left] = await sql`SELECT count(*)::int AS orders FROM orders`;
  assert.ok(Number(left?.["orders"]) < Number(fed?.["orders"]));
  const { journal: _journal, dead_letters: _letters, ...rows } = await replayed.contents();
  const { journal: _before, dead_letters: _none, ...wanted } = truth;
  assert.deepEqual(rows, wanted);
  const letters = await sql`SELECT raw FROM dead_letters WHERE kind = 'orphaned' ORDER BY ms, seq`;
  assert.deepEqual(
    letters.map(({ raw }) => raw as Buffer),
    inHand.map(({ payload }) => payload),
  );
  const audit = await replayed.runbook.run("penstock audit");
  assert.equal(audit.code, 0, audit.output);
});

test("a void counts in a replay where it counted then, and one that came too late does not (I7)", async (t) => {
  const replayed = await ReplayScene.set(t, 60);
  const { appender, scene } = replayed;
  await replayed.work(5);
  await appender.append(order("beside"), prepareRules("root", "rules", 99)); // rules that nobody knows
  const [poison] = (await scene.entries()).slice(-1);
  await appender.append(order("voided for nothing"));
  const [healthy] = (await scene.entries()).slice(-1);
  await appender.append(prepareVoid("root", "first", poison!.id, "it makes the engine throw"));
  await replayed.work(5);
  await appender.append(prepareVoid("root", "second", healthy!.id, "too late"));
  await replayed.work(5);
  const before = await replayed.contents();
  await scene.sql.unsafe(`TRUNCATE ${ROWS}`);
  assertDone(await replayed.replay("journal"));
  assert.deepEqual(await replayed.contents(), before);
});

test("wrong arguments are refused", async (t) => {
  const replayed = await ReplayScene.set(t, 58);
  for (const args of ["", "--from 2026-13-45T00:00:00Z", "--from 0-0 --to yesterday", "--from 0-0 --partition 1"])
    assert.equal((await replayed.runbook.run(`penstock replay ${args}`)).code, 2, args);
  await replayed.scene.server.restart(); // and no ingest is there to open the log again
  await assert.rejects(replayed.replay(BEGIN), /the log is not open/);
});
