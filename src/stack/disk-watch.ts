import { statSync } from "node:fs";
import { statfs } from "node:fs/promises";

import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";

const MIB = 1024 * 1024;

// At 50,000 orders/s Redis' file grows by 10 MiB a second and Postgres' WAL by 30: a gigabyte is half a minute, at a hundred
// orders a second it is hours.
const SHORT_BYTES = 1_024 * MIB;
// A new file of WAL takes 16 MiB at once, and the rewriting of Redis' file more: with less than two of them nothing goes on.
const FULL_BYTES = 32 * MIB;

// Half a minute is what a gigabyte lasts at the most: three looks.
const INTERVAL_MS = 10_000;

type Room = "enough" | "short" | "none";

export interface DiskWatchOptions {
  /** Each is looked at, one for each file system. They exist from the start of the watch on. */
  readonly folders: readonly string[];
  /** A line for the person at the terminal. */
  readonly say: (line: string) => void;
  readonly intervalMs?: number;
  /** What the file system of a folder has left. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/**
 * Tells the person at the terminal that a disk runs full, before a server ends by it and when it has: Redis must end itself
 * then, Postgres goes on and refuses, and neither has a terminal of its own.
 *
 * Always true: it says something where the room of a disk has become another one, and only then.
 */
export class DiskWatch implements Service {
  readonly name = "disk watch";
  readonly #options: DiskWatchOptions;
  readonly #looks: Periodic;
  readonly #rooms = new Map<string, Room>();
  #folders: readonly string[] = [];

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    // A disk that cannot be looked at is not ours to judge: the servers say what is wrong with it.
    this.#looks = new Periodic(
      options.intervalMs ?? INTERVAL_MS,
      () => this.#look(),
      () => {},
    );
  }

  async start(): Promise<void> {
    const disks = new Map(this.#options.folders.map((folder) => [statSync(folder).dev, folder]));
    this.#folders = [...disks.values()];
    await this.#look();
    this.#looks.start();
  }

  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  async #look(): Promise<void> {
    const { freeBytes = freeBytesOf, say } = this.#options;
    for (const folder of this.#folders) {
      const free = await freeBytes(folder);
      const room: Room = free < FULL_BYTES ? "none" : free < SHORT_BYTES ? "short" : "enough";
      if (room === (this.#rooms.get(folder) ?? "enough")) continue;
      this.#rooms.set(folder, room);
      say(described(room, folder, Math.floor(free / MIB)));
    }
  }
}

function described(room: Room, folder: string, mebibytes: number): string {
  switch (room) {
    case "none":
      return `THE DISK IS FULL: ${mebibytes} MiB are left for ${folder}; orders are refused until there is room`;
    case "short":
      return `the disk runs full: ${mebibytes} MiB are left for ${folder}; without room orders are refused`;
    case "enough":
      return `there is room again for ${folder}: ${mebibytes} MiB`;
    default: {
      const never: never = room;
      return never;
    }
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
