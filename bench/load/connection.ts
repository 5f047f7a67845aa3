import { connect } from "node:net";
import type { Socket } from "node:net";
import { Code, outcomeOf } from "./call.ts";
import type { Call, Outcome } from "./call.ts";
import {
  DEFAULT_FRAME_SIZE,
  DEFAULT_WINDOW,
  Flag,
  FrameReader,
  FrameType,
  LARGEST_WINDOW,
  PREFACE,
  Setting,
} from "./frames.ts";
import { DEFAULT_TABLE_SIZE, encodeRequest, HpackDecoder } from "./hpack.ts";
import type { Header, RequestBlocks } from "./hpack.ts";
import { Outbox } from "./outbox.ts";

export interface ConnectionOptions<T> {
  readonly host: string;
  readonly port: number;
  /** The headers of every request, pseudo-headers first. */
  readonly headers: readonly Header[];
  /** Called once for every call; `at` is performance.now() of the moment when the bytes were read. */
  readonly ended: (tag: T, outcome: Outcome, at: number) => void;
}

// Calls that wait for the server's windows or its stream limit: more is an overload that a bench need not prolong.
const WAITING_LIMIT = 65_536;
// Read into one buffer, over and over: what the kernel gives at once on loopback.
const READ_BYTES = 262_144;
// A stream's number has 31 bits (RFC 9113, 5.1.1).
const LAST_STREAM = 2 ** 31 - 1;
/**
 * One HTTP/2 connection for gRPC calls with one request message and one answer, all to the same method.
 *
 * Always true: every call is either in `#waiting` (not begun, or its body not wholly sent: then it is the first) or in
 * `#open` or both, until `ended` was called for it once. Never more bytes are sent than the server's windows
 * allow, nor more streams opened than it takes.
 */
export class Connection<T> {
  readonly #options: ConnectionOptions<T>;
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #hpack = new HpackDecoder();
  readonly #open = new Map<number, Call<T>>();
  readonly #waiting: Call<T>[] = [];
  readonly #out: Outbox;
  #blocks: RequestBlocks;
  #taught = false;
  #nextStream = 1;
  #window = DEFAULT_WINDOW;
  #streamWindow = DEFAULT_WINDOW;
  #frameSize = DEFAULT_FRAME_SIZE;
  #streams = Number.POSITIVE_INFINITY;
  #received = 0;
  #headerBlock: { stream: number; flags: number; parts: Buffer[] } | undefined;
  #now = 0;
  #closed: string | undefined;
  #ready: (() => void) | undefined;

