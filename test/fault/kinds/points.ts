import { setTimeout as sleep } from "node:timers/promises";

import { orderIdPrefix, parseEntryId } from "../../../src/stream/position.ts";
import type { Message } from "../../support/wire.ts";
import type { Kind } from "../fault.ts";
import { caught, caughtAtAny, inTime, listen } from "../points.ts";
import type { Role } from "../role.ts";
import type { ServerName } from "../servers.ts";
import type { FaultStack } from "../stack.ts";

/**
 * Processes that die at a named point: what passes between two of them is seen on its way and held there, and the process whose it is
 * dies before it goes on. So no process has a hook for it.
 */

const sent =
  (name: string, text = "") =>
  (message: Message): boolean =>
    message.direction === "up" && message.name === name && message.text.startsWith(text);

const answered =
  (name: string, text = "") =>
  (message: Message): boolean =>
    message.direction === "down" && message.name === name && message.text.startsWith(text);

interface Point {
  readonly name: string;
  readonly what: string;
  readonly attacks: readonly string[];
  readonly of: (stack: FaultStack) => readonly Role[];
  readonly to: ServerName;
  readonly picks: (message: Message) => boolean;
}

/** The role dies while what it sent, or is to be told, is on its way. */
const killedAt = ({ name, what, attacks, of, to, picks }: Point): Kind => ({
  name,
  what: `kill -9 of ${what}`,
  attacks,
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    const held = await caught(stack.link(role.name, to), picks, what);
    await role.kill();
    held.drop();
    return { where: role.name };
  },
});

/** The same, and it is the server that dies. */
const serverKilledAt = ({ name, what, attacks, of, to, picks }: Point): Kind => ({
  name,
  what: `kill -9 of ${what}`,
  attacks,
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    const held = await caught(stack.link(role.name, to), picks, what);
    await stack.servers.kill(to);
    held.drop();
    return { where: `${to}, at ${role.name}` };
  },
});

/** The same, and only the connection is lost. */
const cutAt = ({ name, what, attacks, of, to, picks }: Point): Kind => ({
  name,
  what: `the connection is cut ${what}`,
  attacks,
  inject: async (stack, random) => {
    const role = random.pick(of(stack));
    const held = await caught(stack.link(role.name, to), picks, what);
    held.drop();
    return { where: `${role.name}>${to}` };
  },
});

/** A flush that the log has: its answer names generation, epoch and entry, where it is not of duplicates alone. */
const LOGGED = /^OK \d+ \d+ (\d+-\d+)/;
/** What is in an order's id of its partition, epoch and place in the entry: not looked at here. */
const TIME_CHARACTERS = "0193a5b0-0000-7".length;

/** How the ids of all orders of an entry begin. */
function idsOf(entry: string): string {
  return orderIdPrefix(0, { epoch: 0, ...parseEntryId(entry) }).slice(0, TIME_CHARACTERS);
}

const ingests = (stack: FaultStack) => stack.ingests;
const workers = (stack: FaultStack) => stack.workers;
const engines = (stack: FaultStack) => stack.engines;
const waysOf = (stack: FaultStack, roles: readonly Role[], to: ServerName) =>
  roles.map((role) => ({ role, way: stack.link(role.name, to) }));

