import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { connect as connectTls } from "node:tls";

import { Flag, FrameReader, FrameType, PREFACE, writeFrameHeader } from "../../bench/load/frames.ts";

/** A socket that sends what no client would. */
export class RawConnection {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #closed: Promise<void>;

  private constructor(t: TestContext, socket: Socket) {
    this.socket = socket;
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
    this.#closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async open(t: TestContext, url: string, protocol?: "h2" | "http/1.1"): Promise<RawConnection> {
    const port = Number(new URL(url).port);
    const target = { host: "127.0.0.1", port };
    const socket = protocol
      ? connectTls({ ...target, ALPNProtocols: [protocol], rejectUnauthorized: false })
      : connect(target);
    await once(socket, protocol ? "secureConnect" : "connect");
    return new RawConnection(t, socket);
  }

  /** What came, as text. */
  get text(): string {
    return this.bytes.toString("latin1");
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get isClosed(): boolean {
    return this.socket.destroyed;
  }

  write(data: string | Buffer): void {
    this.socket.write(data);
  }

  /** Sends it again and again until the connection is closed. */
  drip(data: string | Buffer, everyMs: number): void {
    const timer = setInterval(() => this.write(data), everyMs);
    this.socket.once("close", () => clearInterval(timer));
  }

  /** Waits until the other side has closed it. Gives the milliseconds that it took. */
  async closed(): Promise<number> {
    const since = performance.now();
    await this.#closed;
    return performance.now() - since;
  }

  /** The frames that came, by their types and streams: "HEADERS 1", "GOAWAY 0". */
  frames(): string[] {
    const names = Object.entries(FrameType);
    const found: string[] = [];
    const reader = new FrameReader((type, _flags, stream) => {
      found.push(`${names.find(([, number]) => number === type)?.[0]} ${stream}`);
    });
    reader.push(this.bytes);
    return found;
  }
}

/** The beginning of an HTTP/2 connection. */
export const OPENING = Buffer.concat([Buffer.from(PREFACE), frame(FrameType.SETTINGS, 0, 0)]);
/** The same of a client that lets everything come at once, as if it read fast. */
export const WIDE_OPENING = Buffer.concat([
  Buffer.from(PREFACE),
  // INITIAL_WINDOW_SIZE
  frame(FrameType.SETTINGS, 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff])),
  frame(FrameType.WINDOW_UPDATE, 0, 0, Buffer.from([0x7f, 0xff, 0, 0])),
]);
export const SETTINGS_ACK = frame(FrameType.SETTINGS, Flag.ACK, 0);

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  writeFrameHeader(head, 0, payload.length, type, flags, stream);
  return Buffer.concat([head, payload]);
}

/** A block of headers without compression: each a literal that is not indexed. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [Buffer.from([0]), hpackString(name), hpackString(value)]),
  );
}

/** HEADERS of a call; `end`: without a body. */
export function callFrame(stream: number, path: string, { end = true, headers = {} } = {}): Buffer {
  const block = headerBlock({ ":method": "POST", ":scheme": "https", ":authority": "x", ":path": path, ...headers });
  return frame(FrameType.HEADERS, Flag.END_HEADERS | (end ? Flag.END_STREAM : 0), stream, block);
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length: number[] = [Math.min(bytes.length, 127)];
  let rest = bytes.length - 127;
  if (rest >= 0) {
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}
