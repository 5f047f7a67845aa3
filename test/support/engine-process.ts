import { TestEngine, FileSnapshots } from "./engine.ts";

/**
 * The engine of partition 0 as a process of its own, for tests that kill it. Over Redis and the database whose URLs, and
 * with snapshots in the folder whose path, are its arguments. Says "ready" once it has begun.
 */
const [redisUrl = "", databaseUrl = "", folder = ""] = process.argv.slice(2);
const { engine } = new TestEngine({
  redisUrl,
  databaseUrl,
  snapshots: new FileSnapshots(folder),
  snapshotCommands: 150,
});
await engine.start();
process.stdout.write("ready\n");
// Its parent's end is its own, however that comes.
process.stdin.on("end", () => process.exit(1)).resume();
