import type { EntryOutcome } from "./entry-outcome.ts";
import type { Snapshot } from "./snapshots.ts";

/** An entry that was worked, until its events stand. */
export interface Waiting {
  readonly outcome: EntryOutcome;
  /** When it was worked, as performance.now() tells it. */
  readonly since: number;
  /** Taken behind it. */
  readonly snapshot: Snapshot | undefined;
  /** Told once its events stand, or with an error where that will not be known. */
  readonly readers: ((error?: Error) => void)[];
}

/** Beyond either the log is not read any further. A standby sees half a second of it; 32 MiB are three of the greatest entries. */
const MAX_ENTRIES = 512;
const MAX_BYTES = 32 * 1024 * 1024;

/**
 * What entries came to, on its way from the log's side to that of the events.
 *
 * Invariant: they are consecutive entries in their order, and `bytes` is the sum of their payloads.
 */
export class Outbox {
  readonly #waiting: Waiting[] = [];
  #bytes = 0;
  #isClosed = false;
  #change = Promise.withResolvers<void>();

  get first(): Waiting | undefined {
    return this.#waiting[0];
  }

  get newest(): Waiting | undefined {
    return this.#waiting.at(-1);
  }

  get isFull(): boolean {
    return this.#waiting.length >= MAX_ENTRIES || this.#bytes >= MAX_BYTES;
  }

  /** Nothing more comes: what is there is all. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The first ones: at least one, and then as many as the bounds allow. */
  batch(maxEntries: number, maxBytes: number): EntryOutcome[] {
    const batch: EntryOutcome[] = [];
    let bytes = 0;
    for (const { outcome } of this.#waiting) {
      bytes += outcome.payload.length;
      if (batch.length === maxEntries || (batch.length > 0 && bytes > maxBytes)) break;
      batch.push(outcome);
    }
    return batch;
  }

  push(waiting: Waiting): void {
    this.#waiting.push(waiting);
    this.#bytes += waiting.outcome.payload.length;
    this.#changed();
  }

  shift(): void {
    this.#bytes -= this.#waiting.shift()?.outcome.payload.length ?? 0;
    this.#changed();
  }

  close(): void {
    this.#isClosed = true;
    this.#changed();
  }

  /** Empties it: it will not be known what became of these. */
  clear(): Waiting[] {
    this.#bytes = 0;
    return this.#waiting.splice(0);
  }

  /** Resolves when something was added or taken away, or it was closed. */
  get changed(): Promise<void> {
    return this.#change.promise;
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
