import type { Held } from "../support/proxied-connection.ts";
import type { Proxy } from "../support/proxy.ts";
import type { Message } from "../support/wire.ts";

/** Under load each of the points is passed many times a second; a snapshot once a second or so. */
const LIMIT_MS = 6_000;

/** What was waited for did not come by: the fault was not injected, which is no fault of the system's. */
export class MissedError extends Error {
  override readonly name = "MissedError";
}

/** Holds the next message that is picked on its way. @throws MissedError where none comes by in time. */
export async function caught(way: Proxy, picks: (message: Message) => boolean, what: string): Promise<Held> {
  const { held } = await caughtAtAny([{ way }], picks, what);
  return held;
}

/** The same on several ways, wherever it comes by first: of two engines one stands by, and appends nothing. */
export async function caughtAtAny<Of extends { readonly way: Proxy }>(
  ways: readonly Of[],
  picks: (message: Message) => boolean,
  what: string,
): Promise<Of & { readonly held: Held }> {
  // A trap that is over stays, and picks nothing: to heal the way would end what another fault has set there.
  let isOver = false;
  const pickOnce = (message: Message): boolean => !isOver && picks(message) && (isOver = true);
  const catching = ways.map(async (of) => ({ ...of, held: await of.way.holdAt(pickOnce) }));
  try {
    return await inTime(Promise.race(catching), what);
  } catch (error) {
    for (const late of catching) void late.then(({ held }) => held.release());
    throw error;
  } finally {
    isOver = true;
  }
}

/** Hears every message on its way. Returns what ends that. */
export function listen(way: Proxy, hears: (message: Message) => void): () => void {
  let isOver = false;
  void way.holdAt((message) => {
    if (!isOver) hears(message);
    return false;
  });
  return () => void (isOver = true);
}

/** Rejects where that takes too long. @throws MissedError */
export async function inTime<T>(catching: Promise<T>, what: string, limitMs = LIMIT_MS): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new MissedError(`${what} did not come by in ${limitMs} ms`)), limitMs);
  try {
    return await Promise.race([catching, promise]);
  } finally {
    clearTimeout(timer);
  }
}
