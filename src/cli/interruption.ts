export interface Interruption {
  /** Aborted by the first Ctrl-C. The second one ends the process as ever. */
  readonly signal: AbortSignal;
  readonly release: () => void;
}

/** Lets a command end in its own way at Ctrl-C. */
export function interruption(): Interruption {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort();
  process.once("SIGINT", interrupt);
  return { signal: controller.signal, release: () => process.off("SIGINT", interrupt) };
}
