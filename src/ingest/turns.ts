/**
 * Spreads work that becomes due all at once over several turns of the event loop: a flush of the log that was slow answers
 * hundreds of calls at one moment, and whoever asks after the process' health meanwhile would wait for all of them.
 *
 * Always true: at most `perTurn` have their turn between two looks for input; they have it in the order of their coming.
 */
export class Turns {
  readonly #perTurn: number;
  readonly #waiting: (() => void)[] = [];
  #left: number;
  #scheduled = false;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
    this.#left = perTurn;
  }

  /** Resolves when it is the caller's turn; undefined where that is now. */
  next(): Promise<void> | undefined {
    if (!this.#scheduled) this.#schedule();
    if (this.#left > 0) {
      this.#left--;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => {
      const due = this.#waiting.splice(0, this.#perTurn);
      this.#left = this.#perTurn - due.length;
      this.#scheduled = due.length > 0;
      if (this.#scheduled) this.#schedule();
      for (const go of due) go();
    });
  }
}
