import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { HttpServer } from "./http-server.ts";
import type { Check } from "./http-server.ts";
import { createLog } from "./log.ts";
import { createMetrics } from "./metrics.ts";

async function startServer(t: TestContext, checks: Record<string, Check> = {}) {
  const lines: string[] = [];
  const log = createLog("test", "trace", { write: (line) => void lines.push(line) });
  const metrics = createMetrics("test");
  const server = new HttpServer({ bind: "127.0.0.1", port: 0, log, metrics, checks });
  await server.start();
  t.after(() => server.stop());
  return { server, metrics, lines };
}

test("healthz answers, whatever the checks say, and nothing is logged for it", async (t) => {
  const { server, lines } = await startServer(t, { redis: () => Promise.reject(new Error("gone")) });
  const before = lines.length;
  const response = await fetch(`${server.url}/healthz`);
  assert.equal(response.status, 200);
  assert.equal(await response.text(), "ok\n");
  await (await fetch(`${server.url}/readyz`)).text();
  assert.equal(lines.length, before);
});

test("readyz is 200 where all checks pass", async (t) => {
  const { server } = await startServer(t, { redis: async () => undefined, postgres: async () => undefined });
  const response = await fetch(`${server.url}/readyz?verbose`);
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { ready: true, failing: {} });
});

test(
  "readyz is 503 with the names of what fails and of what does not answer in time",
  { timeout: 10_000 },
  async (t) => {
    let aborted = false;
    const { server } = await startServer(t, {
      redis: () => Promise.reject(new Error("connect ECONNREFUSED redis://:hunter2@h:1")),
      postgres: async () => undefined,
      log: (signal) => {
        signal.addEventListener("abort", () => (aborted = true));
        return new Promise(() => undefined);
      },
    });
    const response = await fetch(`${server.url}/readyz`);
    assert.equal(response.status, 503);
    assert.deepEqual(await response.json(), {
      ready: false,
      failing: { redis: "connect ECONNREFUSED redis://:[redacted]@h:1", log: "no answer within 800 ms" },
    });
    assert.ok(aborted);
  },
);

test("a crowd of probes is one run of the checks", async (t) => {
  let runs = 0;
  const finish = Promise.withResolvers<undefined>();
  const { server } = await startServer(t, {
    redis: () => {
      runs++;
      return finish.promise;
    },
  });
  const probes = Promise.all(Array.from({ length: 10 }, () => fetch(`${server.url}/readyz`)));
  await fetch(`${server.url}/healthz`);
  finish.resolve(undefined);
  for (const response of await probes) assert.equal(response.status, 200);
  assert.equal(runs, 1);
  await fetch(`${server.url}/readyz`);
  assert.equal(runs, 2);
});

test("metrics are those of the role and of the process", async (t) => {
  const { server, metrics } = await startServer(t);
  metrics.counter("orders_total", "Orders.", ["outcome"]).inc({ outcome: "accepted" }, 3);
  metrics.gauge("lag_entries", "Lag.", [], (gauge) => gauge.set(7));
  metrics.histogram("commit_seconds", "Commits.").observe(0.003);
  const response = await fetch(`${server.url}/metrics`);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0.0.4/);
  const text = await response.text();
  assert.match(text, /^penstock_orders_total\{outcome="accepted",role="test"\} 3$/m);
  assert.match(text, /^penstock_lag_entries\{role="test"\} 7$/m);
  assert.match(text, /^penstock_commit_seconds_bucket\{le="0.004",role="test"\} 1$/m);
  assert.match(text, /^process_cpu_seconds_total/m);
});

test("other paths are 404, other methods 405", async (t) => {
  const { server } = await startServer(t);
  assert.equal((await fetch(`${server.url}/`)).status, 404);
  assert.equal((await fetch(`${server.url}/healthz/x`, { method: "POST" })).status, 404);
  const post = await fetch(`${server.url}/metrics`, { method: "POST", body: "x" });
  assert.equal(post.status, 405);
  assert.equal(post.headers.get("allow"), "GET, HEAD");
  const head = await fetch(`${server.url}/healthz`, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(await head.text(), "");
});

test("headers beyond the bound are refused", async (t) => {
  const { server } = await startServer(t);
  assert.equal((await fetch(`${server.url}/healthz`, { headers: { "x-long": "x".repeat(9_000) } })).status, 431);
});

test("a stop does not wait for who says nothing", { timeout: 5_000 }, async (t) => {
  const { server } = await startServer(t);
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write("GET /healthz HTTP/1.1\r\n");
  await fetch(`${server.url}/healthz`);
  await server.stop();
  await closed;
});
