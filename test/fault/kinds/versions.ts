import { join } from "node:path";

import { OlderVersion } from "../../support/older-version.ts";
import type { Kind } from "../fault.ts";
import type { Role } from "../role.ts";
import type { FaultStack } from "../stack.ts";

/** A role of an earlier version beside ours, for a while. */

const ROOT = join(import.meta.dirname, "..", "..", "..");
const READY_LIMIT_MS = 30_000;

let unpacked: OlderVersion | undefined;

/** Once for all rounds; it goes with this process. */
function olderRoot(): string {
  if (unpacked === undefined) {
    const older = (unpacked = OlderVersion.unpack());
    process.once("exit", () => older.remove());
  }
  return unpacked.root;
}

const older = (name: string, attacks: readonly string[], of: (stack: FaultStack) => readonly Role[]): Kind => ({
  name: `older-${name}`,
  what: `one ${name} is replaced by one of an earlier version, which works beside the others, and later by ours again`,
  attacks,
  alone: true,
  turns: 2,
  missing: async () => OlderVersion.hindrance(),
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    role.root = olderRoot();
    await role.terminate();
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
  older("ingest", ["I1", "I2", "I3"], ({ ingests }) => ingests),
  older("worker", ["I4", "I5", "I6"], ({ workers }) => workers),
  older("engine", ["I7", "I8"], ({ engines }) => engines),
];
