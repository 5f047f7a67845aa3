import { constants } from "node:os";

import { delay } from "./backoff.ts";
import type { Service } from "./service.ts";

/** The part of a pino logger that is needed here. */
export interface RunLog {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
  fatal(fields: object, message: string): void;
  flush(): void;
}

// Ctrl-C reaches a process that npm started twice: from the terminal, and passed on by npm some milliseconds later. So does a
// SIGTERM to a whole process group, which the first of several processes passes on. Who means it twice is slower.
const ECHO_MS = 300;

/**
 * Runs the services of a process until SIGINT or SIGTERM (or other `signals`): starts them in order, and stops them in the reverse order, so
 * that the stage which takes work in comes last in the list and stops first.
 *
 * Resolves when all have stopped. Rejects where a service could not start (those before it are stopped first), where a
 * stop failed, or where the drain took longer than `drainTimeoutMs` milliseconds. A second signal ends the process at
 * once with 128 + its number; an uncaught error is logged and ends it with 1.
 */
export async function runServices(
  services: readonly Service[],
  log: RunLog,
  { drainTimeoutMs, signals = ["SIGINT", "SIGTERM"] }: { drainTimeoutMs: number; signals?: readonly NodeJS.Signals[] },
): Promise<void> {
  const stopAsked = Promise.withResolvers<undefined>();
  let firstSignal: NodeJS.Signals | undefined;
  let firstSignalAt = 0;

  const onSignal = (signal: NodeJS.Signals): void => {
    if (firstSignal !== undefined) {
      if (signal === firstSignal && performance.now() - firstSignalAt < ECHO_MS) return;
      log.error({ signal }, "second signal: ending without a drain");
      log.flush();
      process.exit(128 + constants.signals[signal]);
    }
    firstSignal = signal;
    firstSignalAt = performance.now();
    log.info({ signal }, "draining");
    stopAsked.resolve(undefined);
  };
  const onUncaught = (error: unknown, origin: string): void => {
    log.fatal({ err: error, origin }, "uncaught error");
    log.flush();
    process.exit(1);
  };

  for (const signal of signals) process.on(signal, onSignal);
  process.on("uncaughtException", onUncaught);
  // Without a handle of its own the process would end by itself while it waits for a signal.
  const keepAlive = setInterval(() => undefined, 2 ** 30);
  const begun: Service[] = [];
  const errors: unknown[] = [];
  try {
    for (const service of services) {
      if (firstSignal !== undefined) break;
      begun.push(service);
      const start = service.start();
      // A start that a stop cuts short may reject long after: by then nobody waits for it.
      start.catch(() => undefined);
      await Promise.race([start, stopAsked.promise]);
    }
    if (firstSignal === undefined) log.info({ services: begun.map(({ name }) => name) }, "started");
    await stopAsked.promise;
  } catch (error) {
    errors.push(error);
  }
  errors.push(...(await stopServices(begun.toReversed(), drainTimeoutMs)));
  for (const signal of signals) process.off(signal, onSignal);
  process.off("uncaughtException", onUncaught);
  clearInterval(keepAlive);

  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors);
  log.info({}, "stopped");
}

/** Stops one after the other, within the time in all. A service that fails to stop does not keep the next from it. */
async function stopServices(services: readonly Service[], timeoutMs: number): Promise<unknown[]> {
  const errors: unknown[] = [];
  const stopped = new AbortController();
  const timeout = delay(timeoutMs, stopped.signal).then(() => "timeout" as const);
  for (const service of services) {
    try {
      const end = await Promise.race([service.stop(), timeout]);
      if (end === "timeout") {
        errors.push(new Error(`${service.name} did not stop within the ${timeoutMs} ms that a drain may take`));
        break;
      }
    } catch (error) {
      errors.push(new Error(`${service.name} did not stop cleanly`, { cause: error }));
    }
  }
  stopped.abort();
  return errors;
}
