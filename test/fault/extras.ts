import { join } from "node:path";

import { ShiftedClock } from "../support/shifted-clock.ts";
import { SmallDisk } from "../support/small-disk.ts";

type ServerName = "redis" | "postgres";

export interface ExtraOptions {
  /** A server's data lie on a disk of their own, of so many MiB. */
  readonly disks?: Readonly<Partial<Record<ServerName, number>>>;
  /** Redis and each role have a clock of their own. */
  readonly clocks?: boolean;
}

/** What only some stacks have: disks that can be filled, and clocks that can be set. */
export class Extras {
  readonly #options: ExtraOptions;
  readonly #disks = new Map<ServerName, SmallDisk>();
  readonly #clocks = new Map<string, ShiftedClock>();

  constructor(options: ExtraOptions) {
    this.#options = options;
  }

  /** Where a server's data are to lie. */
  placeOf(name: ServerName, home: string): string {
    const mebibytes = this.#options.disks?.[name];
    if (mebibytes === undefined) return join(home, name);
    const disk = SmallDisk.mount(mebibytes);
    this.#disks.set(name, disk);
    return join(disk.folder, name);
  }

  /** A clock for a role, or for `redis`, where each is to have its own. */
  clockFor(name: string): ShiftedClock | undefined {
    if (this.#options.clocks !== true) return undefined;
    const clock = ShiftedClock.make();
    this.#clocks.set(name, clock);
    return clock;
  }

  /** @throws where there is none */
  disk(name: ServerName): SmallDisk {
    const disk = this.#disks.get(name);
    if (disk === undefined) throw new Error(`${name} has no disk of its own`);
    return disk;
  }

  /** @throws where there is none */
  clock(name: string): ShiftedClock {
    const clock = this.#clocks.get(name);
    if (clock === undefined) throw new Error(`${name} has no clock of its own`);
    return clock;
  }

  /** When nobody who uses them is left. */
  remove(): void {
    for (const disk of this.#disks.values()) disk.unmount();
    for (const clock of this.#clocks.values()) clock.remove();
  }
}
