import { setMaxListeners } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import type { DescMethod, Message } from "@bufbuild/protobuf";
import { Code, ConnectError, createContextKey, createContextValues, type HandlerContext } from "@connectrpc/connect";
import { universalRequestFromNodeRequest } from "@connectrpc/connect-node";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { type CertificateSource, type HttpLimits, type HttpRequest, pathOf } from "../runtime/http-listener.ts";
import type { HttpResponse } from "../runtime/http-listener.ts";
import type { Service } from "../runtime/service.ts";
import type { HttpRoutes } from "../telemetry/http-server.ts";
import type { Principal } from "./auth/tokens.ts";
import { connectErrorOf, mended, requestErrorOf } from "./connect-errors.ts";
import { Cors } from "./cors.ts";
import { RequestError, resourceExhausted } from "./errors.ts";
import type { Gate } from "./gate.ts";
import { cut, pour, reply, send, tellTime } from "./http-answers.ts";
import { boundOrders } from "./http-batches.ts";
import { BodyReader } from "./http-body.ts";
import { boundDeadlines, cutOff } from "./http-deadlines.ts";
import { type Answer, HttpMethods, type Route } from "./http-methods.ts";
import { HttpStream } from "./http-stream.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Access, ServedMethod, ServedService, ServedStream } from "./served.ts";
import { SessionCookie } from "./session-cookie.ts";
import { MAX_OPEN_MS, STOPPING } from "./tenure.ts";
import { Turns } from "./turns.ts";

export interface HttpDoorOptions {
  readonly services: readonly ServedService[];
  readonly gate: Gate;
  /** Whose pages may call; see `Cors`. */
  readonly corsOrigins: readonly string[];
  /** With them the port speaks TLS. */
  readonly certificates: CertificateSource | undefined;
  readonly maxConnections: number;
  readonly maxMessageBytes: number;
  /** The bound of a call whose client gives no deadline, or a later one. */
  readonly requestTimeoutMs: number;
  /** How long calls under way may take to end at a stop; then they are cut. */
  readonly drainTimeoutMs: number;
  readonly metrics: IngestMetrics;
}

/** Headers of a call: a token of some 320 characters, what tracing adds, what a browser and its proxies tell. */
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_HEADERS = 100;
/** A megabyte at 1 Mbit/s takes 8 s. */
const RECEIVE_MS = 10_000;
/** Common load balancers give up an idle connection after 60 s; whoever gives it up first must not be us. */
const IDLE_MS = 65_000;
/** A renewed certificate is good for weeks before the old one ends; a new connection costs a millisecond. */
const AGE_MS = 3_600_000;
/** A second's calls; with its connection one that waits was measured at 19 kB of the heap. */
const MAX_CALLS = 10_000;
const TOO_MANY_RETRY_MS = 1_000;
/** An answer takes 55 µs of CPU: 500 at once were measured to hold up the process for 25 to 50 ms, and 16 take 0.9 ms. */
const ANSWERS_PER_TURN = 16;
/** Bodies that are still coming, in the largest that are allowed. */
const MAX_LARGEST_BODIES = 64;

const UNSUPPORTED = 415;
const CONTENT_TYPES = "the content-type must be application/json, application/proto, or one of gRPC-Web";
const STREAM_CONTENT_TYPES =
  "the content-type must be application/connect+json, application/connect+proto, or one of gRPC-Web";

/** A stream ends by itself before that (`Tenure`), and its client has time to read it. */
const STREAM_MS = MAX_OPEN_MS + 60_000;
/** How far beyond its time a stream may go on. */
const SWEEP_MS = 250;

/** A call on its way through connect: to the service it comes only after its token and its body were good. */
interface Passage {
  readonly method: DescMethod;
  readonly access: Access;
  readonly mostBytes: number;
  readonly headers: IncomingHttpHeaders;
  readonly started: number;
  /** The value of its header, or what its session stands for. */
  authorization: string | undefined;
  state: "arriving" | "refused" | "serving" | "answered";
  principal: Principal | undefined;
  signal: AbortSignal | undefined;
  /** Ends the response as it is. */
  readonly cut: () => void;
}

const PASSAGE = createContextKey<Passage | undefined>(undefined);

/**
 * Connect, gRPC-Web and plain JSON. It translates, as the gRPC door does: what calls do is the services' business.
 *
 * Always true: no body is read before its token was found good; each call that came is counted once, and ends by its deadline,
 * its client's or ours, whatever its client or the servers behind us do.
 */
