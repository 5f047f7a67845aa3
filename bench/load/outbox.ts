import type { Socket } from "node:net";
import { FRAME_HEADER_BYTES, writeFrameHeader } from "./frames.ts";

// Large enough for what a tick of 1 ms sends at any rate that two cores can bear; a fuller one goes early. It holds the
// largest frame that is sent (16 KiB) several times.
const BUFFER_BYTES = 65_536;

/**
 * Gathers frames, so that the socket sees one write for many. Always true: `bytes` up to `#used` is written and not
 * flushed; a buffer that was given to the socket is not touched before the socket is done with it.
 */
export class Outbox {
  readonly #socket: Socket;
  readonly #free: Buffer[] = [];
  #used = 0;
  bytes: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Appends raw text: the connection's preface. */
  text(text: string): void {
    this.#used += this.bytes.write(text, this.#used, "latin1");
  }

  /** Appends a frame of `length` payload bytes; the caller writes them into `bytes` from the place that is returned. */
  frame(length: number, type: number, flags: number, stream: number): number {
    if (this.#used + FRAME_HEADER_BYTES + length > BUFFER_BYTES) this.flush();
    const at = writeFrameHeader(this.bytes, this.#used, length, type, flags, stream);
    this.#used = at + length;
    return at;
  }

  flush(): void {
    if (this.#used === 0) return;
    const full = this.bytes;
    this.#socket.write(full.subarray(0, this.#used), () => this.#free.push(full));
    this.bytes = this.#free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
    this.#used = 0;
  }
}
