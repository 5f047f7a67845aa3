import { type ReadonlySignal, signal } from "@preact/signals";

export interface Notice {
  readonly id: number;
  readonly tone: "good" | "plain" | "bad";
  readonly text: string;
  /** Of an order that it is about. */
  readonly orderId: string | undefined;
}

/** What fits beside the work without hiding it. */
const SHOWN = 4;
/** Long enough for two lines; errors stay until they are closed, or pushed out. */
const SHOWN_MS = 8_000;
/** Screen readers speak about so fast; what comes meanwhile is told together. */
const SPOKEN_MS = 1_000;
/** Beyond that the number alone is told. */
const SPOKEN_TOGETHER = 3;

/**
 * What has happened, told beside the work: shown for a while, and spoken by screen readers.
 *
 * Always true: at most four are shown; each was, or will be, spoken once, or counted among more than three that came together.
 */
export class Notices {
  readonly #shown = signal<readonly Notice[]>([]);
  readonly #spoken = signal("");
  readonly #alert = signal("");
  #unspoken: string[] = [];
  #count = 0;

  get shown(): ReadonlySignal<readonly Notice[]> {
    return this.#shown;
  }

  /** For a live region that waits its turn; errors have one that does not. */
  get spoken(): ReadonlySignal<string> {
    return this.#spoken;
  }

  get alert(): ReadonlySignal<string> {
    return this.#alert;
  }

  say(tone: Notice["tone"], text: string, orderId?: string): void {
    const notice = { id: ++this.#count, tone, text, orderId };
    this.#shown.value = [...this.#shown.peek(), notice].slice(-SHOWN);
    if (tone === "bad") {
      // The same words again are news too.
      this.#alert.value = this.#alert.peek() === text ? `${text} ` : text;
      return;
    }
    setTimeout(() => this.close(notice.id), SHOWN_MS);
    if (this.#unspoken.push(text) === 1) setTimeout(() => this.#speak(), SPOKEN_MS);
  }

  close(id: number): void {
    this.#shown.value = this.#shown.peek().filter((notice) => notice.id !== id);
  }

  #speak(): void {
    const texts = this.#unspoken;
    this.#unspoken = [];
    const told = texts.slice(-SPOKEN_TOGETHER).join(" ");
    const more = texts.length - SPOKEN_TOGETHER;
    this.#spoken.value = more > 0 ? `${more} more. ${told}` : told;
  }
}