export class HttpDoor implements Service, HttpRoutes {
  readonly name = "http-door";
  readonly limits: HttpLimits;
  readonly certificates: CertificateSource | undefined;
  readonly #options: HttpDoorOptions;
  readonly #cors: Cors;
  readonly #cookie: SessionCookie;
  readonly #bodies: BodyReader;
  readonly #methods: HttpMethods;
  readonly #streams = new Set<HttpStream>();
  readonly #shutdown = new AbortController();
  readonly #turns = new Turns(ANSWERS_PER_TURN);
  #sweeper: NodeJS.Timeout | undefined;
  #underWay = 0;
  #onIdle: (() => void) | undefined;
  #open = false;

  constructor(options: HttpDoorOptions) {
    const { maxConnections, maxMessageBytes, requestTimeoutMs } = options;
    this.#options = options;
    const receiveMs = Math.min(RECEIVE_MS, requestTimeoutMs);
    this.limits = {
      connections: maxConnections,
      headerBytes: MAX_HEADER_BYTES,
      headers: MAX_HEADERS,
      receiveMs,
      answerMs: requestTimeoutMs + receiveMs,
      longAnswerMs: (request) => (this.#methods.at(pathOf(request))?.isStream ? STREAM_MS + receiveMs : undefined),
      idleMs: IDLE_MS,
      ageMs: AGE_MS,
    };
    this.certificates = options.certificates;
    this.#cors = new Cors(options.corsOrigins);
    this.#cookie = new SessionCookie(options.certificates !== undefined);
    this.#bodies = new BodyReader(MAX_LARGEST_BODIES * maxMessageBytes);
    setMaxListeners(0, this.#shutdown.signal); // one a call
    this.#methods = new HttpMethods({
      services: options.services,
      maxMessageBytes,
      shutdownSignal: this.#shutdown.signal,
      admit: (context) => this.#admit(context),
      serve: (served, message, context) => this.#serve(served, message, context),
      stream: (served, message, context) => this.#stream(served, message, context),
    });
  }

  /** Whether calls are taken: not before `start` and not after `stop`. */
  get isOpen(): boolean {
    return this.#open;
  }

