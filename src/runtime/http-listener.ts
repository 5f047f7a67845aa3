import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { constants, createSecureServer, type Http2SecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";

/** Requests and answers of both versions: those of HTTP/2 have the same shape, and a `stream` besides. */
export type HttpRequest = IncomingMessage;
export type HttpResponse = ServerResponse;

/** What a port grants to each of its clients. `Ms` is milliseconds. */
export interface HttpLimits {
  /** Open at once. Those beyond are closed as they come. */
  readonly connections: number;
  /** The headers of a request in all; and how many. */
  readonly headerBytes: number;
  readonly headers: number;
  /** A TLS handshake; a request from its first byte to its last; a connection on which no request came yet. */
  readonly receiveMs: number;
  /** From a request's headers until its answer is taken. Beyond that its client does not read. */
  readonly answerMs: number;
  /** A connection without a request under way. */
  readonly idleMs: number;
}

/** A certificate with its key, as they are now and as they are renewed. (The oldest TLS that Node speaks is 1.2.) */
export interface CertificateSource {
  readonly current: CertificatePair;
  onRenewal(listener: (pair: CertificatePair) => void): () => void;
}

interface CertificatePair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface HttpListenerOptions {
  readonly bind: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly limits: HttpLimits;
  /** With it the port speaks TLS: HTTP/2, and HTTP/1.1 with clients that do not offer that. Without it HTTP/1.1 in clear. */
  readonly certificates: CertificateSource | undefined;
  /** Must not throw, and ends the response in every case. */
  readonly onRequest: (request: HttpRequest, response: HttpResponse) => void;
}

/** How late a client may be cut: Node looks at the times of HTTP/1.1 so often. */
const LOOK_MS = 500;
/** A connection is closed between two requests after an hour: then a client meets new certificates and new processes. */
const AGE_MS = 3_600_000;
/** For answers on their way at a stop. */
const FLUSH_MS = 1_000;

/**
 * HTTP/2 beyond what `HttpLimits` says. What Node 26 does by itself was tried (test/http-door.test.ts): it ends a session
 * that sends 1,000 resets at once and more than 33 a second after them, settings of more than 32 entries, more than 10
 * unanswered pings, and header frames without an end. Its other defaults are too wide for us:
 */
const HTTP2 = {
  /** The least that RFC 9113 recommends; a browser's page has a handful. More of them wait at the client's side. */
  maxConcurrentStreams: 100,
  /** Megabytes that a session may hold in Node, besides bodies and answers: queued frames and headers. Node: 10. */
  maxSessionMemory: 4,
  /** Frames that make no sense are a broken client's or an attacker's; nobody needs 1,000 of them, as Node allows. */
  maxSessionInvalidFrames: 100,
};

/**
 * A port with limits.
 *
 * Always true: a connection is receiving, answering or idle, each for a bounded time, whatever its client does or leaves
 * undone; at most `limits.connections` are open; after `stop` none is.
 */
export class HttpListener {
  readonly #options: HttpListenerOptions;
  /** When each had its first request, by `performance.now()`. */
  readonly #since = new WeakMap<Socket, number>();
  readonly #sockets = new Set<Socket>();
  readonly #unfinished = new Set<HttpResponse>();
  #server: Server | Http2SecureServer | undefined;
  #endRenewal: (() => void) | undefined;
  #stopping = false;
  #onFinished: (() => void) | undefined;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
  }

  /** Where it listens, once it has started: `http://127.0.0.1:8080`. */
  get url(): string {
    const { address, port, family } = this.#server!.address() as AddressInfo;
    const scheme = this.#options.certificates === undefined ? "http" : "https";
    return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  async start(): Promise<void> {
    const { bind, port, limits, certificates } = this.#options;
    const server = certificates === undefined ? this.#inClear() : this.#secure(certificates);
    this.#server = server;
    // In one of several processes the others would be asked to take what is too much here, again and again.
    Object.assign(server, { maxConnections: limits.connections, dropMaxConnection: true });
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.listen(port, bind);
    await once(server, "listening");
  }

  /** Takes no more requests; answers on their way have a second; then all connections are closed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#endRenewal?.();
    if (this.#server?.listening !== true) return;
    await this.#finished();
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #inClear(): Server {
    const server = createServer(this.#http1(), (request, response) => this.#take(request, response));
    server.maxHeadersCount = this.#options.limits.headers;
    return server;
  }

  #secure(certificates: CertificateSource): Http2SecureServer {
    const { headerBytes, headers, receiveMs } = this.#options.limits;
    const { maxConcurrentStreams, ...others } = HTTP2;
    const server = createSecureServer(
      {
        ...certificates.current,
        handshakeTimeout: receiveMs,
        noDelay: true,
        allowHTTP1: true,
        http1Options: this.#http1(),
        maxHeaderListPairs: headers,
        settings: { maxConcurrentStreams, maxHeaderListSize: headerBytes, enableConnectProtocol: false },
        ...others,
      },
      (request, response) => this.#take(request as unknown as HttpRequest, response as unknown as HttpResponse),
    );
    Object.assign(server, { maxHeadersCount: headers });
    server.on("session", (session) => this.#watch(session));
    this.#endRenewal = certificates.onRenewal((pair) => server.setSecureContext({ ...pair }));
    return server;
  }

  #http1() {
    const { headerBytes, receiveMs, idleMs } = this.#options.limits;
    return {
      maxHeaderSize: headerBytes,
      headersTimeout: receiveMs,
      requestTimeout: receiveMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: LOOK_MS,
    };
  }

  #take(request: HttpRequest, response: HttpResponse): void {
    const stream =
      "stream" in request ? (request as unknown as { stream: { close(code: number): void } }).stream : undefined;
    const { socket } = request;
    const cut = setTimeout(() => {
      if (stream === undefined) socket.destroy();
      else stream.close(constants.NGHTTP2_CANCEL);
    }, this.#options.limits.answerMs);
    this.#unfinished.add(response);
    response.once("close", () => {
      clearTimeout(cut);
      this.#unfinished.delete(response);
      if (this.#unfinished.size === 0) this.#onFinished?.();
    });
    response.once("finish", () => {
      // It was answered before it was read to its end, and nobody will.
      if (!request.complete) stream?.close(constants.NGHTTP2_NO_ERROR);
    });
    if (stream === undefined) {
      const now = performance.now();
      const since = this.#since.get(socket) ?? now;
      this.#since.set(socket, since);
      if (this.#stopping || now - since > AGE_MS) response.setHeader("connection", "close");
    }
    this.#options.onRequest(request, response);
  }

  /** Whatever frames it sends: a session without a stream is idle. */
  #watch(session: ServerHttp2Session): void {
    const { receiveMs, idleMs } = this.#options.limits;
    let streams = 0;
    let idle = setTimeout(() => session.destroy(), receiveMs);
    const age = setTimeout(() => session.close(), AGE_MS);
    session.on("stream", (stream) => {
      streams++;
      clearTimeout(idle);
      stream.once("close", () => {
        streams--;
        if (streams === 0 && !session.destroyed) idle = setTimeout(() => session.destroy(), idleMs);
      });
    });
    session.once("close", () => {
      clearTimeout(idle);
      clearTimeout(age);
    });
  }

  async #finished(): Promise<void> {
    if (this.#unfinished.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FLUSH_MS);
    this.#onFinished = resolve;
    await promise;
    clearTimeout(timer);
  }
}
