import { Queue } from "bullmq";
import { serveAlternative } from "../door.ts";
import type { QueuedOrder } from "../rows.ts";
import { connection, QUEUE } from "./queue.ts";

// BullMQ: a job an order, acknowledged when it is on Redis' disk; the orders of a batch by addBulk.

// A job that was done need not stay; one that failed is tried again for some minutes, as an outage of Postgres may last.
const queue = new Queue<QueuedOrder>(QUEUE, {
  connection: connection(),
  defaultJobOptions: { removeOnComplete: true, attempts: 10, backoff: { type: "exponential", delay: 500 } },
});

serveAlternative((orders) => {
  const [only] = orders;
  if (only !== undefined && orders.length === 1) return queue.add(QUEUE, only);
  return queue.addBulk(orders.map((data) => ({ name: QUEUE, data })));
});
