import { setTimeout as sleep } from "node:timers/promises";

import { SmallDisk } from "../../support/small-disk.ts";
import type { Kind } from "../fault.ts";
import { inTime } from "../points.ts";
import type { FaultStack } from "../stack.ts";

/** A disk that is full to its last byte under load, and has room again after a while. */

const missing = async (): Promise<string | undefined> => SmallDisk.hindrance();
const FULL_LIMIT_MS = 10_000;

function isUp({ sql }: FaultStack): Promise<boolean> {
  return sql`SELECT 1`.then(
    () => true,
    () => false,
  );
}

/** Turns to the next segments of WAL until there is none: then every session ends, or all of Postgres. */
async function exhaustWal({ sql, servers }: FaultStack): Promise<void> {
  for (let i = 0; i < 200 && servers.postgres.pid !== undefined; i++) {
    const code = await sql`SELECT pg_logical_emit_message(false, 'fault', repeat('x', 1000)), pg_switch_wal()`.then(
      () => "",
      (error: { code?: string }) => error.code ?? "gone",
    );
    // 53100 is what a statement says where only its own page finds no room.
    if (code !== "" && code !== "53100") return;
    await sleep(10);
  }
}

export const DISKS: readonly Kind[] = [
  {
    name: "redis-disk-full",
    what: "no room on the disk of Redis: with `appendfsync always` it ends itself; room and a new start after 0.5 to 2 s",
    attacks: ["I1", "I2", "I3", "I11"],
    alone: true,
    turns: 2,
    stack: { disks: { redis: 64 } },
    missing,
    inject: async (stack, random) => {
      stack.disk("redis").fill(random.between(0, 4) * 4_096);
      await inTime(stack.servers.redis.exited, "the end of Redis on a full disk", FULL_LIMIT_MS);
      await sleep(random.between(500, 2_000));
      await stack.servers.kill("redis", async () => stack.disk("redis").relieve());
      return { where: "redis" };
    },
  },
  {
    name: "postgres-disk-full",
    what: "no room on the disk of Postgres, not for its WAL either, for 1 to 4 s",
    attacks: ["I4", "I5", "I6", "I11"],
    alone: true,
    turns: 2,
    stack: { disks: { postgres: 240 }, postgresSettings: { min_wal_size: "32MB", max_wal_size: "48MB" } },
    missing,
    inject: async (stack, random) => {
      stack.disk("postgres").fill();
      await exhaustWal(stack);
      await sleep(random.between(1_000, 4_000));
      stack.disk("postgres").relieve();
      // It comes back by itself where it has only ended its sessions; and it may yet end while it tries.
      stack.servers.startUntil("postgres", () => isUp(stack));
      return { where: "postgres" };
    },
  },
];