const KINDS: readonly Kind[] = [
  killedAt({
    name: "ingest-before-append",
    what: "an ingest, its flush sent and not yet at Redis",
    attacks: ["I1", "I2"],
    of: ingests,
    to: "redis",
    picks: sent("script commit"),
  }),
  killedAt({
    name: "ingest-after-append",
    what: "an ingest, its flush in the log (after XADD) and not yet answered",
    attacks: ["I1", "I2"],
    of: ingests,
    to: "redis",
    picks: answered("script commit", "OK"),
  }),
  cutAt({
    name: "append-answer-lost",
    what: "with the answer to a flush that is in the log; ingest sends it again",
    attacks: ["I1", "I2"],
    of: ingests,
    to: "redis",
    picks: answered("script commit", "OK"),
  }),
  serverKilledAt({
    name: "redis-after-append",
    what: "Redis, a flush in the log and its answer on the way",
    attacks: ["I1", "I2", "I3"],
    of: ingests,
    to: "redis",
    picks: answered("script commit", "OK"),
  }),
  {
    name: "ingest-before-answer",
    what: "kill -9 of an ingest, its orders in the log and the answers to its clients on the way",
    attacks: ["I1", "I2"],
    inject: async (stack, random) => {
      const role = random.pick(stack.ingests);
      const way = stack.link("client", role.name);
      const logged = new Set<string>();
      const stop = listen(stack.link(role.name, "redis"), (message) => {
        const entry = answered("script commit")(message) ? LOGGED.exec(message.text)?.[1] : undefined;
        if (entry !== undefined) logged.add(idsOf(entry));
      });
      // Ids stand in the answers as text; what else comes down the way (reports of other orders, say) passes.
      const names = (bytes: Buffer): boolean => [...logged].some((id) => bytes.includes(id));
      let isOver = false;
      try {
        const held = way.hold((bytes) => !isOver && names(bytes));
        await inTime(held, "the answer to an order that is in the log");
      } finally {
        isOver = true;
        stop();
      }
      await role.kill();
      way.cut();
      return { where: role.name };
    },
  },
  killedAt({
    name: "worker-before-read",
    what: "a worker, entries delivered to it (XREADGROUP) and not yet there",
    attacks: ["I4", "I5"],
    of: workers,
    to: "redis",
    picks: (message) => answered("XREADGROUP")(message) && message.text !== "",
  }),
  killedAt({
    name: "worker-in-copy",
    what: "a worker in the middle of a COPY",
    attacks: ["I4", "I5"],
    of: workers,
    to: "postgres",
    picks: sent("CopyData"),
  }),
  killedAt({
    name: "worker-before-commit",
    what: "a worker after its COPY, before its COMMIT",
    attacks: ["I4", "I5"],
    of: workers,
    to: "postgres",
    picks: sent("Query", "COMMIT"),
  }),
  killedAt({
    name: "worker-after-commit",
    what: "a worker after its COMMIT, before it knows of it",
    attacks: ["I4", "I5", "I6"],
    of: workers,
    to: "postgres",
    picks: answered("CommandComplete", "COMMIT"),
  }),
  cutAt({
    name: "commit-answer-lost",
    what: "with the answer to a COMMIT; the worker writes the entries again",
    attacks: ["I5", "I6"],
    of: workers,
    to: "postgres",
    picks: answered("CommandComplete", "COMMIT"),
  }),
  serverKilledAt({
    name: "postgres-before-commit",
    what: "Postgres, all rows copied and the COMMIT on the way",
    attacks: ["I4", "I5"],
    of: workers,
    to: "postgres",
    picks: sent("Query", "COMMIT"),
  }),
  serverKilledAt({
    name: "postgres-after-commit",
    what: "Postgres, a transaction committed and its answer on the way",
    attacks: ["I5", "I6"],
    of: workers,
    to: "postgres",
    picks: answered("CommandComplete", "COMMIT"),
  }),
  killedAt({
    name: "worker-before-ack",
    what: "a worker after its COMMIT, before its XACK",
    attacks: ["I4", "I5", "I6"],
    of: workers,
    to: "redis",
    picks: sent("XACK"),
  }),
  killedAt({
    name: "worker-after-ack",
    what: "a worker after its XACK, before it knows of it",
    attacks: ["I4"],
    of: workers,
    to: "redis",
    picks: answered("XACK"),
  }),
  ...[
    {
      name: "worker-in-trim",
      what: "a worker, a stream trimmed and the answer on the way",
      attacks: ["I10"],
      of: workers,
      to: "redis" as const,
      // It tells how many entries it removed: mostly none.
      picks: (message: Message) => answered("script trim")(message) && /^[1-9]\d* /.test(message.text),
    },
    {
      name: "engine-before-append",
      what: "the engine, events made and not yet at Redis",
      attacks: ["I7", "I8"],
      of: engines,
      to: "redis" as const,
      picks: sent("script append_events"),
    },
    {
      name: "engine-after-append",
      what: "the engine, its events in the stream and the answer on the way",
      attacks: ["I7", "I8"],
      of: engines,
      to: "redis" as const,
      picks: answered("script append_events", "OK"),
    },
    {
      name: "engine-in-snapshot",
      what: "the engine in the middle of a snapshot: its row written, its parts on the way",
      attacks: ["I7", "I10"],
      of: engines,
      to: "postgres" as const,
      picks: sent("CopyData"),
    },
    {
      name: "engine-before-mark",
      what: "the engine, a snapshot stored and Redis not yet told of it (the trimmer goes by that)",
      attacks: ["I7", "I10"],
      of: engines,
      to: "redis" as const,
      // The same connection tells the roll of the process each second (stream/roll.ts).
      picks: (message: Message) => sent("HSET")(message) && /^penstock:\{\d+\}:engine snapshot /.test(message.text),
    },
  ].map(({ name, what, attacks, of, to, picks }): Kind => ({
    name,
    what: `kill -9 of ${what}`,
    attacks,
    // Whichever it comes by at first: one engine stands by, and of the workers one trims what both could.
    inject: async (stack) => {
      const { role, held } = await caughtAtAny(waysOf(stack, of(stack), to), picks, what);
      await role.kill();
      held.drop();
      return { where: role.name };
    },
  })),
  {
    name: "ingest-in-opening",
    what: "kill -9 of Redis, and of an ingest at the moment at which it opens the log again",
    attacks: ["I1", "I3", "I8"],
    inject: async (stack) => {
      const ways = waysOf(stack, stack.ingests, "redis");
      const opening = caughtAtAny(ways, sent("script open"), "the opening of a partition");
      opening.catch(() => {}); // awaited below
      await stack.servers.kill("redis");
      const { role, held } = await opening;
      await role.kill();
      held.drop();
      return { where: `redis, ${role.name}` };
    },
  },
  {
    name: "engine-takeover",
    what: "SIGSTOP of the engine that appends, its events on the way; the standby takes over; then both go on",
    attacks: ["I7", "I8"],
    inject: async (stack, random) => {
      const ways = waysOf(stack, stack.engines, "redis");
      const { role, held } = await caughtAtAny(ways, sent("script append_events"), "an append of events");
      role.signal("SIGSTOP");
      await sleep(random.between(700, 1_200)); // beyond what a standby waits
      held.release(); // what it sent so long ago arrives now
      role.signal("SIGCONT");
      return { where: role.name };
    },
  },
];

export const POINTS: readonly Kind[] = KINDS.map((kind): Kind => ({ ...kind, onLinks: "traps" }));
