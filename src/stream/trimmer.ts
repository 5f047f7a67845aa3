import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { Periodic } from "../runtime/periodic.ts";
import { Script } from "./script.ts";

export interface TrimmedStream {
  readonly key: string;
  /** The groups that read it: all of them, and no other. */
  readonly groups: readonly string[];
  /** Of the orders stream: the key of the engine, which also needs what is behind its newest snapshot. */
  readonly engine?: string;
  /** Entries younger than this stay, ms. */
  readonly horizonMs: number;
}

/**
 * For how long events stay at most that are in Postgres, ms: they can be made again from the log, and are several times its
 * size. A minute is enough for those who follow them to come back after a restart.
 */
export const EVENTS_HORIZON_MS = 60_000;

export interface TrimmerOptions {
  readonly redis: Redis;
  readonly streams: readonly TrimmedStream[];
  readonly intervalMs: number;
  /** Whether a stream is to be left as it is for now. */
  readonly isHeld?: (key: string) => boolean;
  readonly log: Logger;
  readonly onTrimmed?: (key: string, entries: number) => void;
}

const trimScript = new Script("trim");

/** Entries removed at once: some milliseconds of Redis' time. More are left to the next round. */
const LIMIT = 100_000;

/**
 * Keeps the streams as short as their readers, the engine's snapshot and the replay horizon let them be. It is the only one that trims; any
 * number of processes may run one, because the script decides and removes in one step.
 */
export class Trimmer {
  readonly name = "trimmer";
  readonly #options: TrimmerOptions;
  readonly #rounds: Periodic;
  /** Complaints that were logged already, so that a lasting one is said once. */
  readonly #complained = new Map<string, string>();

  constructor(options: TrimmerOptions) {
    this.#options = options;
    this.#rounds = new Periodic(
      options.intervalMs,
      () => this.trim(),
      (error) => options.log.error({ err: error }, "trimming failed"),
    );
  }

  async start(): Promise<void> {
    this.#rounds.start();
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
  }

  /** One round. Never rejects: a stream that cannot be trimmed now is tried again in the next one. */
  async trim(): Promise<void> {
    const { redis, log, onTrimmed, isHeld } = this.#options;
    for (const { key, groups, engine, horizonMs } of this.#options.streams) {
      if (isHeld?.(key) === true) continue;
      try {
        const keys = engine === undefined ? [key] : [key, engine];
        const [removed] = (await trimScript.run(redis, keys, [horizonMs, LIMIT, Date.now(), ...groups])) as [number];
        if (removed > 0) onTrimmed?.(key, removed);
        this.#complained.delete(key);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (this.#complained.get(key) !== message) log.warn({ err: error, stream: key }, "the stream was not trimmed");
        this.#complained.set(key, message);
      }
    }
  }
}
