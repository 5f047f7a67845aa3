import type { Logger } from "pino";
import type { NewDeadLetter } from "../store/dead-letters.ts";
import { EVENTS_STREAM } from "../store/entry-record.ts";

/** Whoever reads the first of so many lines knows enough to come; the rest is counted. */
const LINES = 20;
const WINDOW_MS = 10_000;

/**
 * One line at level error for each new dead letter.
 *
 * Always true: at most `LINES` of them, and one that counts the others, in each window of time; every letter is in one of them.
 */
export class LetterAlarm {
  readonly #log: Logger;
  #lines = 0;
  #untold = 0;
  #window: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  readonly tell = (letters: readonly NewDeadLetter[]): void => {
    this.#window ??= setTimeout(() => this.close(), WINDOW_MS).unref();
    for (const { id, stream, ...letter } of letters) {
      if (this.#lines === LINES) {
        this.#untold++;
        continue;
      }
      this.#lines++;
      const name = stream === EVENTS_STREAM ? "events" : "orders";
      const fields = { deadLetter: id, stream: name, ...letter };
      this.#log.error(fields, `DEAD LETTER: not written; see "penstock dead-letters show ${id}"`);
    }
  };

  /** Ends the window: what was not told is counted. */
  close(): void {
    clearTimeout(this.#window);
    this.#window = undefined;
    this.#lines = 0;
    if (this.#untold > 0)
      this.#log.error({ deadLetters: this.#untold }, 'DEAD LETTERS: so many more; see "penstock dead-letters list"');
    this.#untold = 0;
  }
}
