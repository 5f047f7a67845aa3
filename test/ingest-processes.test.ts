/**
 * Several ingest processes on the same ports: each has connections of its own, all append to one log.
 *
 * - I2 an id is recognised whichever process took it first
 * - I11 where one of them is killed, the others go on
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { ApiClient } from "../src/cli/client.ts";
import { OrderType, Side } from "../src/gen/penstock/v1/order_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { connect } from "../src/store/connection.ts";
import { countRows } from "../src/store/test-entries.ts";
import { defineInstrument, eventually, startConsumers, startIngest, tokenOf } from "./support/pipeline.ts";
import type { Ingest } from "./support/pipeline.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

const { submitOrder, submitOrders } = OrderService.method;
const ORDER = { symbol: "BTC-USD", side: Side.BUY, type: OrderType.LIMIT, quantity: "0.1", price: "100.25" };
const PROCESSES = 2;
const METRIC = /^penstock_requests_total\{method="SubmitOrder",code="OK",role="ingest",process="(\d)"\} (\d+)$/gm;

/** The children of a process. */
function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((child) => parentOf(child) === pid);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return undefined; // ended meanwhile
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** What `/metrics` tells, on a connection of its own. */
async function scrape(ingest: Ingest, timeoutMs: number): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  const response = await fetch(`${ingest.http}/metrics`, { headers: { connection: "close" }, signal });
  assert.equal(response.status, 200);
  return response.text();
}

/** That so many processes answered to a scrape, and so many did not. */
function answering(yes: number, no: number): RegExp {
  const line = (answered: string, count: number) =>
    `^penstock_ingest_processes\\{answered="${answered}",role="ingest"\\} ${count}$`;
  return new RegExp(`${line("yes", yes)}\n${line("no", no)}`, "m");
}

/** SubmitOrder calls that each process answered. */
async function answeredBy(ingest: Ingest): Promise<Record<string, number>> {
  const text = await scrape(ingest, 10_000);
  assert.match(text, answering(PROCESSES, 0));
  const counts: Record<string, number> = {};
  for (const [, process, count] of text.matchAll(METRIC)) counts[process!] = Number(count);
  return counts;
}

test("two ingest processes share the ports, the work and the log", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const servers = { redisUrl: redis.url, databaseUrl };
  const ingest = await startIngest(t, { ...servers, env: { PENSTOCK_INGEST_PROCESSES: String(PROCESSES) } });
  await eventually(
    async () => ingest.lines.filter((line) => line.includes('"msg":"gRPC"')).length === PROCESSES,
    "both doors",
  );
  await defineInstrument(ingest);
  const pid = ingest.pid!;
  assert.equal(childrenOf(pid).length, PROCESSES);

  // Two names of one address, so that grpc-js opens two connections.
  const token = await tokenOf("demo");
  const clients = [ingest.address, ingest.address.replace("127.0.0.1", "localhost")].map(
    (url) => new ApiClient({ url, token }),
  );
  t.after(() => clients.forEach((client) => client.close()));
  const [one, two] = clients as [ApiClient, ApiClient];

  await t.test("connections go to them in turn, and /metrics tells of all", async () => {
    for (let i = 0; i < 20; i++) {
      await one.call(submitOrder, { ...ORDER, clientOrderId: `one-${i}` });
      await two.call(submitOrder, { ...ORDER, clientOrderId: `two-${i}` });
    }
    assert.deepEqual(await answeredBy(ingest), { 1: 20, 2: 20 });
  });

  await t.test("an id that one of them took is the other's duplicate, also at the same time", async () => {
    const again = await two.call(submitOrder, { ...ORDER, clientOrderId: "one-0" });
    assert.equal(again.duplicate, true);
    const both = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        clients.map((client) => client.call(submitOrder, { ...ORDER, clientOrderId: `both-${i}` })),
      ).map((pair) => Promise.all(pair)),
    );
    for (const [a, b] of both) {
      assert.equal(a?.orderId, b?.orderId);
      assert.equal([a, b].filter((answer) => answer?.duplicate).length, 1);
    }
  });

  await t.test("one of them hangs: /metrics tells of the other, and of both when it goes on", async () => {
    const [victim] = childrenOf(pid);
    process.kill(victim!, "SIGSTOP");
    try {
      // A connection may go to the one that hangs.
      const text = await eventually(() => scrape(ingest, 4_000).catch(() => undefined), "what is scraped of one");
      assert.match(text, answering(1, 1));
      assert.equal(new Set(text.matchAll(METRIC).map(([, process]) => process)).size, 1);
    } finally {
      process.kill(victim!, "SIGCONT");
    }
    await eventually(
      async () => answering(PROCESSES, 0).test((await scrape(ingest, 4_000).catch(() => undefined)) ?? ""),
      "what is scraped of both",
    );
  });

  await t.test("one of them is killed: the other serves, and it is started again", async () => {
    const [victim] = childrenOf(pid);
    process.kill(victim!, "SIGKILL");
    await eventually(async () => !childrenOf(pid).includes(victim!), "its end");
    for (let i = 0; i < 10; i++) {
      // The client's connection to the dead one is made again, to the other one.
      for (const client of clients) {
        await eventually(
          async () => client.call(submitOrder, { ...ORDER, clientOrderId: `after-${i}` }).catch(() => false as const),
          "an answer",
        );
      }
    }
    await eventually(
      async () => ingest.lines.filter((line) => line.includes('"msg":"gRPC"')).length === PROCESSES + 1,
      "the door of a new process",
    );
    assert.equal(childrenOf(pid).length, PROCESSES);
  });

  await t.test("SIGTERM drains all of them", async () => {
    const children = childrenOf(pid);
    const answer = one.call(submitOrders, { orders: [{ ...ORDER, clientOrderId: "last" }] });
    await answer;
    assert.equal(await ingest.stop(), 0);
    assert.equal(ingest.lines.filter((line) => line.includes('"msg":"stopped"')).length, PROCESSES + 1);
    assert.deepEqual(children.filter(isAlive), []);
  });

  await t.test("every order is a row once", async () => {
    await startConsumers(t, servers);
    const sql = connect(databaseUrl, { max: 1 });
    t.after(() => sql.end());
    const expected = 20 + 20 + 50 + 10 + 1;
    await eventually(async () => (await countRows(sql)).orders === expected, "all rows");
  });
});

test("Ctrl-C reaches all processes at once: a drain; where the first process dies, the others end", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const env = { PENSTOCK_INGEST_PROCESSES: String(PROCESSES) };
  const ingest = await startIngest(t, { redisUrl: redis.url, databaseUrl, env });
  const children = childrenOf(ingest.pid!);
  for (const pid of [...children, ingest.pid!]) process.kill(pid, "SIGINT");
  assert.equal(await ingest.exited, 0);
  assert.deepEqual(children.filter(isAlive), []);

  const other = await startIngest(t, { redisUrl: redis.url, databaseUrl, env });
  const orphans = childrenOf(other.pid!);
  assert.equal(orphans.length, PROCESSES);
  await other.kill();
  await eventually(async () => orphans.filter(isAlive).length === 0, "the end of the others");
});
