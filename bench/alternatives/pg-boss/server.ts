import { serveAlternative } from "../door.ts";
import { QUEUE, startBoss } from "./boss.ts";

// pg-boss: a job an order, acknowledged after the commit of its row in the queue's table; those of a call by one insert().

// As many as the server with an INSERT per order has.
const POOL = 16;
// Of a worker that was killed its jobs come back after this, at the next look (boss.ts). The default is 15 minutes.
const EXPIRE_SECONDS = 30;

const boss = await startBoss({ max: POOL, supervise: false });
await boss.createQueue(QUEUE, {
  partition: true, // a table of its own, which its makers recommend for a large queue
  expireInSeconds: EXPIRE_SECONDS,
  retryLimit: 10,
  retryBackoff: true,
});

serveAlternative((orders) =>
  boss.insert(
    QUEUE,
    orders.map((data) => ({ data })),
  ),
);
