import { setTimeout as sleep } from "node:timers/promises";

import { PERSIST_GROUP } from "../../../src/stream/groups.ts";

import type { Kind } from "../fault.ts";
import { MissedError } from "../points.ts";
import type { Role } from "../role.ts";
import type { ServerName } from "../servers.ts";
import type { FaultStack } from "../stack.ts";

/** Processes that stand still, and then go on as if nothing had been. */

/** Beyond the idle time after which entries are taken over (5 s), and the time of a transaction (4 s): stack.ts. */
const LEAST_MS = 5_200;
const MOST_MS = 6_000;

const pauseRole = (name: string, attacks: readonly string[], of: (stack: FaultStack) => readonly Role[]): Kind => ({
  name: `pause-${name}`,
  what: `SIGSTOP of one ${name} for 5.2 to 6 s (past the idle time, 5 s), then SIGCONT`,
  attacks,
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    role.signal("SIGSTOP");
    await sleep(random.between(LEAST_MS, MOST_MS));
    role.signal("SIGCONT");
    return { where: role.name };
  },
});

/** Under load a worker holds entries, or gets some at once where it waits for them: so many looks, each at another moment. */
const LOOKS = 30;
const DELIVERED_MS = 30;
const LOOK_MS = [5, 40] as const;
const HELD = 100;
/** The idle time, the 0.3 s between two claims, and what a busy machine takes. */
const TAKEN_LIMIT_MS = 15_000;

interface HeldEntry {
  readonly key: string;
  readonly id: string;
}

/** What stands under the name of a worker. */
async function heldBy({ redis, partitions }: FaultStack, worker: string): Promise<HeldEntry[]> {
  const held: HeldEntry[] = [];
  for (const key of partitions.flatMap(({ orders, events }) => [orders, events])) {
    const entries = await redis.xpending(key, PERSIST_GROUP, "-", "+", HELD, worker).catch((error: Error) => {
      if (error.message.startsWith("NOGROUP")) return []; // another fault has destroyed it
      throw error;
    });
    held.push(...(entries as [string][]).map(([id]) => ({ key, id })));
  }
  return held;
}

/** A worker that holds entries stands still until others have taken them over; for as long as that takes, 5 s at least. */
const PAUSE_WORKER: Kind = {
  name: "pause-worker",
  what: "SIGSTOP of one worker that holds entries until others have taken them over (past the idle time, 5 s), then SIGCONT",
  attacks: ["I4", "I5", "I6"],
  inject: async (stack, random) => {
    const role = random.pick(stack.workers);
    try {
      let held: readonly HeldEntry[] = [];
      for (let look = 0; held.length === 0; look++) {
        if (look === LOOKS) throw new MissedError(`${role.name} held nothing at ${LOOKS} moments`);
        role.signal("SIGCONT");
        await sleep(random.between(...LOOK_MS));
        role.signal("SIGSTOP");
        await sleep(DELIVERED_MS);
        held = await heldBy(stack, role.name);
      }
      const names = new Set(held.map(({ key, id }) => `${key} ${id}`));
      const deadline = performance.now() + TAKEN_LIMIT_MS;
      while ((await heldBy(stack, role.name)).some(({ key, id }) => names.has(`${key} ${id}`))) {
        if (performance.now() > deadline) throw new Error(`nobody took over what ${role.name} held`);
        await sleep(50);
      }
      await sleep(random.between(0, 500));
    } finally {
      role.signal("SIGCONT");
    }
    return { where: role.name };
  },
};

const pauseServer = (name: ServerName, what: string, attacks: readonly string[], ms: [number, number]): Kind => ({
  name: `pause-${name}`,
  what,
  attacks,
  inject: async (stack, random) => {
    stack.servers.pause(name);
    await sleep(random.between(...ms));
    stack.servers.resume(name);
    return { where: name };
  },
});

export const PAUSES: readonly Kind[] = [
  pauseRole("ingest", ["I1", "I2", "I11"], ({ ingests }) => ingests),
  PAUSE_WORKER,
  pauseRole("engine", ["I7", "I8"], ({ engines }) => engines),
  pauseServer(
    "redis",
    "SIGSTOP of Redis for 1 to 5 s (clients give an answer up after 4 s), then SIGCONT",
    ["I1", "I2", "I11"],
    [1_000, 5_000],
  ),
  pauseServer(
    "postgres",
    "SIGSTOP of every process of Postgres for 1 to 5 s (a transaction may take 4 s), then SIGCONT",
    ["I4", "I5", "I6"],
    [1_000, 5_000],
  ),
];