  start(): Promise<void> {
    this.#open = true;
    this.#sweeper = setInterval(() => {
      const now = performance.now();
      for (const stream of this.#streams) stream.sweep(now);
    }, SWEEP_MS);
    return Promise.resolve();
  }

  /** No new calls; those under way end, or are cut when the time is up. */
  async stop(): Promise<void> {
    this.#open = false;
    for (const stream of this.#streams) stream.finish(STOPPING);
    await this.#ended();
    clearInterval(this.#sweeper);
  }

  async #ended(): Promise<void> {
    if (this.#underWay === 0) return;
    const { promise: idle, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    const timer = setTimeout(() => {
      this.#shutdown.abort(new ConnectError("shutting down", Code.Unavailable));
      for (const stream of this.#streams) stream.cut();
    }, this.#options.drainTimeoutMs);
    await idle;
    clearTimeout(timer);
  }

  answer(request: HttpRequest, response: HttpResponse): boolean {
    const path = pathOf(request);
    const route = this.#methods.at(path);
    if (route === undefined && !this.#methods.isBidirectional(path)) return false;
    if (this.#cors.answer(request, response)) return true;
    if (request.method !== "POST") {
      response.setHeader("allow", "POST");
      reply(response, 405, "invalid_argument", "calls are made by POST");
    } else if (route === undefined) {
      reply(response, 404, "unimplemented", "streams both ways are served by gRPC");
    } else {
      void this.#call(route, request, response);
    }
    return true;
  }

  async #call(route: Route, request: HttpRequest, response: HttpResponse): Promise<void> {
    const { handle, method, access, mostBytes, isStream } = route;
    this.#underWay++;
    const passage: Passage = {
      method,
      access,
      mostBytes,
      headers: request.headers,
      started: performance.now(),
      authorization: request.headers.authorization,
      state: "arriving",
      principal: undefined,
      signal: undefined,
      cut: () => cut(response),
    };
    try {
      const values = createContextValues().set(PASSAGE, passage);
      let universal;
      try {
        universal = universalRequestFromNodeRequest(request, response, undefined, values);
      } catch {
        return reply(response, 400, "invalid_argument", "the header host is none");
      }
      boundDeadlines(universal.header, isStream ? STREAM_MS : this.#options.requestTimeoutMs);
      // The body is read by us, to its end.
      universal.header.delete("content-length");
      const answer = await handle({ ...universal, body: this.#body(request, universal.header, passage) });
      if (answer.status === UNSUPPORTED) {
        return reply(response, UNSUPPORTED, "invalid_argument", isStream ? STREAM_CONTENT_TYPES : CONTENT_TYPES);
      }
      await (isStream ? pour(response, answer, universal.signal) : send(response, answer));
    } catch (error) {
      this.#options.gate.refuse(method, error, undefined);
      if (response.headersSent) cut(response);
      else reply(response, 500, "internal", "internal error");
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) this.#onIdle?.();
    }
  }

  /** Begins to read when connect asks for it: after the token was looked at. */
  async *#body(request: HttpRequest, header: Headers, passage: Passage): AsyncGenerator<Uint8Array> {
    const { method, mostBytes } = passage;
    try {
      const body = await this.#bodies.read(request, mostBytes, passage.signal!);
      if (method === OrderService.method.submitOrders) await boundOrders(body, header, mostBytes);
      yield body;
    } catch (error) {
      throw error instanceof RequestError ? this.#refusal(passage, error) : error;
    }
  }

  async #admit(context: HandlerContext): Promise<void> {
    const passage = context.values.get(PASSAGE)!;
    passage.signal = context.signal;
    const end = (): void => this.#aborted(passage, context.signal.reason);
    if (context.signal.aborted) end();
    else context.signal.addEventListener("abort", end, { once: true });
    try {
      if (!this.#open)
        throw new RequestError("UNAVAILABLE", "no calls are taken now", { retryAfterMs: TOO_MANY_RETRY_MS });
      if (this.#underWay > MAX_CALLS) throw resourceExhausted("too many calls at once", TOO_MANY_RETRY_MS);
      const { gate } = this.#options;
      if (passage.access !== "anyone") passage.authorization ??= this.#cookie.authorizationOf(passage.headers);
      passage.principal = await gate.admit(passage.access, passage.authorization);
    } catch (error) {
      throw this.#refusal(passage, error, context);
    }
  }

  async #serve(served: ServedMethod, message: object, context: HandlerContext): Promise<Answer> {
    const passage = context.values.get(PASSAGE)!;
    const { method, started } = passage;
    const { metrics, requestTimeoutMs } = this.#options;
    const cookie = this.#cookie;
    passage.state = "serving";
    try {
      const call = {
        principal: passage.principal!,
        get session() {
          return cookie.keeperFor(passage.headers, context.responseHeader);
        },
        deadline: Date.now() + (context.timeoutMs() ?? requestTimeoutMs),
        get cancelled() {
          return context.signal.aborted;
        },
      };
      const answer = await Promise.race([served.serve(message as never, call), cutOff(context.signal)]);
      await this.#turns.next();
      passage.state = "answered";
      if (passage.headers.cookie !== undefined) tellTime(context.responseHeader, started);
      metrics.requests.inc({ method: method.name, code: "OK" });
      return answer as Answer;
    } catch (error) {
      const refusal = this.#refusal(passage, error, context);
      await this.#turns.next();
      throw refusal;
    } finally {
      metrics.latency.observe({ method: method.name }, (performance.now() - started) / 1000);
    }
  }

  async *#stream(served: ServedStream, message: Message, context: HandlerContext): AsyncGenerator<Message> {
    const passage = context.values.get(PASSAGE)!;
    const { method } = passage;
    passage.state = "serving";
    const options = {
      method,
      served,
      gate: this.#options.gate,
      authorization: passage.authorization,
      deadline: Date.now() + (context.timeoutMs() ?? STREAM_MS),
      signal: context.signal,
      cut: passage.cut,
    };
    const stream = new HttpStream(options, performance.now());
    this.#streams.add(stream);
    try {
      yield* stream.answers(message);
      passage.state = "answered";
    } catch (error) {
      throw this.#refusal(passage, error, context);
    } finally {
      this.#streams.delete(stream);
    }
  }

  #refusal(passage: Passage, thrown: unknown, context?: HandlerContext): ConnectError {
    passage.state = "refused";
    const given = context?.requestHeader.get("x-request-id") ?? undefined;
    return connectErrorOf(this.#options.gate.refuse(passage.method, thrown, given));
  }

  /** What connect itself refuses, bytes that are no message above all, is told nowhere but in the call's signal. */
  #aborted(passage: Passage, reason: unknown): void {
    const { state, method } = passage;
    if (!(reason instanceof ConnectError)) return;
    if (state === "arriving") {
      passage.state = "refused";
      this.#options.gate.refuse(method, requestErrorOf(mended(reason)), undefined);
    } else if (state === "answered" && reason.code === Code.Internal && reason.cause !== undefined) {
      // An answer that cannot be written as JSON: a bug.
      this.#options.gate.refuse(method, reason, undefined);
    }
  }
}
