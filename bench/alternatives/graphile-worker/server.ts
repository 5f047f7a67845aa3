import { makeWorkerUtils } from "graphile-worker";
import { serveAlternative } from "../door.ts";
import { required } from "../environment.ts";
import { logger, TASK } from "./task.ts";

// graphile-worker: a job a call, with all its orders, acknowledged after the commit of the job's row. Each addJob notifies the
// worker, and transactions that notify commit one after the other in Postgres.

// As many as the server with an INSERT per order has.
const POOL = 16;

const url = required("DATABASE_URL");
const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: POOL, logger });
await utils.migrate();

serveAlternative((orders) => utils.addJob(TASK, orders));
