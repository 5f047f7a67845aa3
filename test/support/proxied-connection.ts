import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import type { Direction, Frame, Message, Wire } from "./wire.ts";

export type Side = "client" | "server";

/** `close`: as a process that ends (FIN). `reset`: as a machine that has forgotten the connection (RST). */
export type Ending = "close" | "reset";

export interface Pace {
  /** Each piece comes so much later, ms. */
  readonly latencyMs?: number;
  readonly bytesPerSecond?: number;
}

/** Bytes that are held back, and with them all that follows them in their direction on their connection. */
export interface Held {
  /** Undefined where bytes were picked, and not a message. */
  readonly message: Message | undefined;
  /** Lets them go on. */
  readonly release: () => void;
  /** Ends the connection: they are never delivered. */
  readonly drop: () => void;
}

/** Picks the bytes at which something is to happen. */
export interface Trap {
  readonly picks: (piece: { direction: Direction; bytes: Buffer; message: Message | undefined }) => boolean;
  /** Lost: what was picked, and its connection with it. */
  readonly deed: "hold" | "lose";
  readonly sprung: (held: Held) => void;
}

/** A connection is cut when it has carried so many bytes in that direction. */
export interface Budget {
  readonly direction: Direction;
  readonly bytes: number;
  readonly ending: Ending;
  readonly spent: () => void;
}

/** What is done to all connections of a proxy at present. */
export interface Conditions {
  readonly silent: Set<Direction>;
  pace: Pace;
  /** Each springs once. */
  readonly traps: Set<Trap>;
  budget: Budget | undefined;
}

/** A paced direction writes so often. */
const BEAT_MS = 20;

/**
 * A client's connection and the one that stands for it at the server.
 *
 * Always true: bytes pass in their order or not at all. Each side is told of the other's end, behind the bytes that came before
 * it, unless that way is silent or the side is abandoned. A side is read no faster than the other takes: what waits here is
 * one chunk in each direction, and the sockets' own buffers.
 */
export class ProxiedConnection {
  readonly #sockets: Readonly<Record<Side, Socket>>;
  readonly #conditions: Conditions;
  readonly #wire: Wire | undefined;
  readonly #over = new AbortController();
  /** Whether one side is gone and the other is not to know. */
  #isHalf = false;
  /** Whether it lost bytes, so that what would follow them makes no sense. */
  #isDamaged = false;
  /** What it has carried under a budget. */
  #carried: { readonly under: Budget; bytes: number } | undefined;
  /** Resolved when both sockets are closed. */
  readonly ended: Promise<unknown>;

  constructor(client: Socket, server: Socket, conditions: Conditions, wire: Wire | undefined) {
    this.#sockets = { client, server };
    this.#conditions = conditions;
    this.#wire = wire;
    const closed = (side: Side): Promise<void> => {
      const socket = this.#sockets[side];
      socket.setNoDelay(true);
      socket.on("error", () => {}); // its "close" says so
      return new Promise((resolve) => {
        socket.once("close", (hadError) => {
          if (hadError) this.#failed(side);
          resolve();
        });
      });
    };
    this.ended = Promise.all([closed("client"), closed("server")]);
    void this.#carry("up", client, server);
    void this.#carry("down", server, client);
  }

  get isDamaged(): boolean {
    return this.#isDamaged;
  }

  cut(ending: Ending): void {
    this.#over.abort();
    for (const socket of Object.values(this.#sockets)) end(socket, ending);
  }

  /** Ends the one side, and swallows what the other still sends. */
  abandon(side: Side, ending: Ending): void {
    this.#halve();
    end(this.#sockets[side], ending);
  }

  #halve(): void {
    this.#isHalf = true;
    this.#isDamaged = true;
  }

  /** A side was reset, or could not be reached. */
  #failed(side: Side): void {
    if (this.#isMute(side === "client" ? "up" : "down")) this.#halve();
    else this.cut("reset");
  }

  /** Never rejects. */
  async #carry(direction: Direction, from: Socket, to: Socket): Promise<void> {
    try {
      for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        await this.#pass(direction, chunk, to);
      }
      if (this.#isMute(direction)) this.#isDamaged = true;
      else to.end();
    } catch {
      // One of the sockets failed or was cut: their "close" tells the other.
    }
  }

  /** Brings one chunk across, message by message where somebody looks at them. */
  async #pass(direction: Direction, bytes: Buffer, to: Socket): Promise<void> {
    const frames = this.#framesOf(direction, bytes);
    await this.#spring(this.#trapFor({ direction, bytes, message: undefined }), undefined);
    let at = 0;
    for (const { message, start, end } of frames) {
      const trap = this.#trapFor({ direction, bytes: bytes.subarray(start, end), message });
      if (trap === undefined) continue;
      await this.#deliver(direction, bytes.subarray(at, start), to);
      at = start;
      await this.#spring(trap, message);
    }
    await this.#deliver(direction, bytes.subarray(at), to);
  }

