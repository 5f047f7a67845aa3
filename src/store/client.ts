import { connect as openSocket } from "node:net";
import type { Socket } from "node:net";

import postgres from "postgres";

/** How long to wait for a connection, its handshake included. A local server answers in 5 ms, one far away in 1 s. */
const CONNECT_TIMEOUT_S = 5;

/**
 * The longest a client waits between two tries to connect, in s. postgres.js' own 20 would keep statements waiting for so long after
 * a server is back.
 */
const RETRY_S = 2;

/** How long to wait before connecting again, in s. Spread, so that the clients of one server do not all come at once. */
export function backoff(failures: number): number {
  return (0.5 + Math.random() / 2) * Math.min(3 ** failures / 100, RETRY_S);
}

/** What every client of this project has in common; `statementTimeoutMs` bounds each of its statements on the server. */
export function clientOptions(statementTimeoutMs: number) {
  return {
    connect_timeout: CONNECT_TIMEOUT_S,
    backoff,
    // postgres.js asks for them on each new connection, and nobody catches it where that is lost meanwhile: the process ends.
    // Arrays go as literals here.
    fetch_types: false,
    onnotice: () => {},
    socket: openQuickSocket,
    connection: {
      application_name: "penstock",
      statement_timeout: statementTimeoutMs,
      // As postgres.js reads them, whatever the role or the database have set.
      bytea_output: "hex",
      DateStyle: "ISO",
      // A transaction whose client has vanished must not hold its locks for long.
      idle_in_transaction_session_timeout: statementTimeoutMs,
    },
  };
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
