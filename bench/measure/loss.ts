import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { send, withFolder } from "./measure.ts";
import type { Load, Target } from "./measure.ts";
import { compareWithRows, countRows } from "./rows.ts";

/** A target whose worker can be killed. */
export interface Contender {
  readonly target: Target;
  /** 0 where nothing waits for a worker or is known to be in one's hands. */
  waiting(): Promise<number>;
  /** SIGKILL to the process that writes rows; resolves when another has been started. False where there is none. */
  killWorker(): Promise<boolean>;
}

/** What became of acknowledged orders whose worker was killed. Counts are of orders. */
export interface Loss {
  readonly target: string;
  readonly kills: number;
  readonly acknowledged: number;
  /** Neither a row nor in the queue when nothing moved any more; at least so many where others are stuck. */
  readonly lost: number;
  /** No row but in the queue still, though a worker was there, when the bench had waited long enough. */
  readonly stuck: number;
  /** Rows beyond the first of a client order id. */
  readonly doubled: number;
  /** From the end of the load to the last row, in seconds. */
  readonly lateSeconds: number;
  /** Of orders that were sent, acknowledged and sent again with the same id: rows an order. */
  readonly rowsOfResent: number;
}

// Enough that some of them find orders in the worker's hands.
const KILLS = 5;
// Longer than any of them needs to take a dead worker's jobs back by itself within minutes: BullMQ's lock and the look for
// stalled jobs are 30 s each, pg-boss' jobs expire after 30 s and are looked for every 10 s.
const QUIET_LIMIT_MS = 90_000;
const POLL_MS = 250;
const RESENT = { rate: 500, seconds: 1, warmupSeconds: 0, batch: 0 };

/** Sends some orders twice, then kills the worker again and again in the course of a load. */
export async function measureLoss(contender: Contender, load: Load): Promise<Loss> {
  const { target } = contender;
  const databaseUrl = target.databaseUrl;
  if (databaseUrl === undefined) throw new Error(`${target.name} writes no rows`);
  return withFolder(async (folder) => {
    const rowsOfResent = await sendTwice(target, databaseUrl, join(folder, "resent.tsv"));
    const file = join(folder, "acknowledged.tsv");
    const sending = send(target, load, file);
    let kills = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      await delay((load.seconds * 1000) / (KILLS + 1));
      if (await contender.killWorker()) kills++;
    }
    const report = await sending;
    const last = Date.now() + QUIET_LIMIT_MS;
    while (Date.now() < last && (await contender.waiting()) > 0) await delay(POLL_MS);
    const waiting = await contender.waiting();
    if (waiting === 0) await target.settled();
    const figures = await compareWithRows(databaseUrl, file);
    const missing = report.acknowledged - figures.written;
    // What waits may have its row already: its worker was killed between the commit and the queue's own book-keeping.
    const lost = Math.max(0, missing - waiting);
    const { surplus } = await countRows(databaseUrl, file);
    return {
      target: target.name,
      kills,
      acknowledged: report.acknowledged,
      lost,
      stuck: missing - lost,
      doubled: surplus,
      lateSeconds: Math.max(0, (figures.lastCommitUs - report.endedUs) / 1e6),
      rowsOfResent,
    };
  });
}

async function sendTwice(target: Target, databaseUrl: string, file: string): Promise<number> {
  const run = randomBytes(4).toString("hex");
  const { acknowledged } = await send(target, RESENT, file, run);
  await send(target, RESENT, `${file}.again`, run);
  await target.settled();
  const { missing, surplus } = await countRows(databaseUrl, file);
  return (acknowledged - missing + surplus) / Math.max(1, acknowledged);
}
