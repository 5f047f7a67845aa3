import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type postgres from "postgres";

import { backoff, clientOptions, openClient, openQuickSocket, type SocketTarget } from "./client.ts";

/** The longest statement of a pool, in ms: reads here are index look-ups and pages. A client gives up sooner. */
const STATEMENT_TIMEOUT_MS = 10_000;

/** What an answer may take on its way beyond the time of its statement, in ms: packets that are lost are sent again within a second. */
const ON_THE_WAY_MS = 2_000;

/** How often a connection is looked at, in ms: it is given up two looks later at the most. */
const LOOK_MS = 1_000;

export interface PoolOptions {
  readonly max: number;
  /** The longest statement, in ms, where it is to look at more than a client waits for. */
  readonly statementTimeoutMs?: number;
}

/**
 * A pool of up to `max` connections for single statements; they are opened when needed and again after a loss, which fails
 * the statements that were on their way, and those that waited for a connection. One from which nothing comes for longer than a
 * statement may take is closed: it is unused, or its statement should be over, since the server's own limit says nothing where the way
 * to it has gone silent. Not for transactions, which `Writer` is for: postgres.js sends its ROLLBACK on a connection that is gone, and that
 * ends the process.
 *
 * The URL is postgres://user:password@host:port/database with `sslmode` where wanted; `host=/folder` in its query names a Unix
 * socket's folder, as in libpq. Throws where it is no URL or names several hosts.
 */
export function connect(url: string, options: PoolOptions): postgres.Sql {
  const pool = new Pool(url, options);
  const unsafe: postgres.Sql["unsafe"] = (...args) => withoutHoles(pool.sql.unsafe(...args));
  return new Proxy(pool.sql, {
    apply: (_first, self, args: unknown[]): unknown => withoutHoles(Reflect.apply(pool.sql, self, args)),
    get: (_first, name): unknown => {
      if (name === "end") return pool.end;
      return name === "unsafe" ? unsafe : Reflect.get(pool.sql, name);
    },
  });
}

/**
 * A statement's answer begins with its first row: behind one that failed when rows of it had come, postgres.js leaves as many places
 * free (porsager/postgres#1119). Whatever is no statement stays as it is.
 */
function withoutHoles<T>(query: T): T {
  if (!(query instanceof Promise && "resolve" in query && typeof query.resolve === "function")) return query;
  const resolve = query.resolve.bind(query) as (rows: unknown[]) => void;
  query.resolve = (rows: unknown[]) => {
    const first = rows.findIndex((_, i) => i in rows);
    if (first > 0) rows.splice(0, first);
    resolve(rows);
  };
  return query;
}

/**
 * Has a new client of postgres.js once a connection of the one before is gone.
 *
 * For postgres.js 3.4.9 takes what it knew of a lost connection to the next one in its place: the rows that had come of an answer, as so
 * many holes at the beginning of the next answer; and what was about to be sent, so that nothing ever is again. A statement that is
 * given to it between a socket's error and its end is never answered, nor is one for which a server ends each connection at once
 * (porsager/postgres#1193, #1215).
 *
 * Always true: a client of which a connection is gone, or about to be closed, is given no more statements; and it opens `max` at the
 * most, so that none of its places has a second one. What it had in hand on its other connections ends there.
 */
class Pool {
  readonly #url: string;
  readonly #options: Required<PoolOptions>;
  #client: Client;
  /** Those before it of which a connection may still be there. */
  #former: Client[] = [];
  /** Clients in a row that heard nothing from the server. */
  #failures = 0;
  #isEnded = false;

  constructor(url: string, { max, statementTimeoutMs = STATEMENT_TIMEOUT_MS }: PoolOptions) {
    this.#url = url;
    this.#options = { max, statementTimeoutMs };
    this.#client = this.#open(0);
  }

