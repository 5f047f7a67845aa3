import { Redis } from "ioredis";
import { announceReady } from "../../child-server.ts";
import { required } from "../environment.ts";
import { RowWriter } from "../rows.ts";
import type { QueuedOrder } from "../rows.ts";
import { LIST } from "./list.ts";

// Pops up to 50 orders, or what there is a second after the first of them, and writes them by one INSERT. What it has popped
// stands nowhere else until that has committed.

const BATCH = 50;
const LONGEST_MS = 1_000;

const redis = new Redis(required("REDIS_URL"), { maxRetriesPerRequest: 0 });
const rows = new RowWriter(required("DATABASE_URL"));
await redis.ping();
announceReady("ready");

for (;;) {
  const orders: QueuedOrder[] = [];
  let until = Number.POSITIVE_INFINITY;
  while (orders.length < BATCH && performance.now() < until) {
    const seconds = Math.min(LONGEST_MS, Math.max(1, until - performance.now())) / 1000;
    const popped = await redis.blmpop(seconds, 1, LIST, "LEFT", "COUNT", BATCH - orders.length);
    if (popped === null) continue;
    if (orders.length === 0) until = performance.now() + LONGEST_MS;
    orders.push(...popped[1].map((text) => JSON.parse(text) as QueuedOrder));
  }
  await rows.write(orders);
}
