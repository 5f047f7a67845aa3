import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Head } from "./head.ts";
import type { Fence } from "./journal.ts";
import type { PartitionKeys } from "./keys.ts";
import { formatEntryId, MAX_EPOCH } from "./position.ts";
import { Script } from "./script.ts";

/** Who is opening the log in a new epoch, in the place of the run id in its head: so nothing is appended meanwhile. */
export interface Claim {
  /** "shut <epoch> <run id of the server> <random>" */
  readonly run: string;
  readonly epoch: number;
  readonly server: string;
}

export interface ClaimOptions {
  /** As it must still be. */
  readonly head: Head;
  /** The server's run id. */
  readonly server: string;
  /** The highest epoch of which anything is known. */
  readonly known: number;
  readonly fenced: Pick<Fence, "epoch" | "claim"> | undefined;
}

const shutScript = new Script("shut");

/** The claim that stands in the head, where one does. */
export function claimIn({ run }: Pick<Head, "run">): Claim | undefined {
  const [word, epoch, server] = run.split(" ");
  return word === "shut" && server !== undefined ? { run, epoch: Number(epoch), server } : undefined;
}

/**
 * Shuts the log and claims the epoch that is to begin: one that nobody ever had, or that of the claim which stands there, where
 * the server has run ever since: it would have given way to a run id, had the epoch begun. Undefined where another opener was
 * quicker. Throws where there are no more epochs.
 */
export async function shut(
  redis: Redis,
  keys: PartitionKeys,
  { head, server, known, fenced }: ClaimOptions,
): Promise<Claim | undefined> {
  const present = claimIn(head);
  const fence = fenced?.epoch ?? 0;
  const isFree = (claim: Claim) => claim.epoch > known && (claim.epoch > fence || claim.run === fenced?.claim);
  if (present?.server === server && isFree(present)) return present;
  const epoch = Math.max(known, fence) + 1;
  if (epoch > MAX_EPOCH) throw new Error(`partition ${keys.partition} is out of epochs (${MAX_EPOCH})`);
  const run = `shut ${epoch} ${server} ${randomUUID()}`;
  const done = await shutScript.run(redis, [keys.head], [head.run, formatEntryId(head.last), head.epoch, run]);
  return done === 1 ? { run, epoch, server } : undefined;
}
