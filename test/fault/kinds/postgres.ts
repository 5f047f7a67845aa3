import { setTimeout as sleep } from "node:timers/promises";

import { sendSignal } from "../../../src/stack/process-identity.ts";
import { Writer } from "../../../src/store/writer.ts";
import type { Message } from "../../support/wire.ts";
import type { Kind } from "../fault.ts";
import { caught, caughtAtAny, MissedError } from "../points.ts";
import type { FaultStack } from "../stack.ts";

/** What happens within Postgres while it runs. */

const isCopyData = ({ name }: Message): boolean => name === "CopyData";

/** Backends of the roles: of any statement, or of those that match. */
async function backendsOf({ sql }: FaultStack, state: "active" | "idle" | "any", statement = ""): Promise<number[]> {
  const rows = await sql<{ pid: number }[]>`
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> current_setting('application_name')
      AND (${state} = 'any' OR state = ${state}) AND query ~ ${statement}`;
  return rows.map(({ pid }) => pid);
}

async function terminate(stack: FaultStack, pids: readonly number[]): Promise<void> {
  if (pids.length === 0) throw new MissedError("there was no such backend");
  await stack.sql`SELECT pg_terminate_backend(pid) FROM unnest(${`{${pids.join(",")}}`}::int[]) AS pid`;
}

export const POSTGRES: readonly Kind[] = [
  {
    name: "terminate-copy",
    what: "pg_terminate_backend of a worker's backend in the middle of a COPY",
    attacks: ["I4", "I5"],
    onLinks: "traps",
    inject: async (stack, random) => {
      const role = random.pick(stack.workers);
      const held = await caught(stack.link(role.name, "postgres"), isCopyData, "a COPY");
      try {
        await terminate(stack, await backendsOf(stack, "active", "^\\s*COPY"));
      } finally {
        held.release();
      }
      return { where: role.name };
    },
  },
  {
    name: "terminate-snapshot",
    what: "pg_terminate_backend of the engine's backend in the middle of a snapshot",
    attacks: ["I7", "I10"],
    onLinks: "traps",
    inject: async (stack) => {
      const ways = stack.engines.map((role) => ({ role, way: stack.link(role.name, "postgres") }));
      const { role, held } = await caughtAtAny(ways, isCopyData, "a snapshot");
      try {
        await terminate(stack, await backendsOf(stack, "active", "^COPY engine_snapshot_parts"));
      } finally {
        held.release();
      }
      return { where: role.name };
    },
  },
  {
    name: "terminate-idle-backends",
    what: "pg_terminate_backend of every backend that is idle: pools learn it at their next statement",
    attacks: ["I2", "I11"],
    inject: async (stack) => {
      await terminate(stack, await backendsOf(stack, "idle"));
      return { where: "idle backends" };
    },
  },
  {
    name: "terminate-all-backends",
    what: "pg_terminate_backend of every backend of every role",
    attacks: ["I4", "I5", "I6", "I11"],
    inject: async (stack) => {
      await terminate(stack, await backendsOf(stack, "any"));
      return { where: "all roles" };
    },
  },
  {
    name: "kill-backend",
    what: "kill -9 of one backend: Postgres ends all others and recovers from its log",
    attacks: ["I4", "I5", "I6"],
    inject: async (stack, random) => {
      const pids = await backendsOf(stack, "any");
      if (pids.length === 0) throw new MissedError("there was no backend");
      sendSignal(random.pick(pids), "SIGKILL");
      return { where: "a backend" };
    },
  },
  {
    name: "restart-postgres",
    what: "a clean restart of Postgres (fast shutdown) under load",
    attacks: ["I4", "I5"],
    inject: async (stack) => {
      await stack.servers.stop("postgres", 0);
      return { where: "postgres" };
    },
  },
  {
    name: "lock-orders",
    what: "a lock on the table orders for 4.2 to 5 s, longer than a transaction may take (4 s)",
    attacks: ["I4", "I5", "I6"],
    alone: true,
    inject: async (stack, random) => {
      // Not by a pool: its ROLLBACK on a connection that is gone would end this process (store/connection.ts).
      const writer = new Writer(stack.servers.postgres.url, { timeoutMs: 10_000 });
      try {
        await writer.transaction(async (transaction) => {
          await transaction.query("LOCK TABLE orders IN EXCLUSIVE MODE");
          await sleep(random.between(4_200, 5_000));
        });
      } finally {
        await writer.close();
      }
      return { where: "orders" };
    },
  },
];
