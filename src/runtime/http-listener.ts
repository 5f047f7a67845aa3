import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { constants, createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, Socket } from "node:net";
import { cutStream, watchSession } from "./http2-session.ts";

/** Requests and answers of both versions: those of HTTP/2 have the same shape, and a `stream` besides. */
export type HttpRequest = IncomingMessage;
export type HttpResponse = ServerResponse;

/** What is asked for, without a query. */
export function pathOf(request: HttpRequest): string {
  return request.url?.split("?", 1)[0] ?? "";
}

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
  /** The same for requests whose answers take their time; undefined for the others. */
  readonly longAnswerMs?: (request: HttpRequest) => number | undefined;
  /** A connection without a request under way. */
  readonly idleMs: number;
  /** After that a connection takes no more requests: its client comes again, and meets new certificates and processes. */
  readonly ageMs: number;
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
  /** A connection could not be taken: this process has too many files open, say. The port goes on. */
  readonly onError: (error: Error) => void;
}

/** How late a client may be cut: Node looks at the times of HTTP/1.1 so often. */
const LOOK_MS = 500;
/**
 * Requests under way on one connection: the least that RFC 9113 recommends for the streams of HTTP/2, where more of them wait
 * at the client's side. On one of HTTP/1.1 hardly a client asks again before it was answered.
 */
const MAX_CONCURRENT = 100;
/** For answers on their way at a stop. */
const FLUSH_MS = 1_000;

/**
 * A port with limits.
 *
 * Against floods by HTTP/2 it relies on what Node 26 does by itself, which was tried (http-listener.test.ts): it ends a session
 * that resets more than 1,000 streams at once or 33 a second after them, that sends PING, SETTINGS, PRIORITY or empty frames
 * without end, or whose headers go on for ever; that holds 10 MB in queued frames it gives no new streams, and 1,000 frames that
 * make no sense end it. (Streams beyond the bound count as such: a lower number would punish a busy client that has not read our
 * settings yet.) Until a client has acknowledged our settings, its headers may have 64 KiB.
 *
 * Always true: a connection is receiving, answering or idle, each for a bounded time, whatever its client does or leaves
 * undone; at most `limits.connections` are open; after `stop` none is.
 */
export class HttpListener {
  readonly #options: HttpListenerOptions;
  /** Of HTTP/1.1: when each had its first request, by `performance.now()`, and how many it has under way. */
  readonly #pipelines = new WeakMap<Socket, { readonly since: number; underWay: number }>();
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
    const { bind, port, limits, certificates, onError } = this.#options;
    const server = certificates === undefined ? this.#inClear() : this.#secure(certificates);
    this.#server = server;
    // In one of several processes the others would be asked to take what is too much here, again and again.
    Object.assign(server, { maxConnections: limits.connections, dropMaxConnection: true });
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    // One that we do not know may be disregarded. Node answers it by itself where nobody listens, and that has no bounds.
    server.on("checkExpectation", (request: HttpRequest, response: HttpResponse) => this.#take(request, response));
    server.listen(port, bind);
    await once(server, "listening");
    server.on("error", onError);
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
    const server = createSecureServer(
      {
        ...certificates.current,
        handshakeTimeout: receiveMs,
        noDelay: true,
        allowHTTP1: true,
        http1Options: this.#http1(),
        maxHeaderListPairs: headers,
        settings: { maxConcurrentStreams: MAX_CONCURRENT, maxHeaderListSize: headerBytes },
      },
      (request, response) => this.#take(request as unknown as HttpRequest, response as unknown as HttpResponse),
    );
    Object.assign(server, { maxHeadersCount: headers }); // of HTTP/1.1
    // As with expectations. Of HTTP/1.1 it is the socket, which Node closes where nobody listens.
    server.on("connect", (request: HttpRequest, response: HttpResponse | Socket) => {
      if (response instanceof Socket) response.destroy();
      else this.#take(request, response);
    });
    // Node makes a session of it as soon as we have seen it.
    let secured: Socket;
    server.prependListener("secureConnection", (socket) => (secured = socket));
    server.on("session", (session) => watchSession(session, secured, this.#options.limits));
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
    const { socket } = request;
    const stream = "stream" in request ? (request.stream as ServerHttp2Stream) : undefined;
    if (stream === undefined && !this.#follows(socket, response)) return;
    const { answerMs, longAnswerMs } = this.#options.limits;
    const cut = setTimeout(
      () => {
        if (stream === undefined) socket.destroy();
        else cutStream(stream);
      },
      longAnswerMs?.(request) ?? answerMs,
    );
    this.#unfinished.add(response);
    response.once("close", () => {
      clearTimeout(cut);
      this.#unfinished.delete(response);
      if (this.#unfinished.size === 0) this.#onFinished?.();
    });
    stream?.once("finish", () => {
      // It was answered before it was read to its end, and nobody will.
      if (!request.complete) stream.close(constants.NGHTTP2_NO_ERROR);
    });
    this.#options.onRequest(request, response);
  }

  /** One more request on a connection of HTTP/1.1. False where it was one too many: the connection is closed. */
  #follows(socket: Socket, response: HttpResponse): boolean {
    const now = performance.now();
    const pipeline = this.#pipelines.get(socket) ?? { since: now, underWay: 0 };
    this.#pipelines.set(socket, pipeline);
    if (pipeline.underWay === MAX_CONCURRENT) {
      socket.destroy();
      return false;
    }
    pipeline.underWay++;
    response.once("close", () => pipeline.underWay--);
    if (this.#stopping || now - pipeline.since > this.#options.limits.ageMs) response.setHeader("connection", "close");
    return true;
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
