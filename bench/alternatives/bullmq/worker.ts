import { Worker } from "bullmq";
import { announceReady } from "../../child-server.ts";
import { required } from "../environment.ts";
import { RowWriter } from "../rows.ts";
import type { QueuedOrder } from "../rows.ts";
import { connection, QUEUE } from "./queue.ts";

// The open-source BullMQ hands a worker one job at a time (batches are in its paid version), so many run at once and share
// their INSERTs. Locks and the search for stalled jobs are as by default: 30 s each.

const CONCURRENCY = 200;

const rows = new RowWriter(required("DATABASE_URL"));
const worker = new Worker<QueuedOrder>(QUEUE, ({ data }) => rows.write([data]), {
  connection: connection(),
  concurrency: CONCURRENCY,
});
worker.on("error", (error) => console.error(`bullmq: ${error.message}`));
await worker.waitUntilReady();
announceReady("ready");
