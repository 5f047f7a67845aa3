import type { Redis } from "ioredis";
import { claimIn } from "./claim.ts";
import { SCHEMA_VERSION } from "./command.ts";
import { parseInfo } from "./durability.ts";
import { assertReady, type Head, NotOpenError, readHead } from "./head.ts";
import type { JournalEntry } from "./journal.ts";
import type { PartitionKeys } from "./keys.ts";
import { decodeBatch, keyOfLogged } from "./logged-command.ts";
import { formatEntryId } from "./position.ts";
import { Script } from "./script.ts";
import { encodeSeen } from "./seen.ts";
import { WireError } from "./wire.ts";

type KeyedEntry = Omit<JournalEntry, "previous">;

const recallScript = new Script("recall");

/** Idempotency key and seen value of each command of an entry, in turns. */
export function keysOf(entry: KeyedEntry): Buffer[] {
  // A newer Penstock wrote it, and may make its keys in another way: that one has to put them back.
  if (entry.version > SCHEMA_VERSION) {
    throw new Error(
      `entry ${formatEntryId(entry)} has schema version ${entry.version}; this ingest knows ${SCHEMA_VERSION}`,
    );
  }
  const pairs: Buffer[] = [];
  for (const [index, command] of decodable(entry.payload).entries()) {
    const key = command.kind === "undecodable" ? undefined : keyOfLogged(command);
    if (key === undefined || command.kind === "undecodable") continue;
    pairs.push(Buffer.from(key, "latin1"), encodeSeen(command.payloadHash, { ...entry, index }));
  }
  return pairs;
}

/**
 * Puts the keys of an entry back that fills a gap in the log, as it stands in `head`. Resolves with false where one of its ids
 * stands for another command by now, and with undefined where the head has changed; none of its keys is put back then.
 */
export async function recallKeys(
  redis: Redis,
  keys: PartitionKeys,
  entry: KeyedEntry,
  { run, generation }: Pick<Head, "run" | "generation">,
): Promise<boolean | undefined> {
  const pairs = keysOf(entry);
  if (pairs.length === 0) return true;
  const done = await recallScript.run(
    redis,
    [keys.head, keys.seen(generation), keys.seen(generation - 1)],
    [run, generation, ...pairs],
  );
  return done === -1 ? undefined : done === 1;
}

/**
 * The same by a worker that has the entry in hand, of a log that an epoch began without it: while that one is open, or being opened
 * in that epoch or a later one. Throws a NotOpenError where it is neither, as on a server that has been replaced: to be tried again.
 */
export async function recallLate(
  redis: Redis,
  keys: PartitionKeys,
  entry: KeyedEntry,
  epoch: number,
): Promise<boolean> {
  assertReady(redis); // a command would wait for as long as Redis reads its file back
  const head = await readHead(redis, keys);
  const claim = claimIn(head);
  const run = parseInfo(await redis.info("server")).get("run_id");
  const isThis =
    claim === undefined ? head.run === run && head.epoch >= epoch : claim.server === run && claim.epoch >= epoch;
  const done = isThis ? await recallKeys(redis, keys, entry, head) : undefined;
  if (done === undefined) throw new NotOpenError(`the log is not open in epoch ${epoch} or a later one`);
  return done;
}

/** A batch that cannot be taken apart became a dead letter, and has no keys. It must not keep the partition shut. */
function decodable(batch: Buffer): ReturnType<typeof decodeBatch> {
  try {
    return decodeBatch(batch);
  } catch (error) {
    if (error instanceof WireError) return [];
    throw error;
  }
}
