import { setTimeout as sleep } from "node:timers/promises";

import type { Kind } from "../fault.ts";
import type { Role } from "../role.ts";
import type { ServerName } from "../servers.ts";
import type { FaultStack } from "../stack.ts";

/** Processes that die at a random moment, or are asked to end. A supervisor starts them again. */

type RoleName = "ingest" | "worker" | "engine";

const rolesOf = (stack: FaultStack, name: RoleName): readonly Role[] =>
  ({ ingest: stack.ingests, worker: stack.workers, engine: stack.engines })[name];

const killRole = (name: RoleName, attacks: readonly string[]): Kind => ({
  name: `kill-${name}`,
  what: `kill -9 of one ${name}`,
  attacks,
  inject: async (stack, random) => {
    const role = random.pick(rolesOf(stack, name));
    await role.kill();
    return { where: role.name };
  },
});

const killAll = (name: RoleName, attacks: readonly string[]): Kind => ({
  name: `kill-all-${name}s`,
  what: `kill -9 of every ${name} at once`,
  attacks,
  inject: async (stack) => {
    await Promise.all(rolesOf(stack, name).map((role) => role.kill()));
    return { where: `all ${name}s` };
  },
});

const terminate = (name: RoleName, attacks: readonly string[]): Kind => ({
  name: `terminate-${name}`,
  what: `SIGTERM of one ${name} under load: it drains, and must end with 0`,
  attacks,
  alone: true,
  inject: async (stack, random) => {
    const role = random.pick(rolesOf(stack, name));
    const exit = await role.terminate();
    return {
      where: role.name,
      healed: async () => {
        if (exit !== undefined && exit.code !== 0)
          throw new Error(`${role.name} did not drain: it ended with ${exit.signal ?? exit.code}`);
      },
    };
  },
});

const killServer = (name: ServerName, attacks: readonly string[]): Kind => ({
  name: `kill-${name}`,
  what: `kill -9 of ${name}, started again at once`,
  attacks,
  inject: async (stack) => {
    await stack.servers.kill(name);
    return { where: name };
  },
});

const down = (name: ServerName, attacks: readonly string[]): Kind => ({
  name: `${name}-down`,
  what: `${name} stopped for 10 s`,
  attacks,
  alone: true,
  turns: 3,
  inject: async (stack) => {
    await stack.servers.stop(name, 10_000);
    return { where: name };
  },
});

export const KILLS: readonly Kind[] = [
  killRole("ingest", ["I1", "I2", "I11"]),
  killRole("worker", ["I4", "I5", "I6"]),
  killRole("engine", ["I7", "I8"]),
  killAll("ingest", ["I1", "I2", "I11"]),
  killAll("worker", ["I4", "I5", "I6"]),
  killAll("engine", ["I7", "I8"]),
  terminate("ingest", ["I1", "I2", "I11"]),
  terminate("worker", ["I4", "I5"]),
  terminate("engine", ["I7", "I8"]),
  killServer("redis", ["I1", "I3", "I8"]),
  killServer("postgres", ["I4", "I5", "I6"]),
  {
    name: "kill-redis-and-ingest",
    what: "kill -9 of Redis and of every ingest: nobody knows any more what was acknowledged last",
    attacks: ["I1", "I2", "I3"],
    inject: async (stack) => {
      await Promise.all([stack.servers.kill("redis"), ...stack.ingests.map((role) => role.kill())]);
      return { where: "redis, all ingests" };
    },
  },
  {
    name: "kill-everything",
    what: "kill -9 of both servers and of every role within a tenth of a second",
    attacks: ["I1", "I2", "I3", "I4", "I5", "I7", "I8"],
    alone: true,
    inject: async (stack, random) => {
      const kills = random.shuffled([
        ...stack.roles.map((role) => () => role.kill()),
        () => stack.servers.kill("redis"),
        () => stack.servers.kill("postgres"),
      ]);
      await Promise.all(
        kills.map(async (kill) => {
          await sleep(random.between(0, 100));
          await kill();
        }),
      );
      return { where: "everything" };
    },
  },
  down("redis", ["I1", "I11"]),
  down("postgres", ["I4", "I5", "I11"]),
];
