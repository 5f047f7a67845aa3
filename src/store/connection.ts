import { connect as openSocket } from "node:net";
import type { Socket } from "node:net";

import postgres from "postgres";

/** How long to wait for a connection, its handshake included. A local server answers in 5 ms, one far away in 1 s. */
const CONNECT_TIMEOUT_S = 5;

/** The longest statement of a pool, in ms: reads here are index look-ups and pages. A client gives up sooner. */
const STATEMENT_TIMEOUT_MS = 10_000;

/** What an answer may take on its way beyond the time of its statement, in ms: packets that are lost are sent again within a second. */
const ON_THE_WAY_MS = 2_000;

/** How long a connection of a pool is kept unused, in s. Opening one costs 5 ms. */
const IDLE_S = 5;

/** How often a connection is looked at, in ms: so late at the most it is given up. */
const LOOK_MS = 1_000;

/**
 * The longest a client waits between two tries to connect, in s. postgres.js' own 20 would keep statements waiting for so long after
 * a server is back.
 */
const RETRY_S = 2;

/** What every client of this project has in common; `statementTimeoutMs` bounds each of its statements on the server. */
export function clientOptions(statementTimeoutMs: number) {
  return {
    connect_timeout: CONNECT_TIMEOUT_S,
    // Spread, so that the clients of one server do not all come at once.
    backoff: (failures: number) => (0.5 + Math.random() / 2) * Math.min(3 ** failures / 100, RETRY_S),
    // postgres.js asks for them on each new connection, and nobody catches it where that is lost meanwhile: the process ends.
    // Arrays go as literals here.
    fetch_types: false,
    onnotice: () => {},
    socket: openQuickSocket,
    connection: {
      application_name: "penstock",
      statement_timeout: statementTimeoutMs,
      // A transaction whose client has vanished must not hold its locks for long.
      idle_in_transaction_session_timeout: statementTimeoutMs,
    },
  };
}

export interface PoolOptions {
  readonly max: number;
  /** The longest statement, in ms, where it is to look at more than a client waits for. */
  readonly statementTimeoutMs?: number;
}

/**
 * A pool of up to `max` connections for single statements; they are opened when needed and again after a loss, which fails
 * the statements that were on their way; one from which nothing comes, though its statement should be over, is given up as lost:
 * the server's own limit says nothing where the way to it has gone silent. Not for transactions: postgres.js sends its ROLLBACK on a connection that is gone,
 * and that ends the process. `Writer` is for those.
 *
 * The URL is postgres://user:password@host:port/database with `sslmode` where wanted; `host=/folder` in its query names a Unix
 * socket's folder, as in libpq. Throws where it is no URL or names several hosts.
 */
export function connect(url: string, { max, statementTimeoutMs = STATEMENT_TIMEOUT_MS }: PoolOptions): postgres.Sql {
  // From one that is unused something comes when it is used again, or its end.
  const silentMs = IDLE_S * 1_000 + statementTimeoutMs + ON_THE_WAY_MS;
  const socket = (target: SocketTarget): Socket => endedWhereSilent(openQuickSocket(target), silentMs);
  const options = { ...clientOptions(statementTimeoutMs), max, idle_timeout: IDLE_S, socket };
  return openClient(url, options);
}

/** What is written to it is no sign of life: those who ask again and again would keep a dead one. */
function endedWhereSilent(socket: Socket, silentMs: number): Socket {
  let read = 0;
  let since = performance.now();
  const timer = setInterval(() => {
    if (socket.destroyed) clearInterval(timer);
    else if (socket.bytesRead === read && performance.now() - since > silentMs) socket.destroy();
    else if (socket.bytesRead !== read) [read, since] = [socket.bytesRead, performance.now()];
  }, LOOK_MS).unref();
  return socket;
}

type ClientOptions = NonNullable<Parameters<typeof postgres>[1]>;

/** A postgres.js client, with what its own reading of URLs lacks. */
export function openClient(url: string, options: ClientOptions): postgres.Sql {
  const address = new URL(url);
  const folder = address.searchParams.get("host");
  address.searchParams.delete("host"); // postgres.js would send it to the server as a setting
  const sql = postgres(address.href, folder === null ? options : { ...options, host: folder });
  // postgres.js tries several in turn, but does not say to its `socket` option which one it is at.
  if (sql.options.host.length > 1) throw new RangeError("the database URL must name one host");
  return sql;
}

/** What postgres.js hands to its `socket` option, as far as it is used here. */
export interface SocketTarget {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path: string | false;
}

/**
 * A socket without Nagle's algorithm, which postgres.js leaves on: each COPY would stall for 40 to 90 ms.
 *
 * It is handed over while it still connects (what is written meanwhile waits in it), because postgres.js listens for its
 * errors only then; a promise that rejects would strand the connection and every query that waits for it.
 */
export function openQuickSocket(target: SocketTarget): Socket {
  if (target.path) return openSocket({ path: target.path });
  const host = target.host[0] ?? "localhost";
  const socket = openSocket({ host, port: target.port[0] ?? 5432, noDelay: true });
  return Object.assign(socket, { host }); // the name that TLS asks for
}
