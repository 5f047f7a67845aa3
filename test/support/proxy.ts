import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";

/**
 * A TCP proxy that can lose what it carries.
 *
 * Always true: what `swallow` or `stall` withhold is never delivered; `cut` ends all connections on both sides, and new
 * ones are taken again, unless it is `closed`.
 */
export class Proxy {
  readonly #server: Server;
  readonly #pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  readonly #target: URL;
  #swallowing: ((answer: Buffer) => boolean) | undefined;
  #holding: ((answer: Buffer) => boolean) | undefined;
  #held: (() => void)[] = [];
  #stalled = false;
  #closed = false;

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer((client) => this.#join(client));
  }

  static async start(t: TestContext, target: string): Promise<Proxy> {
    const proxy = new Proxy(new URL(target));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    t.after(() => proxy.#end());
    return proxy;
  }

  /** The target's URL with the proxy's port in it. */
  get url(): string {
    const url = new URL(this.#target);
    url.hostname = "127.0.0.1";
    url.port = String((this.#server.address() as AddressInfo).port);
    return url.href.replace(/\/$/, "");
  }

  /** `127.0.0.1:port` */
  get address(): string {
    return new URL(this.url).host;
  }

  /** The next answer that the test picks is lost, and its connection is cut. Resolves when that has happened. */
  swallow(picks: (answer: Buffer) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#swallowing = (answer) => {
        if (!picks(answer)) return false;
        this.#swallowing = undefined;
        resolve();
        return true;
      };
    });
  }

  /**
   * The next answer that the test picks is held back, and what comes behind it on its connection. Resolves when that has
   * happened, with what lets all of it go on.
   */
  hold(picks: (answer: Buffer) => boolean): Promise<() => void> {
    return new Promise((resolve) => {
      this.#holding = (answer) => {
        if (!picks(answer)) return false;
        this.#holding = undefined;
        resolve(() => {
          for (const release of this.#held.splice(0)) release();
        });
        return true;
      };
    });
  }

  /** From now on nothing passes in either direction, and nobody is told. */
  stall(): void {
    this.#stalled = true;
  }

  /** Ends all connections, and what was stalled with them. */
  cut(): void {
    this.#stalled = false;
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
  }

  /** While closed, new connections are ended at once. */
  set closed(closed: boolean) {
    this.#closed = closed;
    if (closed) this.cut();
  }

  #join(client: Socket): void {
    if (this.#closed) {
      client.destroy();
      return;
    }
    const server = connect(Number(this.#target.port), this.#target.hostname);
    const pair = { client, server };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on("error", end);
      socket.on("close", end);
    }
    client.on("data", (chunk: Buffer) => this.#stalled || server.write(chunk));
    server.on("data", (chunk: Buffer) => {
      if (this.#holding?.(chunk)) {
        server.pause();
        this.#held.push(() => {
          client.write(chunk);
          server.resume();
        });
      } else if (this.#swallowing?.(chunk)) end();
      else if (!this.#stalled) client.write(chunk);
    });
  }

  async #end(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