  #framesOf(direction: Direction, bytes: Buffer): readonly Frame[] {
    try {
      return this.#wire?.read(direction, bytes) ?? [];
    } catch (error) {
      this.cut("reset");
      // The tool is wrong, and nobody should overlook that.
      queueMicrotask(() => {
        throw error;
      });
      return [];
    }
  }

  #trapFor(piece: Parameters<Trap["picks"]>[0]): Trap | undefined {
    for (const trap of this.#conditions.traps) if (trap.picks(piece)) return trap;
    return undefined;
  }

  /** Resolves when the bytes may go on. */
  async #spring(trap: Trap | undefined, message: Message | undefined): Promise<void> {
    // Another connection may have met it while this one wrote what came before.
    if (trap === undefined || !this.#conditions.traps.delete(trap)) return;
    const { signal } = this.#over;
    const drop = (): void => this.cut("close");
    await new Promise<void>((release) => {
      signal.addEventListener("abort", () => release(), { once: true });
      if (trap.deed === "lose") drop();
      trap.sprung({ message, release, drop });
    });
    signal.throwIfAborted();
  }

  #isMute(direction: Direction): boolean {
    return this.#isHalf || this.#conditions.silent.has(direction);
  }

  async #deliver(direction: Direction, bytes: Buffer, to: Socket): Promise<void> {
    const { signal } = this.#over;
    let rest = bytes;
    const { latencyMs = 0 } = this.#conditions.pace;
    if (latencyMs > 0) await delay(latencyMs, undefined, { signal });
    while (rest.length > 0) {
      const { bytesPerSecond = Infinity } = this.#conditions.pace;
      if (bytesPerSecond < Infinity) await delay(BEAT_MS, undefined, { signal });
      if (this.#isMute(direction)) {
        this.#isDamaged = true;
        return;
      }
      const piece = rest.subarray(0, Math.max(1, Math.floor((bytesPerSecond * BEAT_MS) / 1_000)));
      rest = rest.subarray(piece.length);
      await this.#write(direction, piece, to);
    }
  }

  async #write(direction: Direction, bytes: Buffer, to: Socket): Promise<void> {
    const { budget } = this.#conditions;
    if (budget?.direction === direction) {
      if (this.#carried?.under !== budget) this.#carried = { under: budget, bytes: 0 };
      const left = budget.bytes - this.#carried.bytes;
      this.#carried.bytes += bytes.length;
      if (left <= bytes.length) {
        this.#conditions.budget = undefined;
        await written(to, bytes.subarray(0, left));
        this.cut(budget.ending);
        budget.spent();
        return;
      }
    }
    if (!to.write(bytes)) await drained(to, this.#over.signal);
  }
}

function end(socket: Socket, ending: Ending): void {
  if (ending === "reset") socket.resetAndDestroy();
  else socket.destroy();
}

/** Resolves when the system has the bytes, or the socket has failed. */
function written(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (bytes.length === 0) resolve();
    else socket.write(bytes, () => resolve());
  });
}

/** Resolves when the socket takes more. Rejects where the connection ends before. */
function drained(socket: Socket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = (): void => reject(new Error("the connection has ended"));
    if (signal.aborted || socket.destroyed) over();
    signal.addEventListener("abort", over, { once: true });
    socket.once("drain", () => {
      signal.removeEventListener("abort", over);
      resolve();
    });
  });
}
