import { status } from "@grpc/grpc-js";

import { Backoff, delay } from "../runtime/backoff.ts";
import { CallError, isCut } from "./client.ts";

/** Long enough for a server to be restarted and to put back its log. */
const GIVE_UP_MS = 300_000;

/** What a reader throws that found a gap: from its beginning on the stream is whole again. */
export const GAP: number = status.DATA_LOSS;

export interface ResumeOptions {
  readonly signal: AbortSignal;
  /** Told of each cut, before the stream is opened again. */
  readonly onCut: (error: CallError) => void;
}

/**
 * The messages of a server stream that is opened again whenever it was cut; `open` opens it behind what was taken by then. Ends
 * when the signal is aborted.
 * @throws CallError where nothing came at the first opening, or for five minutes, or where the server refuses it.
 */
export async function* resumed<T>(
  open: () => AsyncIterable<T>,
  { signal, onCut }: ResumeOptions,
): AsyncGenerator<T, void> {
  const backoff = new Backoff(100, 5_000);
  let takenAt: number | undefined;
  while (!signal.aborted) {
    let cut = new CallError(status.UNAVAILABLE, "the server ended the stream", []);
    try {
      for await (const message of open()) {
        yield message;
        takenAt = performance.now();
        backoff.reset();
      }
    } catch (error) {
      const isOver = takenAt === undefined || performance.now() - takenAt > GIVE_UP_MS;
      const mayGoOn = error instanceof CallError && (isCut(error.code) || error.code === GAP);
      if (!mayGoOn || isOver) throw error;
      cut = error;
    }
    if (signal.aborted) return;
    onCut(cut);
    await delay(backoff.next(), signal);
  }
}
