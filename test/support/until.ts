import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 20;

/** Waits until the condition holds. @throws with its description where it does not within `limitMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`still not so after ${limitMs} ms: ${what}`);
    await sleep(POLL_MS);
  }
}
