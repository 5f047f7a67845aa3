import { once } from "node:events";
import type { ServerHttp2Session } from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import type { Logger } from "pino";
import { type CertificatePair, type Certificates, TLS_MIN_VERSION } from "./certificates.ts";
import type { Peer } from "./grpc-calls.ts";
import type { GrpcInjector } from "./grpc-injector.ts";
import type { IngestMetrics } from "./metrics.ts";

export interface GrpcListenerOptions {
  readonly injector: Pick<GrpcInjector, "inject">;
  readonly maxConnections: number;
  /** Undefined: in clear. */
  readonly certificates: Certificates | undefined;
  readonly metrics: IngestMetrics;
  readonly log: Logger;
}

/** For a TLS handshake, and again until the first bytes of HTTP/2: some round trips, on the worst of lines. */
const OPENING_MS = 10_000;
/**
 * How often it looks for sessions that have ended while their connections are open, and closes those that it saw before: a
 * client that is there does so within a round trip, and where it was lost twice within 3 s more (RFC 6298).
 */
const LOOK_MS = 5_000;
/** The preface and the header of the SETTINGS that must follow it (RFC 9113, section 3.4). */
const OPENING_BYTES = 24 + 9;

interface Connection {
  readonly socket: Socket;
  /** Of HTTP/2, once it was handed on. */
  session: Pick<ServerHttp2Session, "destroyed"> | undefined;
  /** It was open at the last look, and its session had ended. */
  lingers: boolean;
}

/**
 * The connections of the gRPC door, which grpc-js takes from here: for limits that it has not, and certificates that can
 * be renewed.
 *
 * Always true: `#connections` holds every connection that was taken and is not closed, at most `maxConnections`, by its
 * two ends: one port of a client may be connected to several addresses of ours. None outlives its session for long: grpc-js
 * asks nothing more of a connection whose session it has ended, and Node waits until its client has read and closed it.
 */
export class GrpcListener {
  readonly #options: GrpcListenerOptions;
  readonly #connections = new Map<string, Connection>();
  #looks: NodeJS.Timeout | undefined;
  #server: Server | undefined;
  #endRenewal = () => {};

  constructor(options: GrpcListenerOptions) {
    this.#options = options;
  }

  /** Resolves with the port. */
  async listen(bind: string, port: number): Promise<number> {
    const { maxConnections, metrics, log } = this.#options;
    const server = this.#create();
    this.#server = server;
    // Dropped: several processes that are all full would hand a connection round for ever.
    Object.assign(server, { maxConnections, dropMaxConnection: true });
    server.on("error", (error) => log.error({ err: error }, "a connection could not be taken"));
    server.on("drop", () => metrics.connectionsCut.inc({ reason: "limit" }));
    server.prependListener("connection", (socket: Socket) => this.#keep(socket));
    server.listen(port, bind);
    await once(server, "listening");
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
    return (server.address() as AddressInfo).port;
  }

  /** Takes no more connections. Resolves when all are closed; those whose TLS handshake is not done are closed at once. */
  async close(): Promise<void> {
    this.#endRenewal();
    const server = this.#server;
    if (server === undefined) return;
    const closed = once(server, "close");
    server.close();
    for (const { socket, session } of this.#connections.values()) if (session === undefined) socket.destroy();
    await closed;
    clearInterval(this.#looks);
  }

  /** Ends what is still open. */
  end(): void {
    for (const { socket } of this.#connections.values()) socket.destroy();
  }

  /** Ends the connection of that client. */
  cut(peer: Peer): void {
    const connection = this.#connections.get(keyOf(peer));
    if (connection?.socket.destroyed === false) this.#cut(connection.socket, "unread");
  }

  #create(): Server {
    const { certificates } = this.#options;
    if (certificates === undefined) {
      return createServer({ noDelay: true }, (socket) => this.#inject(socket));
    }
    const secure = ({ cert, key }: CertificatePair): TlsOptions => ({ cert, key, minVersion: TLS_MIN_VERSION });
    const server = createTlsServer(
      { ...secure(certificates.current), ALPNProtocols: ["h2"], handshakeTimeout: OPENING_MS, noDelay: true },
      (socket) => this.#inject(socket),
    );
    server.on("tlsClientError", (_, socket) => {
      this.#options.metrics.connectionsCut.inc({ reason: "handshake" });
      // Node leaves one open whose time was up.
      socket.destroy();
    });
    this.#endRenewal = certificates.onRenewal((pair) => server.setSecureContext(secure(pair)));
    return server;
  }

  #keep(socket: Socket): void {
    const { connections } = this.#options.metrics;
    const key = keyOf(socket);
    this.#connections.set(key, { socket, session: undefined, lingers: false });
    connections.set(this.#connections.size);
    // Without a listener an error is uncaught; what it means is told by the close.
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#connections.delete(key);
      connections.set(this.#connections.size);
    });
  }

  #inject(socket: Socket): void {
    const connection = this.#connections.get(keyOf(socket));
    if (connection === undefined || this.#server?.listening !== true) return void socket.destroy();
    socket.on("error", () => {});
    const timer = setTimeout(() => {
      if (socket.bytesRead < OPENING_BYTES) this.#cut(socket, "opening");
    }, OPENING_MS);
    socket.once("close", () => clearTimeout(timer));
    connection.session = this.#options.injector.inject(socket);
  }

  #look(): void {
    for (const connection of this.#connections.values()) {
      if (connection.lingers) connection.socket.destroy();
      connection.lingers = connection.session?.destroyed === true;
    }
  }

  #cut(socket: Socket, reason: "opening" | "unread"): void {
    const { metrics, log } = this.#options;
    metrics.connectionsCut.inc({ reason });
    log.warn({ reason, remoteAddress: socket.remoteAddress }, "connection cut");
    socket.destroy();
  }
}

function keyOf({ localAddress, localPort, remoteAddress, remotePort }: Peer): string {
  return `${localAddress}:${localPort} ${remoteAddress}:${remotePort}`;
}
