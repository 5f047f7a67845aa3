import { setTimeout as sleep } from "node:timers/promises";

import type { Kind } from "../fault.ts";
import type { Role } from "../role.ts";
import type { FaultStack, ServerName } from "../stack.ts";

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

const pauseServer = (name: ServerName, what: string, attacks: readonly string[], ms: [number, number]): Kind => ({
  name: `pause-${name}`,
  what,
  attacks,
  inject: async (stack, random) => {
    stack.signalServer(name, "SIGSTOP");
    await sleep(random.between(...ms));
    stack.signalServer(name, "SIGCONT");
    return { where: name };
  },
});

export const PAUSES: readonly Kind[] = [
  pauseRole("ingest", ["I1", "I2", "I11"], ({ ingests }) => ingests),
  pauseRole("worker", ["I4", "I5", "I6"], ({ workers }) => workers),
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
