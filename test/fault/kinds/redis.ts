import { readdirSync, statSync, truncateSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { PERSIST_GROUP } from "../../../src/stream/groups.ts";
import { parseInfo } from "../../../src/stream/durability.ts";
import type { Kind } from "../fault.ts";
import { MissedError } from "../points.ts";
import type { FaultStack } from "../stack.ts";

/** What happens within Redis while it runs, and what is missing when it comes back. */

const GROUP_LOST = /GROUP LOST/;
/** A few flushes. */
const LOST_BYTES = 20_000;
/**
 * How long before the fault an order that is in Postgres by no means was acknowledged at most, ms: a worker that waits reads it at
 * once, and its transaction takes 4 s at most (stack.ts), or fails and is tried again; on a busy machine once.
 */
const UNWRITTEN_MS = 5_000;
/** For each key that Redis writes down: a rewrite of its few dozen takes half a second so, and not a moment. */
const REWRITE_PAUSE_US = 20_000;

/** The newest file of the append-only log. */
function newestAof(folder: string): string {
  const files = join(folder, "appendonlydir");
  const names = readdirSync(files).filter((name) => name.endsWith(".incr.aof"));
  const [newest] = names.sort((a, b) => numberOf(b) - numberOf(a));
  if (newest === undefined) throw new Error(`there is no append-only file in ${files}`);
  return join(files, newest);
}

function numberOf(name: string): number {
  return Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1]);
}

async function isRewriting({ redis }: FaultStack): Promise<boolean> {
  return parseInfo(await redis.info("persistence")).get("aof_rewrite_in_progress") === "1";
}

export const REDIS: readonly Kind[] = [
  {
    name: "client-kill",
    what: "CLIENT KILL of every connection to Redis",
    attacks: ["I1", "I2", "I4", "I8"],
    inject: async (stack) => {
      await stack.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      return { where: "all connections" };
    },
  },
  {
    name: "script-flush",
    what: "SCRIPT FLUSH: Redis knows none of the scripts any more",
    attacks: ["I1", "I8"],
    inject: async (stack) => {
      await stack.redis.call("SCRIPT", "FLUSH");
      return { where: "redis" };
    },
  },
  {
    name: "client-pause",
    what: "CLIENT PAUSE WRITE for 1 to 2 s: it reads, and writes nothing",
    attacks: ["I1", "I2", "I11"],
    inject: async (stack, random) => {
      const ms = random.between(1_000, 2_000);
      await stack.redis.call("CLIENT", "PAUSE", ms, "WRITE");
      await sleep(ms);
      return { where: "redis" };
    },
  },
  {
    name: "redis-full",
    what: "maxmemory below what is used, for 1 to 2 s (noeviction): every write is refused",
    attacks: ["I1", "I2", "I8", "I11"],
    inject: async (stack, random) => {
      const info = parseInfo(await stack.redis.info("memory"));
      await stack.redis.config("SET", "maxmemory", Math.floor(Number(info.get("used_memory")) / 2));
      await sleep(random.between(1_000, 2_000));
      await stack.redis.config("SET", "maxmemory", Number(info.get("maxmemory")));
      return { where: "redis" };
    },
  },
  {
    name: "restart-redis",
    what: "a clean restart of Redis (SIGTERM) under load",
    attacks: ["I1", "I3", "I8"],
    inject: async (stack) => {
      await stack.servers.stop("redis", 0);
      return { where: "redis" };
    },
  },
  {
    name: "kill-redis-in-rewrite",
    what: "kill -9 of Redis while it rewrites its file (BGREWRITEAOF)",
    attacks: ["I1", "I3"],
    inject: async (stack, random) => {
      await stack.redis.config("SET", "rdb-key-save-delay", REWRITE_PAUSE_US);
      await stack.redis.bgrewriteaof();
      await sleep(random.between(0, 200));
      if (!(await isRewriting(stack))) {
        await stack.redis.config("SET", "rdb-key-save-delay", 0);
        throw new MissedError("Redis did not rewrite its file");
      }
      await stack.servers.kill("redis"); // with the delay, which was in no file
      return { where: "redis" };
    },
  },
  {
    name: "group-destroyed",
    what: "XGROUP DESTROY of the workers' group of one stream: it is made again at the beginning, and all of it is read again",
    attacks: ["I4", "I5", "I6", "I10"],
    alarms: [GROUP_LOST],
    inject: async (stack, random) => {
      const keys = random.pick(stack.partitions);
      const key = random.pick([keys.orders, keys.events]);
      await stack.redis.xgroup("DESTROY", key, PERSIST_GROUP);
      return { where: key };
    },
  },
  {
    name: "events-lost",
    what: "DEL of a partition's events stream: the engine makes them again, the same",
    attacks: ["I7", "I8", "I4"],
    alarms: [GROUP_LOST],
    inject: async (stack, random) => {
      const { events } = random.pick(stack.partitions);
      await stack.redis.del(events);
      return { where: events };
    },
  },
  {
    name: "head-lost",
    what: "DEL of a partition's head: the log is opened again from the journal, in a new epoch",
    attacks: ["I1", "I2", "I3", "I8"],
    inject: async (stack, random) => {
      const { head } = random.pick(stack.partitions);
      await stack.redis.del(head);
      return { where: head };
    },
  },
  {
    name: "flushall",
    what: "FLUSHALL under load: log, keys and groups are put back from the journal",
    attacks: ["I1", "I2", "I3", "I4", "I8"],
    mayLose: {
      what: "what was acknowledged in the last moments and no worker had written yet: it was deleted by command",
      withinMs: UNWRITTEN_MS,
    },
    alone: true,
    inject: async (stack) => {
      await stack.redis.flushall();
      return { where: "redis" };
    },
  },
  {
    name: "redis-loses-tail",
    what: "kill -9 of Redis, and the last 20 kB of its file are gone when it comes back",
    attacks: ["I1", "I2", "I3", "I8"],
    mayLose: {
      what: "what stood in that tail alone: `always` means on disk, and the disk has lost it",
      withinMs: UNWRITTEN_MS,
    },
    alone: true,
    inject: async (stack) => {
      await stack.servers.kill("redis", async ({ folder }) => {
        const file = newestAof(folder);
        truncateSync(file, Math.max(0, statSync(file).size - LOST_BYTES));
      });
      return { where: "redis" };
    },
  },
  {
    name: "redis-empty",
    what: "kill -9 of Redis, and it comes back with an empty disk",
    attacks: ["I1", "I2", "I3", "I8"],
    mayLose: {
      what: "what was acknowledged in the last moments and no worker had written yet: its disk is gone",
      withinMs: UNWRITTEN_MS,
    },
    alone: true,
    inject: async (stack) => {
      await stack.servers.kill("redis", async ({ folder }) => {
        await rm(join(folder, "appendonlydir"), { recursive: true });
      });
      return { where: "redis" };
    },
  },
];
