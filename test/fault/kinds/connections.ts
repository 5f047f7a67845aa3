import { setTimeout as sleep } from "node:timers/promises";

import type { Proxy } from "../../support/proxy.ts";
import type { Direction } from "../../support/wire.ts";
import type { Kind } from "../fault.ts";
import { inTime } from "../points.ts";
import type { Random } from "../random.ts";

/**
 * What happens to the connections between two, whichever they are: a client and an ingest, an ingest and an engine, a role and a
 * server.
 */

const ALL = ["I1", "I2", "I4", "I5", "I8", "I11"];
/** Who waits for an answer of Redis gives it up after 4 s, a worker's transaction after 1.2 s (stack.ts), a client after 2.5 s. */
const SILENT_MS = [1_000, 6_000] as const;

type Maker = (offset: number) => Kind;

/** Every way has its turn, for each kind at another time, and all of its connections are hit. */
const hit =
  (
    name: string,
    what: string,
    strike: (way: Proxy, random: Random) => Promise<void> | void,
    healed?: (way: Proxy) => Promise<void>,
  ): Maker =>
  (offset) => ({
    name,
    what,
    attacks: ALL,
    onLinks: "changes",
    inject: async ({ links }, random, turn) => {
      const [where, way] = [...links][(turn + offset) % links.size]!;
      await strike(way, random);
      return { where, ...(healed && { healed: () => healed(way) }) };
    },
  });

/** For a while, and then all is well again. */
const forAWhile = (
  name: string,
  what: string,
  begin: (way: Proxy, random: Random) => Promise<void> | void,
  [least, most]: readonly [number, number] = SILENT_MS,
): Maker =>
  hit(name, `${what}, for ${least / 1_000} to ${most / 1_000} s`, async (way, random) => {
    await begin(way, random);
    await sleep(random.between(least, most));
    await way.heal();
  });

/** A connection carries so much within a second or so under load; one that is idle is left as it is. */
const CUT_LIMIT_MS = 4_000;

const MAKERS: readonly Maker[] = [
  hit("cut", "all connections between two are closed (FIN)", (way) => way.cut("close")),
  hit("reset", "all connections between two are reset (RST)", (way) => way.cut("reset")),
  hit(
    "cut-in-message",
    "a connection is cut in the middle of a message, behind 1 to 20,000 bytes",
    async (way, random) => {
      const direction = random.pick<Direction>(["up", "down"]);
      // Often within the first message, and sometimes within the thousandth.
      const bytes = Math.ceil(20_000 ** random.next());
      const ending = random.chance(0.5) ? "close" : "reset";
      try {
        await inTime(way.cutAfter(direction, bytes, ending), `a connection that carries ${bytes} bytes`, CUT_LIMIT_MS);
      } finally {
        await way.heal();
      }
    },
  ),
  forAWhile("silent", "nothing passes between two, and neither is told", (way) => way.stall()),
  forAWhile("silent-up", "nothing passes from a client to its server, and neither is told", (way) => way.silence("up")),
  forAWhile("silent-down", "no answer passes between two: what was asked for is done", (way) => way.silence("down")),
  hit(
    "half-open-client",
    "the client's side of all connections between two ends, and the server is not told",
    (way, random) => way.abandon("client", random.chance(0.5) ? "close" : "reset"),
    (way) => way.heal(),
  ),
  hit(
    "half-open-server",
    "the server's side of all connections between two ends, and the client is not told",
    (way, random) => way.abandon("server", random.chance(0.5) ? "close" : "reset"),
    (way) => way.heal(),
  ),
  forAWhile(
    "slow",
    "20 to 200 ms more, and 20 to 200 kB a second, between two",
    (way, random) => {
      way.pace = { latencyMs: random.between(20, 200), bytesPerSecond: random.between(20_000, 200_000) };
    },
    [1_000, 3_000],
  ),
  forAWhile("refused", "connections between two are cut, and refused", (way) => way.refuse(), [500, 3_000]),
  forAWhile("vanished", "nothing passes between two, and connecting takes for ever", (way) => way.vanish()),
];

export const CONNECTIONS: readonly Kind[] = MAKERS.map((make, offset) => make(offset));
