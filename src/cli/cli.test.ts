import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { MiniEngine } from "../../test/support/mini-engine.ts";
import { startIngest, tokenOf } from "../../test/support/pipeline.ts";
import { processEnv } from "../../test/support/process-env.ts";
import { createTestDatabase, startTestRedis } from "../../test/support/servers.ts";

const main = join(import.meta.dirname, "..", "main.ts");
const options = { timeout: 60_000 };

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv) {
  return spawn(process.execPath, [main, ...args], {
    env: { ...processEnv(), PENSTOCK_STATE_DIR: "/nowhere", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs the command line to its end. */
async function penstock(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const child = start(args, env);
  const closed = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = (await closed) as [number | null];
  return { code, stdout, stderr };
}

/** A running ingest, and a state folder that describes it as `penstock up` would. */
async function startStack(t: TestContext) {
  const [redis, database] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const ingest = await startIngest(t, { redisUrl: redis.url, databaseUrl: database.url });
  const stack = {
    grpc: `http://${ingest.address}`,
    http: ingest.http,
    engine: "http://127.0.0.1:1",
    redis: redis.url,
    postgres: database.url,
    token: await tokenOf("demo"),
    adminToken: await tokenOf("root", "admin"),
  };
  const folder = mkdtempSync(join(tmpdir(), "penstock-cli-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "stack.json"), JSON.stringify(stack));
  return { stack, env: { PENSTOCK_STATE_DIR: folder } };
}

const order = ["submit", "--symbol", "ETH-USD", "--side", "buy", "--quantity", "0.1", "--price", "100.25"];

test("a newcomer's way: define, list, submit, look at the log", options, async (t) => {
  const { env } = await startStack(t);
  const define = ["instruments", "define", "ETH-USD", "--tick", "0.01", "--lot", "0.0001"];
  const defined = await penstock([...define, "--types", "limit,market"], env);
  assert.equal(defined.code, 0, defined.stderr);
  assert.match(defined.stdout, /^ETH-USD +0\.01 +0\.0001 +any +any +limit,market +all +1$/m);
  const changed = await penstock([...define, "--max-quantity", "10", "--json"], env);
  assert.equal((JSON.parse(changed.stdout) as { version: number }).version, 2);
  assert.match((await penstock(["instruments"], env)).stdout, /^ETH-USD .* … to 10 /m);

  const first = await penstock([...order, "--client-order-id", "first"], env);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /^[0-9a-f-]{36} +first +PENDING_NEW +\S+Z +no$/m);
  const again = await penstock([...order, "--client-order-id", "first", "--json"], env);
  const answer = JSON.parse(again.stdout) as { orderId: string; duplicate: boolean };
  assert.equal(answer.duplicate, true);

  const many = await penstock([...order, "--client-order-id", "many", "--count", "501", "--json"], env);
  assert.equal(many.code, 0, many.stderr);
  const ids = many.stdout
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { clientOrderId: string }).clientOrderId);
  assert.deepEqual([ids.length, ids[0], ids[500]], [501, "many-1", "many-501"]);

  const tail = await penstock(["tail", "--from", "0"], env);
  const commands = tail.stdout
    .trim()
    .split("\n")
    .flatMap(
      (line) => (JSON.parse(line) as { commands: { id: string; submit?: { clientOrderId: string } }[] }).commands,
    );
  const submits = commands.filter(({ submit }) => submit);
  assert.equal(submits.length, 502);
  assert.deepEqual([submits[0]?.id, submits[0]?.submit?.clientOrderId], [answer.orderId, "first"]);
});

test(
  "an order whose answer waits for the engine: what became of it, and 1 where it was refused",
  options,
  async (t) => {
    const { stack, env } = await startStack(t);
    await penstock(["instruments", "define", "ETH-USD", "--tick", "0.01", "--lot", "0.0001"], env);
    const matched = [...order, "--ack", "matched"];
    const late = await penstock([...matched, "--client-order-id", "late"], env);
    assert.equal(late.code, 0, late.stderr);
    assert.match(late.stdout, /^order_id +client_order_id +status +filled +leaves +average_price +reason +created_at/);
    assert.match(late.stdout, /late +PENDING_NEW +\d{4}-/);
    MiniEngine.start(t, stack.redis);
    const resting = await penstock([...matched, "--client-order-id", "rests"], env);
    assert.match(resting.stdout, /rests +NEW +0 +0\.1 +\d{4}-/);
    const [side, selling] = [matched.indexOf("buy"), [...matched]];
    selling[side] = "sell";
    const sold = JSON.parse((await penstock([...selling, "--json"], env)).stdout) as {
      order: { averagePrice: string };
    };
    assert.equal(sold.order.averagePrice, "100.25");
    const refused = await penstock([...selling, "--post-only", "--count", "2"], env);
    assert.equal(refused.code, 1, refused.stdout);
    assert.equal(refused.stdout.match(/REJECTED +0 +0 +POST_ONLY/g)?.length, 2);
  },
);

test("a refusal names every field at fault, a line each, and ends with 1", options, async (t) => {
  const { env } = await startStack(t);
  await penstock(["instruments", "define", "ETH-USD", "--tick", "0.01", "--lot", "0.0001"], env);
  const bad = ["submit", "--symbol", "ETH-USD", "--side", "buy", "--quantity", "-1", "--price", "0.001"];
  const one = await penstock(bad, env);
  assert.equal(one.code, 1);
  assert.match(one.stderr, /^penstock: INVALID_ARGUMENT: .*\n  quantity: .*\n  price: .*\n$/);
  const batch = await penstock([...bad, "--count", "2", "--client-order-id", "b"], env);
  assert.equal(batch.code, 1);
  assert.match(batch.stderr, /^penstock: b-1: INVALID_ARGUMENT: .*\n  quantity: .*\n  price: .*\npenstock: b-2: /);
  const stranger = await penstock(order, { ...env, PENSTOCK_TOKEN: "nonsense" });
  assert.equal(stranger.code, 1);
  assert.match(stranger.stderr, /^penstock: UNAUTHENTICATED: /);
  const trader = await penstock(["instruments", "define", "X", "--tick", "1", "--lot", "1"], {
    ...env,
    PENSTOCK_TOKEN: await tokenOf("demo"),
  });
  assert.match(trader.stderr, /^penstock: PERMISSION_DENIED: /);
});

test("accounts: made, listed, changed, given keys; and all of it is written down", options, async (t) => {
  const { stack, env } = await startStack(t);
  const json = async <T>(...args: string[]): Promise<T> => {
    const { code, stdout, stderr } = await penstock(["accounts", ...args, "--json"], env);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as T;
  };
  const created = await penstock(["accounts", "create", "desk", "--role", "read-only"], env);
  assert.match(created.stdout, /^account +key +secret\ndesk +([0-9a-f]{12}) +\1\.[\w-]{43}\n$/);
  const changes = [["role", "desk", "trader"], ["rate", "desk", "500"], ["suspend", "desk"]]; // prettier-ignore
  for (const change of changes) assert.equal((await penstock(["accounts", ...change], env)).code, 0);
  assert.match((await penstock(["accounts"], env)).stdout, /^desk +trader +yes +500 +\S+Z$/m);
  assert.match((await penstock(["accounts", "resume", "desk"], env)).stdout, /^desk +trader +no +500 +\S+Z$/m);

  const key = await json<{ keyId: string; secret: string }>("keys", "create", "desk", "--expires", "2035-01-31");
  assert.ok(key.secret.startsWith(`${key.keyId}.`));
  const revoked = await penstock(["accounts", "keys", "revoke", "desk", key.keyId], env);
  assert.match(revoked.stdout, new RegExp(`^${key.keyId} +\\S+Z +2035-01-31T00:00:00.000Z +\\S+Z$`, "m"));
  const keys = (await penstock(["accounts", "keys", "list", "desk"], env)).stdout.trim().split("\n");
  assert.deepEqual([keys.length, /never +no$/.test(keys[1] ?? "")], [3, true]);
  const ended = await penstock(["accounts", "revoke-tokens", "desk"], env);
  assert.equal(ended.stdout, "the tokens of desk have ended\n");

  const actions = (await penstock(["accounts", "actions", "--limit", "2"], env)).stdout;
  assert.match(actions, /root +RevokeTokens +desk +done\n.*root +RevokeKey +desk +done +key_id=[0-9a-f]{12}\n$/);
  const again = await penstock(["accounts", "create", "desk"], env);
  assert.deepEqual([again.code, again.stderr], [1, "penstock: ALREADY_EXISTS: there is an account of this name\n"]);
  const trader = await penstock(["accounts"], { ...env, PENSTOCK_TOKEN: stack.token });
  assert.deepEqual([trader.code, trader.stderr.startsWith("penstock: PERMISSION_DENIED: ")], [1, true]);
});

test("tail --follow shows what comes, and ends with its reader", options, async (t) => {
  const { env } = await startStack(t);
  await penstock(["instruments", "define", "ETH-USD", "--tick", "0.01", "--lot", "0.0001"], env);
  const child = start(["tail", "--follow"], env);
  t.after(() => child.kill("SIGKILL"));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  assert.match(String((await lines.next()).value), /"symbol":"ETH-USD"/);
  await penstock([...order, "--client-order-id", "followed"], env);
  assert.match(String((await lines.next()).value), /"clientOrderId":"followed"/);
  const exited = once(child, "exit");
  child.stdout.destroy();
  await penstock(order, env);
  assert.deepEqual(await exited, [0, null]);
});

test("an entry that cannot be read is shown as its bytes", options, async (t) => {
  const redis = await startTestRedis(t);
  const { Redis } = await import("ioredis");
  const client = new Redis(redis.url);
  t.after(() => client.disconnect());
  await client.xadd("penstock:{2}:orders", "5-0", "d", "\xff", "p", "0-0", "e", "1", "v", "1");
  await client.xadd("penstock:{2}:orders", "6-0", "d", "x", "p", "5-0", "e", "1", "v", "99");
  const { code, stdout } = await penstock(["tail", "--partition", "2"], { REDIS_URL: redis.url });
  assert.equal(code, 0);
  const [undecodable, newer] = stdout.split("\n");
  assert.match(undecodable ?? "", /"id":"5-0","previous":"0-0","version":1,"error":".+","raw":"w78="/);
  assert.match(newer ?? "", /"version":99,"error":"this program reads versions up to 1","raw":"eA=="/);
});

test("migrate says what it did", options, async (t) => {
  const { url } = await createTestDatabase(t);
  const outcome = await penstock(["migrate"], { DATABASE_URL: url });
  assert.deepEqual(outcome, { code: 0, stdout: "the schema is up to date\n", stderr: "" });
});

test("wrong usage and a wrong configuration end with 2 and a line that helps", options, async () => {
  const cases: [string[], NodeJS.ProcessEnv, RegExp][] = [
    [["nonsense"], {}, /unknown command 'nonsense'/],
    [["submit", "--symbol", "X"], {}, /required option '--side <side>' not specified/],
    [[...order, "--side", "sideways"], {}, /Allowed choices are buy, sell/],
    [order, {}, /no stack runs here/],
    [[...order, "--url", "ftp://h:1", "--token", "x"], {}, /not an address such as http:/],
    [[...order, "--expire-time", "soon", "--url", "h:1", "--token", "x"], {}, /not a time such as/],
    [["accounts", "role", "desk", "god"], {}, /Allowed choices are trader, read-only, admin/],
    [["accounts", "rate", "desk", "much"], {}, /A whole number from 0 to 1000000/],
    [
      ["accounts", "keys", "create", "d", "--expires", "soon", "--url", "h:1", "--token", "x"],
      {},
      /not a time such as/,
    ],
    [["dead-letters", "show", "first"], {}, /A whole number from 1 to/],
    [["dead-letters", "redrive"], {}, /missing required argument 'id'/],
    [["tail", "--from", "yesterday"], { REDIS_URL: "redis://127.0.0.1:1" }, /not an entry ID/],
    [["ingest"], { REDIS_URL: "nonsense" }, /REDIS_URL: must be.*\n  DATABASE_URL: is required/],
    [["migrate"], {}, /DATABASE_URL: is required/],
  ];
  for (const [args, env, message] of cases) {
    const { code, stderr, stdout } = await penstock(args, env);
    assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n +at /, "no stack trace");
    assert.equal(stdout, "");
  }
});

test("a server that is not there is one line and a 1; debug shows where it came from", options, async () => {
  const gone = { REDIS_URL: "redis://:hunter2@127.0.0.1:1", DATABASE_URL: "postgres://u:hunter2@127.0.0.1:1/x" };
  for (const args of [
    ["tail"],
    ["dead-letters", "list", "--url", "127.0.0.1:1", "--token", "x"],
    ["migrate"],
    [...order, "--url", "127.0.0.1:1", "--token", "x"],
  ]) {
    const { code, stderr } = await penstock(args, gone);
    assert.equal(code, 1, args.join(" "));
    assert.match(stderr, /^penstock: .*ECONNREFUSED.*\n$/);
    assert.doesNotMatch(stderr, /hunter2/);
  }
  const debug = await penstock(["tail"], { ...gone, PENSTOCK_LOG_LEVEL: "debug" });
  assert.match(debug.stderr, /\n +at /);
});

test("help is an answer", options, async () => {
  const pages = [["--help"], ["help", "submit"], ["submit", "--help"], ["instruments", "define", "--help"], ["feed", "--help"], ["watch", "--help"]]; // prettier-ignore
  for (const args of pages) {
    const { code, stdout } = await penstock(args);
    assert.equal(code, 0);
    assert.match(stdout, /penstock (up|submit --symbol|instruments define|feed orders|watch --from)/);
  }
  assert.match((await penstock(["--help"])).stdout, /Exit codes: 0 done, 1 failed or refused, 2 .*, 3 the audit/);
});
