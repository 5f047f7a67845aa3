import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import type { TestContext } from "node:test";

import { openBlackHole } from "./black-hole.ts";
import {
  type Conditions,
  type Ending,
  type Held,
  type Pace,
  ProxiedConnection,
  type Side,
  type Trap,
} from "./proxied-connection.ts";
import type { Direction, Message, Wire } from "./wire.ts";

export interface ProxyOptions {
  /** Makes what reads along a connection, for `holdAt`. */
  readonly wire?: () => Wire;
}

/**
 * The way from clients to a server, over TCP, on which things happen.
 *
 * Always true: its address stays, whatever becomes of the server. What it withholds is never delivered, but for what is held and
 * released. What was set lasts until `heal`.
 */
export class Proxy {
  readonly #server: Server;
  readonly #wire: (() => Wire) | undefined;
  readonly #connections = new Set<ProxiedConnection>();
  readonly #conditions: Conditions = { silent: new Set(), pace: {}, traps: new Set(), budget: undefined };
  #target: URL;
  #port = 0;
  #isClosed = false;
  #hole: (() => Promise<void>) | undefined;

  private constructor(target: string, { wire }: ProxyOptions) {
    this.#target = new URL(target);
    this.#wire = wire;
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      if (this.#isClosed) {
        client.destroy();
        return;
      }
      const server = connect({ port: Number(this.#target.port), host: this.#target.hostname, allowHalfOpen: true });
      const connection = new ProxiedConnection(client, server, this.#conditions, this.#wire?.());
      this.#connections.add(connection);
      void connection.ended.then(() => this.#connections.delete(connection));
    });
  }

  /** `target`: a URL with a port. */
  static async open(target: string, options: ProxyOptions = {}): Promise<Proxy> {
    const proxy = new Proxy(target, options);
    await proxy.#listen();
    return proxy;
  }

  /** It ends with the test. */
  static async start(t: Pick<TestContext, "after">, target: string, options: ProxyOptions = {}): Promise<Proxy> {
    const proxy = await Proxy.open(target, options);
    t.after(() => proxy.close());
    return proxy;
  }

  /** The target's URL with the proxy's port in it. */
  get url(): string {
    const url = new URL(this.#target);
    url.hostname = "127.0.0.1";
    url.port = String(this.#port);
    return url.href.replace(/\/$/, "");
  }

  /** `127.0.0.1:port` */
  get address(): string {
    return new URL(this.url).host;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Where connections lead to from now on. Those that are there stay where they are. */
  set target(target: string) {
    this.#target = new URL(target);
  }

  /** The next answer that is picked is lost, and its connection is cut. Resolves when that has happened. */
  async swallow(picks: (answer: Buffer) => boolean): Promise<void> {
    await this.#trap("lose", ({ direction, bytes, message }) => {
      return direction === "down" && message === undefined && picks(bytes);
    });
  }

  /** The next answer that is picked is held back. Resolves when that has happened, with what lets it go on. */
  async hold(picks: (answer: Buffer) => boolean): Promise<() => void> {
    const held = await this.#trap("hold", ({ direction, bytes, message }) => {
      return direction === "down" && message === undefined && picks(bytes);
    });
    return held.release;
  }

  /**
   * The next message that is picked is held back, one way or the other; nothing of it is delivered where it came in one chunk, else
   * all but its end. Resolves when that has happened. For a proxy with a `wire`.
   */
  async holdAt(picks: (message: Message) => boolean): Promise<Held> {
    if (this.#wire === undefined) throw new Error("this proxy does not read what it carries");
    return await this.#trap("hold", ({ message }) => message !== undefined && picks(message));
  }

  /** From now on nothing passes in these directions, and nobody is told, not even of an end. */
  silence(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#conditions.silent.add(direction);
  }

  /** Silent in both directions. */
  stall(): void {
    this.silence("up", "down");
  }

  /** In both directions. */
  set pace(pace: Pace) {
    this.#conditions.pace = pace;
  }

  /** Ends all connections, and a silence with them. New ones are taken. */
  cut(ending: Ending = "close"): void {
    this.#conditions.silent.clear();
    for (const connection of this.#connections) connection.cut(ending);
  }

  /** The next connection that has carried so many bytes from now on is cut behind them. Resolves when that has happened. */
  cutAfter(direction: Direction, bytes: number, ending: Ending = "close"): Promise<void> {
    return new Promise((spent) => (this.#conditions.budget = { direction, bytes, ending, spent }));
  }

  /** The connections end at one side, and the other is not told: whatever it still sends is lost. New ones are taken. */
  abandon(side: Side, ending: Ending = "close"): void {
    for (const connection of this.#connections) connection.abandon(side, ending);
  }

  /** While closed, new connections are taken and ended at once, as by a proxy whose server is away. */
  set closed(closed: boolean) {
    this.#isClosed = closed;
    if (closed) this.cut();
  }

  /** All connections are cut, new ones refused, as by a machine on which no such server runs. */
  async refuse(ending: Ending = "reset"): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut(ending);
    await closed;
  }

  /** All connections go silent, and connecting takes for ever, as to a machine that is gone. */
  async vanish(): Promise<void> {
    this.stall();
    // Not awaited: it is closed when its last connection ends. It listens no more from now on.
    this.#server.close();
    this.#hole = await openBlackHole(this.#port);
  }

  /** All is well from now on. Connections that lost something are cut. */
  async heal(): Promise<void> {
    const { silent, traps } = this.#conditions;
    silent.clear();
    traps.clear();
    this.#conditions.pace = {};
    this.#conditions.budget = undefined;
    this.#isClosed = false;
    for (const connection of this.#connections) if (connection.isDamaged) connection.cut("close");
    const hole = this.#hole;
    this.#hole = undefined;
    await hole?.();
    if (!this.#server.listening) await this.#listen();
  }

  async close(): Promise<void> {
    await this.#hole?.();
    const closed = this.#server.listening ? once(this.#server, "close") : undefined;
    this.#server.close();
    this.cut();
    await closed;
  }

  #trap(deed: Trap["deed"], picks: Trap["picks"]): Promise<Held> {
    return new Promise((sprung) => this.#conditions.traps.add({ deed, picks, sprung }));
  }

  async #listen(): Promise<void> {
    const listening = once(this.#server, "listening"); // rejects where the port was taken meanwhile
    this.#server.listen(this.#port, "127.0.0.1");
    await listening;
    this.#port = (this.#server.address() as AddressInfo).port;
  }
}
