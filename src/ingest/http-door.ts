import { setMaxListeners } from "node:events";
import { createRegistry, type DescMethodUnary, type MessageInitShape, type DescMessage } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { universalRequestFromNodeRequest } from "@connectrpc/connect-node";
import type { UniversalHandlerFn, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { BadRequestSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import type { CertificateSource, HttpLimits, HttpRequest, HttpResponse } from "../runtime/http-listener.ts";
import type { Service } from "../runtime/service.ts";
import type { HttpRoutes } from "../telemetry/http-server.ts";
import type { Principal } from "./auth/tokens.ts";
import { COMPRESSIONS } from "./compression.ts";
import { connectErrorOf, mended, requestErrorOf } from "./connect-errors.ts";
import { Cors } from "./cors.ts";
import { OUTCOME_UNKNOWN, outOfTime, RequestError, resourceExhausted } from "./errors.ts";
import type { Gate } from "./gate.ts";
import { boundOrders } from "./http-batches.ts";
import { BodyReader } from "./http-body.ts";
import { boundDeadlines } from "./http-deadlines.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { ServedMethod, ServedService } from "./served.ts";
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
/** Of the body as it comes and of the message in it: who needs no token sends an account's name and its secret. */
const ANYONE_BYTES = 4_096;
/** An answer that fits in one packet comes no sooner for being smaller. Tokens and secrets are shorter, so they are never compressed. */
const COMPRESS_MIN_BYTES = 1_400;

const UNSUPPORTED = 415;
const CONTENT_TYPES = "the content-type must be application/json, application/proto, or one of gRPC-Web";

/** A call on its way through connect: to the service it comes only after its token and its body were good. */
interface Passage {
  readonly method: DescMethodUnary;
  readonly served: ServedMethod;
  readonly mostBytes: number;
  readonly started: number;
  state: "arriving" | "refused" | "serving" | "answered";
  principal: Principal | undefined;
  signal: AbortSignal | undefined;
}

const PASSAGE = createContextKey<Passage | undefined>(undefined);

type Answer = MessageInitShape<DescMessage>;

interface Route {
  readonly method: DescMethodUnary;
  readonly served: ServedMethod;
  /** Of the message, packed or not. */
  readonly mostBytes: number;
  readonly handle: UniversalHandlerFn;
}

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
  readonly #bodies: BodyReader;
  readonly #routes = new Map<string, Route>();
  /** Methods that are not served here. */
  readonly #streaming = new Set<string>();
  readonly #shutdown = new AbortController();
  readonly #turns = new Turns(ANSWERS_PER_TURN);
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
      idleMs: IDLE_MS,
      ageMs: AGE_MS,
    };
    this.certificates = options.certificates;
    this.#cors = new Cors(options.corsOrigins);
    this.#bodies = new BodyReader(MAX_LARGEST_BODIES * maxMessageBytes);
    setMaxListeners(0, this.#shutdown.signal); // one a call
    this.#addRoutes();
  }

  /** Whether calls are taken: not before `start` and not after `stop`. */
  get isOpen(): boolean {
    return this.#open;
  }

  start(): Promise<void> {
    this.#open = true;
    return Promise.resolve();
  }

  /** No new calls; those under way end, or are cut when the time is up. */
  async stop(): Promise<void> {
    this.#open = false;
    if (this.#underWay === 0) return;
    const { promise: idle, resolve } = Promise.withResolvers<void>();
    this.#onIdle = resolve;
    const timer = setTimeout(
      () => this.#shutdown.abort(new ConnectError("shutting down", Code.Unavailable)),
      this.#options.drainTimeoutMs,
    );
    await idle;
    clearTimeout(timer);
  }

  answer(request: HttpRequest, response: HttpResponse): boolean {
    const path = request.url?.split("?", 1)[0] ?? "";
    const route = this.#routes.get(path);
    if (route === undefined && !this.#streaming.has(path)) return false;
    if (this.#cors.answer(request, response)) return true;
    if (request.method !== "POST") {
      response.setHeader("allow", "POST");
      reply(response, 405, "invalid_argument", "calls are made by POST");
    } else if (route === undefined) {
      reply(response, 404, "unimplemented", "streams are served by gRPC");
    } else {
      void this.#call(route, request, response);
    }
    return true;
  }

  async #call(
    { handle, method, served, mostBytes }: Route,
    request: HttpRequest,
    response: HttpResponse,
  ): Promise<void> {
    this.#underWay++;
    const passage: Passage = {
      method,
      served,
      mostBytes,
      started: performance.now(),
      state: "arriving",
      principal: undefined,
      signal: undefined,
    };
    try {
      const values = createContextValues().set(PASSAGE, passage);
      let universal;
      try {
        universal = universalRequestFromNodeRequest(request, response, undefined, values);
      } catch {
        return reply(response, 400, "invalid_argument", "the header host is none");
      }
      boundDeadlines(universal.header, this.#options.requestTimeoutMs);
      // The body is read by us, to its end.
      universal.header.delete("content-length");
      const answer = await handle({ ...universal, body: this.#body(request, universal.header, passage) });
      if (answer.status === UNSUPPORTED) return reply(response, UNSUPPORTED, "invalid_argument", CONTENT_TYPES);
      await send(response, answer);
    } catch (error) {
      this.#options.gate.refuse(method, error, undefined);
      reply(response, 500, "internal", "internal error");
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

  #addRoutes(): void {
    const { maxMessageBytes } = this.#options;
    const options = {
      grpc: false,
      acceptCompression: COMPRESSIONS,
      compressMinBytes: COMPRESS_MIN_BYTES,
      // Kept, each would be an object: a megabyte that holds nothing else took 460 ms and 95 MB.
      binaryOptions: { readUnknownFields: false },
      // The registry is for the refusals within a batch's answer, which hold their details as google.protobuf.Any.
      jsonOptions: { ignoreUnknownFields: false, registry: createRegistry(BadRequestSchema, RetryInfoSchema) },
      shutdownSignal: this.#shutdown.signal,
      requestGate: (context: HandlerContext) => this.#admit(context),
    };
    for (const { service, methods } of this.#options.services) {
      for (const method of service.methods) {
        const path = `/${service.typeName}/${method.name}`;
        const served = methods[method.localName];
        if (method.methodKind !== "unary" || served === undefined) {
          this.#streaming.add(path);
          continue;
        }
        const mostBytes = served.access === "anyone" ? Math.min(ANYONE_BYTES, maxMessageBytes) : maxMessageBytes;
        // A router each: `rpc` takes options as well, but with them connect forgets that it serves no gRPC.
        const router = createConnectRouter({ ...options, readMaxBytes: mostBytes });
        router.rpc(method as DescMethodUnary, (message, context) => this.#serve(message, context));
        const handle = router.handlers.at(-1)!;
        this.#routes.set(path, { method: method as DescMethodUnary, served, mostBytes, handle });
      }
    }
  }

  async #admit(context: HandlerContext): Promise<void> {
    const passage = context.values.get(PASSAGE)!;
    passage.signal = context.signal;
    const end = (): void => this.#ended(passage, context.signal.reason);
    if (context.signal.aborted) end();
    else context.signal.addEventListener("abort", end, { once: true });
    try {
      if (!this.#open)
        throw new RequestError("UNAVAILABLE", "no calls are taken now", { retryAfterMs: TOO_MANY_RETRY_MS });
      if (this.#underWay > MAX_CALLS) throw resourceExhausted("too many calls at once", TOO_MANY_RETRY_MS);
      const { gate } = this.#options;
      passage.principal = await gate.admit(
        passage.served.access,
        context.requestHeader.get("authorization") ?? undefined,
      );
    } catch (error) {
      throw this.#refusal(passage, error, context);
    }
  }

  async #serve(message: object, context: HandlerContext): Promise<Answer> {
    const passage = context.values.get(PASSAGE)!;
    const { method, served, started } = passage;
    const { metrics, requestTimeoutMs } = this.#options;
    passage.state = "serving";
    try {
      const call = {
        principal: passage.principal!,
        deadline: Date.now() + (context.timeoutMs() ?? requestTimeoutMs),
        get cancelled() {
          return context.signal.aborted;
        },
      };
      const answer = await Promise.race([served.serve(message as never, call), cutOff(context.signal)]);
      await this.#turns.next();
      passage.state = "answered";
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

  #refusal(passage: Passage, thrown: unknown, context?: HandlerContext): ConnectError {
    passage.state = "refused";
    const given = context?.requestHeader.get("x-request-id") ?? undefined;
    return connectErrorOf(this.#options.gate.refuse(passage.method, thrown, given));
  }

  /** What connect itself refuses, bytes that are no message above all, is told nowhere but in the call's signal. */
  #ended(passage: Passage, reason: unknown): void {
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

/** Rejects when the call has no time any more, or nobody waits for it. */
function cutOff(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => {
      const code = signal.reason instanceof ConnectError ? signal.reason.code : Code.Canceled;
      reject(
        code === Code.DeadlineExceeded
          ? outOfTime()
          : code === Code.Unavailable
            ? new RequestError("UNAVAILABLE", `shutting down: ${OUTCOME_UNKNOWN}`)
            : new RequestError("CANCELLED", "the client has gone"),
      );
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}

/** An answer in one piece. */
async function send(response: HttpResponse, { status, header, body }: UniversalServerResponse): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body ?? []) pieces.push(piece);
  const whole = Buffer.concat(pieces);
  response.statusCode = status;
  for (const [name, value] of header ?? []) response.setHeader(name, value);
  response.setHeader("content-length", whole.length);
  response.end(whole);
}

/** Where it is not a call of a protocol, the answer is an error of Connect's all the same: every client can read it. */
function reply(response: HttpResponse, status: number, code: string, message: string): void {
  if (response.headersSent) return;
  const body = JSON.stringify({ code, message });
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(body));
  response.end(body);
}
