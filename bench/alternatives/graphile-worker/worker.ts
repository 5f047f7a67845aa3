import { run } from "graphile-worker";
import { announceReady } from "../../child-server.ts";
import { required } from "../environment.ts";
import { RowWriter } from "../rows.ts";
import type { QueuedOrder } from "../rows.ts";
import { logger, TASK } from "./task.ts";

// It hands out one job at a time, so many run at once and share their INSERTs. Jobs are fetched and completed in batches, with
// the settings under which its makers measure it, apart from the concurrency and the pause.

const CONCURRENCY = 100;
const FETCHED_AT_ONCE = 500;
// Where a fetch found few jobs the next one waits. Without that it asks at every notification: Postgres then took 2.3 ms of CPU an
// order of a call of its own, with it 1.1 ms, and twice as many orders a second were held (on a busy machine).
const PAUSE = { durationMs: 20, threshold: 100 };

const url = required("DATABASE_URL");
const rows = new RowWriter(url);
const runner = await run({
  preset: {
    worker: {
      connectionString: url,
      concurrentJobs: CONCURRENCY,
      localQueue: { size: FETCHED_AT_ONCE, refetchDelay: PAUSE },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  logger,
  noHandleSignals: true,
  taskList: { [TASK]: (orders: unknown) => rows.write(orders as QueuedOrder[]) },
});
announceReady("ready");
await runner.promise;
