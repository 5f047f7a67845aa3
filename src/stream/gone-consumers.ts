import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Periodic } from "../runtime/periodic.ts";
import { Script } from "./script.ts";

export interface GoneConsumersOptions {
  readonly redis: Redis;
  readonly streams: readonly string[];
  readonly group: string;
  /** The name of this process' own consumer, which is heard of by each round. */
  readonly self: string;
  /** A consumer that was not heard of for so long, in ms, is gone. */
  readonly goneMs: number;
  readonly log: Logger;
  readonly onRemoved?: (stream: string, consumers: number) => void;
}

const removeScript = new Script("remove_consumers");

/** Removed at once: a millisecond or so of Redis' time. More are left to the next round. */
const LIMIT = 1_000;
/** A consumer that is gone costs Redis a hundred bytes: there is no hurry. */
const MOST_INTERVAL_MS = 60_000;
/** What a line of the log names. */
const NAMED = 10;

/**
 * Keeps a group from collecting the consumers of workers that never come back under their name. What such a one held others
 * take over first (GroupReader): only one that holds nothing is removed.
 *
 * Any number of processes may run it, since the script looks and removes in one step. Were a live consumer removed all the
 * same, its next read would make it anew.
 */
export class GoneConsumers {
  readonly name = "gone consumers";
  readonly #options: GoneConsumersOptions;
  readonly #rounds: Periodic;

  constructor(options: GoneConsumersOptions) {
    this.#options = options;
    this.#rounds = new Periodic(
      Math.min(MOST_INTERVAL_MS, options.goneMs / 2),
      () => this.remove(),
      (error) => options.log.warn({ err: error }, "consumers that are gone could not be removed"),
    );
  }

  async start(): Promise<void> {
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  /** One round. */
  async remove(): Promise<void> {
    const { redis, streams, group, goneMs, self, log, onRemoved } = this.#options;
    for (const stream of streams) {
      const reply = (await removeScript.run(redis, [stream], [group, goneMs, LIMIT, self])) as Buffer[];
      if (reply.length === 0) continue;
      onRemoved?.(stream, reply.length);
      const consumers = reply.slice(0, NAMED).map(String);
      log.info({ stream, group, removed: reply.length, consumers }, "removed consumers that are gone and held nothing");
    }
  }
}
