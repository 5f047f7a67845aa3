import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetrics } from "./metrics.ts";
import { joined, readVitals, spreadOf, vitalsSince } from "./vitals.ts";

test("a spread is what Prometheus makes of the same buckets", () => {
  const buckets = { "1": 10, "2": 30, "4": 40, "+Inf": 40 };
  // histogram_quantile(0.5): the 20th of 40 is half way between 10 and 30; (0.99): the 39.6th lies between 2 and 4.
  const { count, mean, p50, p99 } = spreadOf({ buckets, sum: 60 });
  assert.deepEqual([count, mean, p50], [40, 1.5, 1.5]);
  assert.ok(Math.abs(p99 - 3.92) < 1e-9, String(p99));
  // Beyond the last bound nothing is known but that.
  assert.equal(spreadOf({ buckets: { "1": 0, "+Inf": 5 }, sum: 500 }).p99, 1);
  assert.deepEqual(spreadOf({ buckets: { "1": 0, "+Inf": 0 }, sum: 0 }), { count: 0, mean: 0, p50: 0, p99: 0 });
  assert.deepEqual(spreadOf(joined([])), { count: 0, mean: 0, p50: 0, p99: 0 });
});

test("several processes make one distribution", () => {
  const one = { buckets: { "1": 1, "2": 2, "+Inf": 2 }, sum: 3 };
  const other = { buckets: { "1": 4, "2": 4, "+Inf": 5 }, sum: 9 };
  assert.deepEqual(joined([one, other]), { buckets: { "1": 5, "2": 6, "+Inf": 7 }, sum: 12 });
});

test("what a process counted between two looks, by the names of its metrics", async () => {
  const metrics = createMetrics("test");
  const orders = metrics.counter("orders_total", "-", ["outcome"]);
  const requests = metrics.counter("requests_total", "-", ["method", "code"]);
  const latency = metrics.histogram("request_seconds", "-", ["method"], [0.1, 1]);
  orders.inc({ outcome: "accepted" }, 5);
  latency.observe({ method: "SubmitOrder" }, 0.05);
  const before = await readVitals(metrics.registry);
  assert.deepEqual(before.counters, { accepted: 5 });

  orders.inc({ outcome: "accepted" }, 2);
  orders.inc({ outcome: "refused" }, 3);
  requests.inc({ method: "SubmitOrders", code: "RESOURCE_EXHAUSTED" }, 4);
  // No orders: another method, and a code that counts its orders by itself.
  requests.inc({ method: "GetOrder", code: "UNAVAILABLE" }, 100);
  requests.inc({ method: "SubmitOrder", code: "INVALID_ARGUMENT" }, 100);
  latency.observe({ method: "SubmitOrders" }, 0.5);
  latency.observe({ method: "GetOrder" }, 0.5);
  const since = vitalsSince(await readVitals(metrics.registry), before);
  assert.deepEqual(since?.counters, { accepted: 2, refused: 7 });
  assert.deepEqual(since.distributions.acknowledgement, { buckets: { "0.1": 0, "1": 1, "+Inf": 1 }, sum: 0.5 });
});

test("a process that began anew tells nothing of what lies in between", async () => {
  const metrics = createMetrics("test");
  metrics.counter("orders_total", "-", ["outcome"]).inc({ outcome: "accepted" });
  const fresh = await readVitals(metrics.registry);
  assert.equal(vitalsSince(fresh, { counters: { accepted: 7 }, distributions: {} }), undefined);
});
