import { Buckets } from "../buckets.ts";
import { resourceExhausted } from "../errors.ts";

/**
 * Ten wrong secrets at once, and ten more a minute: a person mistypes less often, and a guess in six seconds finds
 * nothing.
 */
const FILL = { perSecond: 10 / 60, burst: 10 };

/**
 * Slows down who guesses secrets. Wrong ones are counted by the key that they name, and those that name no key of the
 * account by the account: who does not know a key's id cannot use up its tries.
 *
 * Checks that are under way are not counted yet, and no wait is longer than six seconds: so a crowd may fail more often
 * at once (`Secrets` bounds it), and who has the right secret finds the door open for a moment every six seconds,
 * however many guess.
 */
export class Attempts {
  readonly #buckets = new Buckets();

  /** Throws RESOURCE_EXHAUSTED where there were too many wrong ones. */
  allow(of: string): void {
    const wait = this.#buckets.wait(of, 1, FILL, performance.now());
    if (wait > 0) throw resourceExhausted("too many wrong secrets", wait);
  }

  failed(of: string): void {
    const now = performance.now();
    if (this.#buckets.wait(of, 1, FILL, now) === 0) this.#buckets.charge(of, 1, FILL, now);
  }
}