  get sql(): postgres.Sql {
    if (!this.#isEnded && this.#client.connections.some((connection) => connection.isOver)) this.#renew();
    return this.#client.sql;
  }

  readonly end = async (options?: { timeout?: number }): Promise<void> => {
    this.#isEnded = true;
    await Promise.all([this.#client, ...this.#former].filter(hasConnections).map(({ sql }) => sql.end(options)));
  };

  #renew(): void {
    const { connections } = this.#client;
    this.#former = [...this.#former, this.#client].filter(hasConnections);
    this.#failures = connections.some(({ socket }) => socket.bytesRead > 0) ? 0 : this.#failures + 1;
    this.#client = this.#open(this.#failures === 0 ? 0 : backoff(this.#failures) * 1_000);
  }

  /** Its connections are opened after a pause. */
  #open(pauseMs: number): Client {
    const { max, statementTimeoutMs } = this.#options;
    const connections: Connection[] = [];
    const notBefore = performance.now() + pauseMs;
    let opened = 0;
    const socket = async (target: SocketTarget): Promise<Socket> => {
      if (++opened > max) return closedSocket();
      const waitMs = notBefore - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      if (this.#isEnded) return closedSocket();
      const connection = new Connection(openQuickSocket(target), statementTimeoutMs + ON_THE_WAY_MS);
      connections.push(connection);
      return connection.socket;
    };
    const options = {
      ...clientOptions(statementTimeoutMs),
      max,
      idle_timeout: 0,
      max_lifetime: null,
      socket,
      backoff: () => 0, // what waits for a place that is gone fails at once
      // A statement is sent when the one before it is answered: one whose plan is out of date is sent in two parts, and postgres.js lets
      // another between them, so that each gets the other's answer. Costs 25 us of CPU a read (35 became 60; 64 at once, 2 shared cores).
      max_pipeline: 0,
    };
    return { sql: openClient(this.#url, options), connections };
  }
}

interface Client {
  readonly sql: postgres.Sql;
  readonly connections: readonly Connection[];
}

function hasConnections({ connections }: Client): boolean {
  return connections.some(({ socket }) => !socket.destroyed);
}

/**
 * A socket that is closed when nothing has come from it for long: unused, or gone silent with a statement.
 *
 * Always true: it is over for a look before it is closed, and then only if nothing was written in between, so that no statement is sent to
 * one that is being closed because it was unused.
 */
class Connection {
  readonly socket: Socket;
  #read = 0;
  #written = 0;
  /** Since when nothing has come, ms; where it may have been unused, since something was written for the first time. */
  #since = performance.now();
  #isAsked = true;
  #isSilent = false;

  constructor(socket: Socket, silentMs: number) {
    this.socket = socket;
    const timer = setInterval(() => {
      if (socket.destroyed) clearInterval(timer);
      else this.#look(silentMs);
    }, LOOK_MS).unref();
  }

  /** From the moment that it is given up at, before anybody is told. */
  get isOver(): boolean {
    return this.#isSilent || this.socket.destroyed;
  }

  #look(silentMs: number): void {
    const { bytesRead, bytesWritten } = this.socket;
    const hasAnswered = bytesRead !== this.#read;
    // What is written later is no sign of life: those who ask again and again would keep a dead one.
    if (hasAnswered || (bytesWritten !== this.#written && !this.#isAsked)) {
      [this.#read, this.#written, this.#since] = [bytesRead, bytesWritten, performance.now()];
      [this.#isAsked, this.#isSilent] = [!hasAnswered, false];
    } else if (this.#isSilent) this.socket.destroy();
    else this.#isSilent = performance.now() - this.#since > silentMs;
  }
}

/** For postgres.js, which listens for the error once it has the socket: a promise that rejects would strand what waits for it. */
function closedSocket(): Socket {
  const socket = new Socket();
  const error = Object.assign(new Error("the connection to Postgres was lost"), { code: "CONNECTION_CLOSED" });
  setImmediate(() => socket.destroy(error));
  return socket;
}
