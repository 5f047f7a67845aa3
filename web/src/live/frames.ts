import { signal } from "@preact/signals";

/** Where nothing is drawn (in tests) the next task is a frame. */
const nextFrame: (draw: () => void) => void =
  typeof requestAnimationFrame === "function" ? requestAnimationFrame : (draw) => setTimeout(draw);

/**
 * What changes more often than it can be seen. Who draws reads `drawn` and is called again at most once a frame, however often
 * `touch` was called.
 */
export class Frames {
  readonly #count = signal(0);
  #waiting = false;

  /** The number of the frame; reading it is what binds a component to it. */
  get drawn(): number {
    return this.#count.value;
  }

  touch(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    nextFrame(() => {
      this.#waiting = false;
      this.#count.value++;
    });
  }
}
