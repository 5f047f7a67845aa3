import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** Frames of HTTP/2 as nobody else would write them: RFC 9113, section 6. */

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
};
export const END_STREAM = 1;
export const END_HEADERS = 4;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** HPACK without table and Huffman: RFC 7541, section 6.2.2. For names and values below 16 kB. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  // Section 5.1: what seven bits do not hold goes on, seven by seven.
  const length = (n: number) => (n < 127 ? [n] : [127, ((n - 127) & 127) | 128, (n - 127) >> 7]);
  const text = (value: string) => Buffer.concat([Buffer.from(length(value.length)), Buffer.from(value)]);
  const pairs = Object.entries(headers).map(([name, value]) => [Buffer.from([0]), text(name), text(value)]);
  return Buffer.concat(pairs.flat());
}

export function grpcHeaders(path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  return headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "test",
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  });
}

/** A gRPC message with the length that it claims. */
export function message(bytes: Uint8Array, { length = bytes.length, compressed = false } = {}): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(compressed ? 1 : 0, 0);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** A connection that says what it is told to. What the server sends is kept by frame. */
export class RawConnection {
  readonly socket: Socket;
  readonly frames: { readonly type: number; readonly stream: number; readonly payload: Buffer }[] = [];
  closed = false;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => (this.closed = true));
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
  }

  /** Without a word of HTTP/2. */
  static async open(t: TestContext, address: string): Promise<RawConnection> {
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect(Number(port), hostname);
    t.after(() => socket.destroy());
    const connection = new RawConnection(socket);
    await once(socket, "connect");
    return connection;
  }

  /** With preface and settings. */
  static async begin(t: TestContext, address: string, settings: Buffer = Buffer.alloc(0)): Promise<RawConnection> {
    const connection = await RawConnection.open(t, address);
    connection.write(PREFACE, frame(FRAME.SETTINGS, 0, 0, settings));
    return connection;
  }

  write(...buffers: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(buffers));
  }

  /** Writes, and waits until the socket has room again, or is closed. */
  async push(buffer: Buffer): Promise<void> {
    if (this.closed || this.socket.write(buffer)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const event of ["drain", "close"]) this.socket.once(event, resolve);
    await promise;
  }

  /** The error codes of the frames that end a stream or the connection. */
  codes(type: number): number[] {
    return this.frames
      .filter((frame) => frame.type === type)
      .map(({ payload }) => payload.readUInt32BE(type === FRAME.GOAWAY ? 4 : 0));
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      const payload = this.#rest.subarray(9, 9 + length);
      this.frames.push({ type: this.#rest.readUInt8(3), stream: this.#rest.readUInt32BE(5), payload });
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}
