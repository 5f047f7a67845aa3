import type { HttpRequest } from "../runtime/http-listener.ts";
import { RequestError, resourceExhausted } from "./errors.ts";

/** An order in JSON has some 200 bytes, and the buffer doubles. */
const FIRST_BYTES = 512;
/** What gRPC-Web puts before a message. */
const ENVELOPE_BYTES = 5;
/** A megabyte takes less on most ways. */
const NO_ROOM_RETRY_MS = 1_000;

/**
 * Takes the bodies of requests whole: connect's own readers allocate what a client promises, and go through all that came
 * again with every piece, so that a megabyte in pieces of one byte would hold up the process for minutes.
 *
 * Always true: the buffers of all bodies that are still coming have at most `roomBytes`. One that has come whole counts no
 * more: its reader decodes it at once, or, where it is packed, when one of zlib's few threads has unpacked it.
 */
export class BodyReader {
  readonly #roomBytes: number;
  #held = 0;

  constructor(roomBytes: number) {
    this.#roomBytes = roomBytes;
  }

  /**
   * The body of a request, with a message of at most `messageBytes`. Rejects with a RequestError where it is larger, where there
   * is no room for it at present, or where its client goes; with the signal's reason where that comes first. What still comes
   * of it is then thrown away.
   */
  read(request: HttpRequest, messageBytes: number, signal: AbortSignal): Promise<Buffer> {
    const mostBytes = messageBytes + ENVELOPE_BYTES;
    const tooLarge = () => new RequestError("RESOURCE_EXHAUSTED", `a request may have ${messageBytes} bytes`);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    let buffer = Buffer.alloc(0);
    let length = 0;
    const grow = (bytes: number): boolean => {
      const added = Math.min(mostBytes, Math.max(FIRST_BYTES, 2 * buffer.length, bytes)) - buffer.length;
      if (this.#held + added > this.#roomBytes) return false;
      this.#held += added;
      const larger = Buffer.allocUnsafe(buffer.length + added);
      buffer.copy(larger, 0, 0, length);
      buffer = larger;
      return true;
    };
    const take = (chunk: Buffer): void => {
      const needed = length + chunk.length;
      if (needed > mostBytes) return fail(tooLarge());
      if (needed > buffer.length && !grow(needed))
        return fail(resourceExhausted("too many large requests at once", NO_ROOM_RETRY_MS));
      chunk.copy(buffer, length);
      length = needed;
    };
    const finish = (): void => {
      release();
      resolve(buffer.subarray(0, length));
    };
    const fail = (reason: Error): void => {
      release();
      request.resume();
      reject(reason);
    };
    const expire = (): void => fail(signal.reason as Error);
    const leave = (): void => fail(new RequestError("CANCELLED", "the request ended too early"));
    const release = (): void => {
      this.#held -= buffer.length;
      request.off("data", take).off("end", finish).off("close", leave);
      signal.removeEventListener("abort", expire);
    };
    if (signal.aborted) expire();
    else if (Number(request.headers["content-length"] ?? 0) > mostBytes) fail(tooLarge());
    else {
      request.on("data", take).on("end", finish).on("close", leave);
      signal.addEventListener("abort", expire);
    }
    return promise;
  }
}
