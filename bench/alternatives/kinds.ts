import type { Promises } from "../measure/table.ts";
import type { AlternativeKind } from "./alternative.ts";
import { QUEUE as BULLMQ_QUEUE } from "./bullmq/queue.ts";
import { QUEUE as PG_BOSS_QUEUE } from "./pg-boss/boss.ts";
import { LIST } from "./redis-list/list.ts";

/** An alternative as it is presented. */
export interface PresentedKind extends AlternativeKind {
  /** Orders a second at which the search for the highest rate begins. */
  readonly guess: { readonly unary: number; readonly batches: number };
  readonly promises: Promises;
}

export const INSERT_PER_ORDER: PresentedKind = {
  name: "one INSERT per order",
  folder: "insert-per-order",
  queue: undefined,
  guess: { unary: 2_500, batches: 4_000 },
  promises: {
    acknowledged: "its row is committed",
    death: "there is no worker",
    refusedRow: "the client is told",
  },
};

/** What people would use instead, simplest first. */
export const ALTERNATIVES: readonly PresentedKind[] = [
  INSERT_PER_ORDER,
  {
    name: "Redis list, batch writer",
    folder: "redis-list",
    guess: { unary: 4_000, batches: 20_000 },
    promises: {
      acknowledged: "its RPUSH is on Redis' disk",
      death: "up to 50 that it had popped are lost",
      refusedRow: "the writer ends, and the 50 popped with it are lost",
    },
    // The writer gathers for a second at most, and then commits.
    queue: { in: "redis", waiting: (redis) => redis.llen(LIST), unknownForMs: 1_500 },
  },
  {
    name: "BullMQ",
    folder: "bullmq",
    guess: { unary: 2_000, batches: 3_000 },
    promises: {
      acknowledged: "its job is on Redis' disk",
      death: "come again when their locks of 30 s have run out",
      refusedRow: "set aside after 10 tries; those that share its INSERT are tried again",
    },
    queue: {
      in: "redis",
      waiting: async (redis) => {
        const key = (name: string): string => `bull:${BULLMQ_QUEUE}:${name}`;
        const [wait, active, delayed] = await Promise.all([
          redis.llen(key("wait")),
          redis.llen(key("active")),
          redis.zcard(key("delayed")),
        ]);
        return wait + active + delayed;
      },
      unknownForMs: 0,
    },
  },
  {
    name: "pg-boss",
    folder: "pg-boss",
    guess: { unary: 1_000, batches: 12_000 },
    promises: {
      acknowledged: "its job is committed in Postgres",
      death: "come again after 30 s (15 minutes by default)",
      refusedRow: "set aside after 11 tries; its batch of up to 500 is tried again, too",
    },
    queue: {
      in: "postgres",
      // As its index job_i14 has it: everything that is neither done nor cancelled.
      waiting: async (sql) => {
        const [row] = await sql<{ waiting: number }[]>`
          SELECT count(*)::int AS waiting FROM pgboss.job
          WHERE name = ${PG_BOSS_QUEUE} AND state IN ('created', 'retry', 'active', 'failed')`;
        return row?.waiting ?? 0;
      },
    },
  },
  {
    name: "graphile-worker",
    folder: "graphile-worker",
    guess: { unary: 1_000, batches: 10_000 },
    promises: {
      acknowledged: "its job is committed in Postgres",
      death: "locked for 4 hours, unless somebody unlocks them",
      refusedRow: "set aside after 25 tries, with all orders of its call",
    },
    queue: {
      in: "postgres",
      waiting: async (sql) => {
        const [row] = await sql<{ waiting: number }[]>`
          SELECT coalesce(sum(json_array_length(payload)), 0)::int AS waiting FROM graphile_worker._private_jobs`;
        return row?.waiting ?? 0;
      },
    },
  },
];
