import { newStateFolder, removeStateFolder, startStack } from "./stack.ts";
import type { Stack, StackOptions } from "./stack.ts";

/**
 * The stacks of one bench.
 *
 * Always true: what was started or made here and is not gone yet goes with `close`.
 */
export class Stacks {
  readonly #running = new Set<Stack>();
  readonly #folders = new Set<string>();

  async start(options: StackOptions = {}): Promise<Stack> {
    const stack = await startStack(options);
    this.#running.add(stack);
    return stack;
  }

  async stop(stack: Stack): Promise<void> {
    this.#running.delete(stack);
    await stack.stop();
  }

  /** For a stack whose data are to stay when it stops. */
  async keepFolder(): Promise<string> {
    const folder = await newStateFolder();
    this.#folders.add(folder);
    return folder;
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#running, (stack) => this.stop(stack)));
    await Promise.all(Array.from(this.#folders, removeStateFolder));
    this.#folders.clear();
  }
}
