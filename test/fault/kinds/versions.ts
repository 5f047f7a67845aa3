import { join } from "node:path";

import { OlderVersion } from "../../support/older-version.ts";
import { until } from "../../support/until.ts";
import type { Message } from "../../support/wire.ts";
import type { Kind } from "../fault.ts";
import { listen } from "../points.ts";
import type { Role } from "../role.ts";
import type { FaultStack } from "../stack.ts";

/** A role of an earlier version beside ours, for a while. */

const ROOT = join(import.meta.dirname, "..", "..", "..");
const READY_LIMIT_MS = 30_000;
/** Once it is ready it works at once: both ingests are called, both workers read, and the only engine left appends. */
const WORK_LIMIT_MS = 15_000;

let unpacked: OlderVersion | undefined;

/** Once for all rounds; it goes with this process. */
function olderRoot(): string {
  if (unpacked === undefined) {
    const older = (unpacked = OlderVersion.unpack());
    process.once("exit", () => older.remove());
  }
  return unpacked.root;
}

/** A script has succeeded, whose source may be another one than ours: by its digest it is none that is known here. */
const isDone =
  (script: string) =>
  ({ direction, name, text }: Message): boolean =>
    direction === "down" && text.startsWith("OK ") && [`script ${script}`, "EVALSHA", "EVAL"].includes(name);

const isAcknowledged = ({ direction, name }: Message): boolean => direction === "up" && name === "XACK";

const older = (
  name: string,
  attacks: readonly string[],
  of: (stack: FaultStack) => readonly Role[],
  works: (message: Message) => boolean,
): Kind => ({
  name: `older-${name}`,
  what: `one ${name} is replaced by one of an earlier version, which works beside the others (an engine: in their place), and later by ours again`,
  attacks,
  alone: true,
  turns: 2,
  missing: async () => OlderVersion.hindrance(),
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    role.root = olderRoot();
    await role.terminate();
    let hasWorked = false;
    const stop = listen(stack.link(role.name, "redis"), (message) => (hasWorked ||= works(message)));
    await role.untilReady(READY_LIMIT_MS);
    // An engine stands by for as long as another one appends; and one that starts again is quicker than one that stands by.
    const others = role.role === "engine" ? stack.engines.filter((other) => other !== role) : [];
    for (const other of others) other.signal("SIGSTOP");
    await until(`the older ${role.name} works`, () => hasWorked, WORK_LIMIT_MS).finally(() => {
      for (const other of others) other.signal("SIGCONT");
      stop();
    });
    return {
      where: role.name,
      healed: async () => {
        role.root = ROOT;
        await role.terminate();
        await role.untilReady(READY_LIMIT_MS);
      },
    };
  },
});

export const VERSIONS: readonly Kind[] = [
  older("ingest", ["I1", "I2", "I3"], ({ ingests }) => ingests, isDone("commit")),
  older("worker", ["I4", "I5", "I6"], ({ workers }) => workers, isAcknowledged),
  older("engine", ["I7", "I8"], ({ engines }) => engines, isDone("append_events")),
];
