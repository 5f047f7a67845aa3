import type { Direction, Frame, Message, Wire } from "./wire.ts";

const UP: Readonly<Record<string, string>> = {
  ...{ Q: "Query", P: "Parse", B: "Bind", E: "Execute", D: "Describe", S: "Sync", H: "Flush", C: "Close" },
  ...{ d: "CopyData", c: "CopyDone", f: "CopyFail", p: "Password", X: "Terminate" },
};
const DOWN: Readonly<Record<string, string>> = {
  ...{ C: "CommandComplete", Z: "ReadyForQuery", E: "ErrorResponse", N: "NoticeResponse", G: "CopyInResponse" },
  ...{ T: "RowDescription", D: "DataRow", n: "NoData", I: "EmptyQueryResponse", s: "PortalSuspended" },
  ...{ "1": "ParseComplete", "2": "BindComplete", "3": "CloseComplete", t: "ParameterDescription" },
  ...{ R: "Authentication", K: "BackendKeyData", S: "ParameterStatus", A: "NotificationResponse" },
};

/** Of a message so many bytes are looked at: a statement is known by how it begins. */
const KEPT_BYTES = 512;
/** Statements that a connection has prepared: the driver prepares each text once, and there are some dozens. */
const MOST_STATEMENTS = 1_000;
/** What a client may send in place of its start: whether the server speaks TLS, or GSSAPI. */
const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;

/** Postgres' protocol, version 3, in clear. */
export class PostgresWire implements Wire {
  readonly #readers = { up: new FrameReader(), down: new FrameReader() };
  /** The answer to such a question is one letter. */
  #isAsked = false;
  readonly #statements = new Map<string, string>();
  readonly #portals = new Map<string, string>();

  constructor() {
    this.#readers.up.isStart = true;
  }

  read(direction: Direction, chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let from = 0;
    if (direction === "down" && this.#isAsked) {
      this.#isAsked = false;
      if (chunk[0] !== "N".charCodeAt(0)) throw new Error("a connection that is not in clear cannot be read");
      from = 1;
    }
    for (const { type, body, start, end } of this.#readers[direction].read(chunk, from)) {
      frames.push({ message: direction === "up" ? this.#sent(type, body) : answer(type, body), start, end });
    }
    return frames;
  }

  #sent(type: string, body: Buffer): Message {
    const of = (text: string): Message => ({ direction: "up", name: UP[type] ?? type, text });
    const [first = "", second = ""] = strings(body);
    switch (type) {
      case "": {
        const code = body.length >= 4 ? body.readInt32BE() : 0;
        this.#isAsked = code === SSL_REQUEST || code === GSS_REQUEST;
        this.#readers.up.isStart = this.#isAsked;
        return { direction: "up", name: "Startup", text: "" };
      }
      case "Q":
        return of(first);
      case "P":
        remember(this.#statements, first, second);
        return of(second);
      case "B": {
        const statement = this.#statements.get(second) ?? "";
        remember(this.#portals, first, statement);
        return of(statement);
      }
      case "E":
        return of(this.#portals.get(first) ?? "");
      default:
        return of("");
    }
  }
}

function answer(type: string, body: Buffer): Message {
  const isTold = type === "C" || type === "E" || type === "N";
  const text = type === "C" ? strings(body)[0] : strings(body).join(" ");
  return { direction: "down", name: DOWN[type] ?? type, text: isTold ? (text ?? "") : "" };
}

function remember(map: Map<string, string>, name: string, text: string): void {
  map.delete(name);
  map.set(name, text);
  const [oldest] = map.keys();
  if (map.size > MOST_STATEMENTS && oldest !== undefined) map.delete(oldest);
}

/** The strings that a message begins with, each ended by a zero; the last may be cut off. */
function strings(body: Buffer): string[] {
  return body.toString("utf8").split("\0");
}

interface RawFrame {
  /** A letter; "" for the start of a connection. */
  readonly type: string;
  /** The beginning of what it holds. */
  readonly body: Buffer;
  readonly start: number;
  readonly end: number;
}

class FrameReader {
  /** Whether the next message is a start, which has no letter. */
  isStart = false;
  #head = Buffer.alloc(0);
  #body = Buffer.alloc(0);
  /** Bytes of the message whose head is known that are still to come; undefined between two. */
  #missing: number | undefined;

  *read(chunk: Buffer, from: number): Generator<RawFrame> {
    let start = from;
    for (let at = from; at < chunk.length;) {
      if (this.#missing === undefined) {
        const size = this.isStart ? 4 : 5;
        const end = Math.min(at + size - this.#head.length, chunk.length);
        this.#head = Buffer.concat([this.#head, chunk.subarray(at, end)]);
        at = end;
        if (this.#head.length < size) return;
        this.#missing = this.#head.readInt32BE(size - 4) - 4;
        if (this.#missing < 0) throw new Error("this is not what Postgres speaks");
      }
      const end = Math.min(at + this.#missing, chunk.length);
      const wanted = Math.max(0, KEPT_BYTES - this.#body.length);
      if (wanted > 0) this.#body = Buffer.concat([this.#body, chunk.subarray(at, Math.min(at + wanted, end))]);
      this.#missing -= end - at;
      at = end;
      if (this.#missing > 0) return;
      const type = this.isStart ? "" : String.fromCharCode(this.#head[0]!);
      const body = this.#body;
      [this.#head, this.#body, this.#missing] = [Buffer.alloc(0), Buffer.alloc(0), undefined];
      yield { type, body, start, end: at };
      start = at;
    }
  }
}