  private constructor(options: ConnectionOptions<T>) {
    this.#options = options;
    this.#blocks = encodeRequest(options.headers, DEFAULT_TABLE_SIZE);
    this.#reader = new FrameReader((type, flags, stream, bytes, start, end) =>
      this.#frame(type, flags, stream, bytes, start, end),
    );
    this.#socket = connect({
      host: options.host,
      port: options.port,
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (length, bytes) => this.#read(bytes as Buffer, length),
      },
    });
    this.#out = new Outbox(this.#socket);
  }

  /** Resolves when the server's SETTINGS are there. Rejects where it does not answer within `timeoutMs`. */
  static async open<T>(options: ConnectionOptions<T>, timeoutMs = 5_000): Promise<Connection<T>> {
    const connection = new Connection(options);
    const ready = Promise.withResolvers<void>();
    connection.#ready = ready.resolve;
    connection.#socket.once("connect", () => connection.#greet());
    connection.#socket.once("error", (error) => {
      connection.#lose(error.message);
      ready.reject(error);
    });
    connection.#socket.once("close", () => {
      connection.#lose("the server closed the connection");
      ready.reject(new Error("the server closed the connection"));
    });
    const timer = setTimeout(() => {
      ready.reject(new Error(`no HTTP/2 SETTINGS within ${timeoutMs} ms`));
      connection.close();
    }, timeoutMs);
    try {
      await ready.promise;
    } finally {
      clearTimeout(timer);
    }
    return connection;
  }

  /** Whether new calls can be made. */
  get usable(): boolean {
    return this.#closed === undefined && this.#nextStream < LAST_STREAM;
  }

  /** Begins a call with this body (prefix and message), which is copied. The bytes go out at the next `flush`. */
  call(tag: T, body: Buffer): void {
    const call: Call<T> = {
      tag,
      stream: 0,
      window: 0,
      sent: 0,
      body,
      status: -1,
      reason: "",
      message: undefined,
    };
    if (!this.usable) return this.#end(call, Code.UNAVAILABLE, this.#closed ?? "no stream numbers left");
    if (this.#waiting.length === 0 && this.#send(call)) return;
    if (this.#waiting.length >= WAITING_LIMIT) {
      return this.#end(call, Code.CANCELLED, "the generator's queue is full");
    }
    call.body = Buffer.from(body);
    this.#waiting.push(call);
  }

  /** Writes what the calls since the last flush have to say. */
  flush(): void {
    this.#out.flush();
  }

  /** Closes at once; calls without an answer end as DEADLINE_EXCEEDED. */
  close(): void {
    this.#lose("no answer in time", Code.DEADLINE_EXCEEDED);
    this.#socket.destroy();
  }

  #greet(): void {
    this.#out.text(PREFACE);
    const settings = [
      [Setting.ENABLE_PUSH, 0],
      [Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW],
    ] as const;
    let at = this.#out.frame(settings.length * 6, FrameType.SETTINGS, 0, 0);
    for (const [id, value] of settings) {
      this.#out.bytes.writeUInt16BE(id, at);
      at = this.#out.bytes.writeUInt32BE(value, at + 2);
    }
    this.#widen(LARGEST_WINDOW - DEFAULT_WINDOW);
    this.flush();
  }

  // Sends what may be sent of a call; true when it is all.
  #send(call: Call<T>): boolean {
    if (call.stream === 0) {
      if (this.#open.size >= this.#streams) return false;
      const block = this.#taught ? this.#blocks.next : this.#blocks.first;
      this.#taught = true;
      call.stream = this.#nextStream;
      call.window = this.#streamWindow;
      this.#nextStream += 2;
      this.#open.set(call.stream, call);
      const at = this.#out.frame(block.length, FrameType.HEADERS, Flag.END_HEADERS, call.stream);
      block.copy(this.#out.bytes, at);
    }
    const { body } = call;
    while (call.sent < body.length) {
      const size = Math.min(body.length - call.sent, this.#window, call.window, this.#frameSize);
      if (size <= 0) return false;
      const flags = call.sent + size === body.length ? Flag.END_STREAM : 0;
      const at = this.#out.frame(size, FrameType.DATA, flags, call.stream);
      body.copy(this.#out.bytes, at, call.sent, call.sent + size);
      call.sent += size;
      call.window -= size;
      this.#window -= size;
    }
    return true;
  }

  #sendWaiting(): void {
    let done = 0;
    for (const call of this.#waiting) {
      if (!this.#send(call)) break;
      done++;
    }
    if (done > 0) this.#waiting.splice(0, done);
  }

  #widen(bytes: number): void {
    const at = this.#out.frame(4, FrameType.WINDOW_UPDATE, 0, 0);
    this.#out.bytes.writeUInt32BE(bytes, at);
  }

  #read(bytes: Buffer, length: number): boolean {
    this.#now = performance.now();
    try {
      this.#reader.push(bytes.subarray(0, length));
      if (this.#closed === undefined) this.#sendWaiting();
      this.flush();
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error), Code.INTERNAL);
      this.#socket.destroy();
    }
    return true;
  }

  #frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    if (this.#headerBlock !== undefined && type !== FrameType.CONTINUATION) {
      throw new Error("HTTP/2: a header block was interrupted");
    }
    switch (type) {
      case FrameType.DATA:
        return this.#data(flags, stream, bytes, start, end);
      case FrameType.HEADERS:
        return this.#headers(flags, stream, bytes, start, end);
      case FrameType.CONTINUATION:
        return this.#continuation(flags, bytes, start, end);
      case FrameType.RST_STREAM:
        return this.#finish(
          stream,
          Code.UNAVAILABLE,
          `reset by the server (HTTP/2 error ${bytes.readUInt32BE(start)})`,
        );
      case FrameType.SETTINGS:
        return this.#settings(flags, bytes, start, end);
      case FrameType.PING:
        return this.#ping(flags, bytes, start);
      case FrameType.GOAWAY:
        return this.#goAway(bytes, start, end);
      case FrameType.WINDOW_UPDATE:
        return this.#windowUpdate(stream, bytes.readUInt32BE(start));
      case FrameType.PUSH_PROMISE:
        throw new Error("HTTP/2: a push was promised, though SETTINGS forbid it");
      default:
      // PRIORITY, and what the protocol may learn one day: to be ignored.
    }
  }

  #data(flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    this.#received += end - start;
    if (this.#received > LARGEST_WINDOW / 2) {
      this.#widen(this.#received);
      this.#received = 0;
    }
    const call = this.#open.get(stream);
    if (call === undefined) return;
    let from = start;
    let to = end;
    if ((flags & Flag.PADDED) !== 0) {
      to -= bytes[start] ?? 0;
      from += 1;
    }
    const part = Buffer.from(bytes.subarray(from, to));
    call.message = call.message === undefined ? part : Buffer.concat([call.message, part]);
    if ((flags & Flag.END_STREAM) !== 0) this.#finish(stream, call.status, "the answer ended without a status");
  }

  #headers(flags: number, stream: number, bytes: Buffer, start: number, end: number): void {
    let from = start;
    let to = end;
    if ((flags & Flag.PADDED) !== 0) {
      to -= bytes[start] ?? 0;
      from += 1;
    }
    if ((flags & Flag.PRIORITY) !== 0) from += 5;
    if ((flags & Flag.END_HEADERS) !== 0) return this.#block(stream, flags, bytes, from, to);
    this.#headerBlock = { stream, flags, parts: [Buffer.from(bytes.subarray(from, to))] };
  }

  #continuation(flags: number, bytes: Buffer, start: number, end: number): void {
    const block = this.#headerBlock;
    if (block === undefined) throw new Error("HTTP/2: CONTINUATION of nothing");
    block.parts.push(Buffer.from(bytes.subarray(start, end)));
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.#headerBlock = undefined;
    const whole = Buffer.concat(block.parts);
    this.#block(block.stream, block.flags, whole, 0, whole.length);
  }

  #block(stream: number, flags: number, bytes: Buffer, start: number, end: number): void {
    const headers = this.#hpack.decode(bytes, start, end);
    const call = this.#open.get(stream);
    if (call === undefined) return;
    for (const { name, value } of headers) {
      if (name === "grpc-status") call.status = Number(value);
      else if (name === "grpc-message") call.reason = value;
      else if (name === ":status" && value !== "200") call.reason = `HTTP status ${value}`;
    }
    if ((flags & Flag.END_STREAM) !== 0) this.#finish(stream, call.status, call.reason);
  }

  #settings(flags: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & Flag.ACK) !== 0) return;
    for (let at = start; at + 6 <= end; at += 6) {
      const value = bytes.readUInt32BE(at + 2);
      switch (bytes.readUInt16BE(at)) {
        case Setting.HEADER_TABLE_SIZE:
          this.#blocks = encodeRequest(this.#options.headers, value);
          this.#taught = false;
          break;
        case Setting.MAX_CONCURRENT_STREAMS:
          this.#streams = value;
          break;
        case Setting.INITIAL_WINDOW_SIZE:
          for (const call of this.#open.values()) call.window += value - this.#streamWindow;
          this.#streamWindow = value;
          break;
        case Setting.MAX_FRAME_SIZE:
          // Larger frames than the default bring nothing, and must fit the write's buffer.
          this.#frameSize = Math.min(value, DEFAULT_FRAME_SIZE);
          break;
        default:
      }
    }
    this.#out.frame(0, FrameType.SETTINGS, Flag.ACK, 0);
    this.#ready?.();
  }

  #ping(flags: number, bytes: Buffer, start: number): void {
    if ((flags & Flag.ACK) !== 0) return;
    const at = this.#out.frame(8, FrameType.PING, Flag.ACK, 0);
    bytes.copy(this.#out.bytes, at, start, start + 8);
  }

  // What the server began it may still finish; the rest was not looked at.
  #goAway(bytes: Buffer, start: number, end: number): void {
    const last = bytes.readUInt32BE(start) & LAST_STREAM;
    const debug = bytes.toString("latin1", start + 8, end);
    this.#closed = `the server said GOAWAY (HTTP/2 error ${bytes.readUInt32BE(start + 4)}) ${debug}`.trimEnd();
    const reason = this.#closed;
    for (const stream of this.#open.keys()) if (stream > last) this.#finish(stream, Code.UNAVAILABLE, reason);
    for (const call of this.#waiting.splice(0)) this.#abandon(call, Code.UNAVAILABLE, reason);
  }

  #windowUpdate(stream: number, bytes: number): void {
    if (stream === 0) this.#window += bytes;
    else {
      const call = this.#open.get(stream);
      if (call !== undefined) call.window += bytes;
    }
  }

  #finish(stream: number, code: number, reason: string): void {
    const call = this.#open.get(stream);
    if (call === undefined) return;
    this.#open.delete(stream);
    if (call.sent < call.body.length) {
      const place = this.#waiting.indexOf(call);
      if (place >= 0) this.#waiting.splice(place, 1);
    }
    this.#end(call, code, reason);
  }

  #lose(reason: string, code: number = Code.UNAVAILABLE): void {
    this.#closed ??= reason;
    this.#now = performance.now();
    for (const stream of this.#open.keys()) this.#finish(stream, code, reason);
    for (const call of this.#waiting.splice(0)) this.#abandon(call, code, reason);
  }

  // A call that waits; one whose body is half sent is open as well, and ends there.
  #abandon(call: Call<T>, code: number, reason: string): void {
    if (call.stream === 0) this.#end(call, code, reason);
    else this.#finish(call.stream, code, reason);
  }

  #end(call: Call<T>, code: number, reason: string): void {
    this.#options.ended(call.tag, outcomeOf(code, reason, call.message), this.#now);
  }
}
