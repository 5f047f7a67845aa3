import type { Db, Job } from "pg-boss";
import { announceReady } from "../../child-server.ts";
import { INSERT_ORDERS, insertParameters } from "../rows.ts";
import type { QueuedOrder } from "../rows.ts";
import { QUEUE, startBoss } from "./boss.ts";

// Fetches jobs in batches and writes a batch's rows in the transaction that completes its jobs. It polls: pg-boss could be woken
// by NOTIFY, but transactions that notify commit one after the other in Postgres, each with a flush of its own.

const BATCH = 500;

const boss = await startBoss({ monitorIntervalSeconds: 10, superviseIntervalSeconds: 10 });
await boss.work(
  QUEUE,
  { batchSize: BATCH, transactional: true, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true },
  async (jobs: Job<QueuedOrder>[], transaction: Db) => {
    await transaction.executeSql(INSERT_ORDERS, insertParameters(jobs.map(({ data }) => data)));
  },
);
announceReady("ready");
