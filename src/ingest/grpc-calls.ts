import { constants, type Http2Session, type ServerHttp2Stream } from "node:http2";
import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
} from "@grpc/grpc-js";
import { outOfTime, RequestError, resourceExhausted } from "./errors.ts";
import { STOPPING } from "./tenure.ts";

/** What grpc-js tells of a call as it goes on. */
export type CallListener = Parameters<ServerInterceptingCallInterface["start"]>[0];
export type CallStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

export interface OpenCallsOptions {
  /** From the first header of a call with one answer until its status, in milliseconds. */
  readonly callTimeoutMs: number;
  /** The same for streams that nobody else ends: health and reflection. */
  readonly streamTimeoutMs: number;
  /** The largest message that is taken. */
  readonly maxMessageBytes: number;
  /** Whether it needs no token. */
  readonly isAnyones: (path: string) => boolean;
  /** Looks at the token of a call: undefined where it may go on, else its status. Never rejects. */
  readonly admit: (path: string, metadata: Metadata) => CallStatus | undefined | Promise<CallStatus | undefined>;
  /** Who listens to a call in the place of grpc-js' own streams, if anyone; such a one sees to its token and end itself. */
  readonly listenerOf: (path: string, call: OpenCall) => CallListener | undefined;
  readonly statusOf: (path: string, error: RequestError) => CallStatus;
  /** Ends the connection of a client that does not read. */
  readonly cut: (peer: Peer) => void;
}

/** The two ends of a connection. */
export interface Peer {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** For which a client may not read what it was answered: as long as a person waits. */
const UNREAD_MS = 10_000;
/**
 * For which a client may leave a call open that was answered before its request was whole: some round trips. One that
 * has read the status ends it at once; a reset that comes together with the status would make it forget that.
 */
const LINGER_MS = 2_000;
/** Calls that need a token, as many as the HTTP door takes: a second's. */
const MAX_CALLS = 10_000;
/** Calls of one connection that need none: a health watch, reflection, and sign-ins, of which more would wait for each other. */
const MAX_ANYONES_CALLS = 16;
/**
 * What one of those brings in all: an account's name and its secret, the name of a service; who asks reflection for every
 * name that it has here brings 5 kB. It answers whether or not its client reads, so more than this would wait here.
 */
const ANYONES_BYTES = 8_192;
/** Messages on their way in all, in the largest that are allowed. */
const MAX_LARGEST_MESSAGES = 64;
/** An order, or twenty. So small a one is taken beside any number of large ones. */
const SMALL_BYTES = 4_096;
const RETRY_MS = 1_000;

const TOO_MANY = resourceExhausted("too many calls at once", RETRY_MS);
const NO_ROOM = resourceExhausted("too many large requests at once", RETRY_MS);
const TOO_LARGE = new RequestError("RESOURCE_EXHAUSTED", `a request without a token may have ${ANYONES_BYTES} bytes`);
const TOO_LATE = outOfTime();
const OPEN_FOR_LONG = new RequestError("UNAVAILABLE", "this stream has been open for long: open another");

/**
 * A compressed message is unpacked by grpc-js as soon as it is there, before anyone asked who sent it, and any number of
 * them at once: a megabyte on the wire is a gigabyte in memory. An order is some 100 bytes, so none is taken.
 */
const COMPRESSED: CallStatus = {
  code: status.UNIMPLEMENTED,
  details: "compressed messages are not taken here",
  metadata: Metadata.fromHttp2Headers({ "grpc-accept-encoding": "identity" }),
};

/**
 * The calls of the door, from their first header to their end. It sees to what grpc-js leaves open: who sends a request, and how
 * many and how large they are together; requests that never come whole, calls without a deadline behind a server that says
 * nothing, answers that are not read, clients that do not end what is over.
 *
 * Always true: a call that has not ended is counted, and in one of the sets, unless it sees to its end itself; those of a set
 * are in the order of their `latest`, so only what is due is looked at. `#held` is what all of them hold.
 */
export class OpenCalls {
  readonly #options: OpenCallsOptions;
  readonly #unary = new Set<OpenCall>();
  readonly #streaming = new Set<OpenCall>();
  /** Whose status was sent and not yet taken. */
  readonly #ending = new Set<OpenCall>();
  /** Which are over, and whose clients may have more to say, for ever: until then grpc-js keeps what came. */
  readonly #lingering = new Set<OpenCall>();
  #needingToken = 0;
  /** Those that need none, by connection. */
  readonly #anyones = new Map<Http2Session | undefined, number>();
  #held = 0;

  constructor(options: OpenCallsOptions) {
    this.#options = options;
  }

  readonly intercept: ServerInterceptor = ({ path, requestStream, responseStream }, next) => {
    const { callTimeoutMs, streamTimeoutMs, listenerOf, isAnyones } = this.#options;
    const isUnary = !requestStream && !responseStream;
    const call = new OpenCall(this, next, { path, isUnary, isAnyones: isAnyones(path) });
    this.#count(call, 1);
    const refusal = this.#refusalOf(call, next);
    if (refusal !== undefined) call.sendStatus(refusal);
    else if (isUnary) this.#put(call, this.#unary, callTimeoutMs);
    else {
      call.own = listenerOf(path, call);
      if (call.own === undefined) this.#put(call, this.#streaming, streamTimeoutMs);
    }
    return call;
  };

  /** As the option says. */
  admit(call: OpenCall, metadata: Metadata): CallStatus | undefined | Promise<CallStatus | undefined> {
    return call.own === undefined ? this.#options.admit(call.path, metadata) : undefined;
  }

  /** So many bytes came, of a message that is not known to be whole. */
  received(call: OpenCall, bytes: number): void {
    call.held += bytes;
    this.#held += bytes;
    const room = MAX_LARGEST_MESSAGES * this.#options.maxMessageBytes;
    if (call.isAnyones && call.held > ANYONES_BYTES) this.#refuse(call, TOO_LARGE);
    else if (this.#held > room && call.held > SMALL_BYTES) this.#refuse(call, NO_ROOM);
  }

  /** Its message is whole. */
  taken(call: OpenCall): void {
    if (!call.isAnyones) this.#release(call);
  }

  /** The call's status was sent, or is about to be: its client may take so long to read it. */
  ending(call: OpenCall): void {
    this.#put(call, this.#ending, UNREAD_MS);
  }

  /** It is over, but for what its client may still send. Once for each call. */
  ended(call: OpenCall, lingers: boolean): void {
    this.#count(call, -1);
    if (lingers) this.#put(call, this.#lingering, LINGER_MS);
    else this.closed(call);
  }

  /** Nothing is left of it. */
  closed(call: OpenCall): void {
    call.place?.delete(call);
    call.place = undefined;
    this.#release(call);
  }

  /** `now` by performance.now(). */
  sweep(now: number): void {
    for (const [calls, reason] of [
      [this.#unary, TOO_LATE],
      [this.#streaming, OPEN_FOR_LONG],
    ] as const) {
      for (const call of calls) {
        if (call.latest > now) break;
        this.#end(call, reason);
      }
    }
    for (const call of this.#ending) {
      if (call.latest > now) break;
      if (call.own !== undefined && !call.wasReset) {
        // Who reads one stream too slowly may read the others of its connection. Clients take this for RESOURCE_EXHAUSTED.
        call.wasReset = true;
        this.#put(call, this.#ending, UNREAD_MS);
        call.reset(constants.NGHTTP2_ENHANCE_YOUR_CALM);
        continue;
      }
      this.#ending.delete(call);
      this.#options.cut(call.getConnectionInfo());
    }
    for (const call of this.#lingering) {
      if (call.latest > now) break;
      this.#lingering.delete(call);
      call.reset(constants.NGHTTP2_NO_ERROR);
    }
  }

  /** Ends the streams that nobody else ends. */
  stop(): void {
    for (const call of this.#streaming) this.#end(call, STOPPING);
  }

  #end(call: OpenCall, reason: RequestError): void {
    this.ending(call);
    // At the client's own deadline grpc-js has sent a status, and at a second one it forgets the call.
    if (Number(call.getDeadline()) > Date.now()) call.sendStatus(this.#options.statusOf(call.path, reason));
  }

  #refuse(call: OpenCall, reason: RequestError): void {
    // More of it may have come in the same read.
    if (call.refused) return;
    call.refused = true;
    if (call.isUnary) call.sendStatus(this.#options.statusOf(call.path, reason));
    // A status would wait behind answers that are not read, while the message goes on. Clients take this for RESOURCE_EXHAUSTED.
    else call.reset(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #refusalOf(call: OpenCall, next: ServerInterceptingCallInterface): CallStatus | undefined {
    // Private in grpc-js, which shows the header to nobody; what it holds is tested (test/grpc-door-attacks.test.ts).
    if ("incomingEncoding" in next && next.incomingEncoding !== "identity") return COMPRESSED;
    const tooMany = call.isAnyones
      ? this.#anyones.get(call.session)! > MAX_ANYONES_CALLS
      : this.#needingToken > MAX_CALLS;
    return tooMany ? this.#options.statusOf(call.path, TOO_MANY) : undefined;
  }

  #release(call: OpenCall): void {
    this.#held -= call.held;
    call.held = 0;
  }

  #count(call: OpenCall, change: 1 | -1): void {
    if (!call.isAnyones) {
      this.#needingToken += change;
      return;
    }
    const count = (this.#anyones.get(call.session) ?? 0) + change;
    if (count === 0) this.#anyones.delete(call.session);
    else this.#anyones.set(call.session, count);
  }

  #put(call: OpenCall, calls: Set<OpenCall>, timeoutMs: number): void {
    call.place?.delete(call);
    call.latest = performance.now() + timeoutMs;
    call.place = calls;
    calls.add(call);
  }
}

/**
 * A call as grpc-js hands it on: what passes is passed on at once, but for the token, before which nothing is read. (Its own
 * class for interceptors holds up messages for theirs; there is nothing to hold up here.)
 */
export class OpenCall extends ServerInterceptingCall implements CallListener {
  readonly path: string;
  readonly isUnary: boolean;
  readonly isAnyones: boolean;
  readonly session: Http2Session | undefined;
  /** By performance.now(). */
  latest = Infinity;
  place: Set<OpenCall> | undefined;
  /** Bytes of a message that is not whole; of all that came, where it needs no token. */
  held = 0;
  /** For its size. */
  refused = false;
  /** Its status was not read in time. */
  wasReset = false;
  /** In the place of grpc-js' listener. */
  own: CallListener | undefined;
  readonly #calls: OpenCalls;
  readonly #next: ServerInterceptingCallInterface;
  readonly #stream: ServerHttp2Stream;
  #listener: CallListener | undefined;
  #begun = false;
  #halfClosed = false;
  #over = false;

  constructor(
    calls: OpenCalls,
    next: ServerInterceptingCallInterface,
    { path, isUnary, isAnyones }: Pick<OpenCall, "path" | "isUnary" | "isAnyones">,
  ) {
    super(next);
    this.#calls = calls;
    this.#next = next;
    this.path = path;
    this.isUnary = isUnary;
    this.isAnyones = isAnyones;
    // Private in grpc-js: what it holds is tested as well.
    this.#stream = (next as unknown as { readonly stream: ServerHttp2Stream }).stream;
    this.session = this.#stream.session;
    // Behind grpc-js' own listener, which hands on what is whole in a later microtask.
    this.#stream.on("data", (chunk: Buffer) => {
      if (!this.#over) calls.received(this, chunk.length);
    });
  }

  override start(listener: CallListener): void {
    this.#listener = this.own ?? listener;
    this.#next.start(this);
    // It was refused, or its client has taken it back, before it began: then grpc-js tells of no end.
    if (!this.#begun) this.onCancel();
  }

  override sendMetadata(metadata: Metadata): void {
    this.#next.sendMetadata(metadata);
  }

  override sendMessage(message: unknown, taken: () => void): void {
    this.#next.sendMessage(message, taken);
  }

  override sendStatus(status: CallStatus): void {
    this.#next.sendStatus(status);
  }

  /** `code` is one of HTTP/2. */
  reset(code: number): void {
    this.#stream.close(code);
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#begun = true;
    const goOn = (refusal: CallStatus | undefined): void => {
      if (refusal === undefined) this.#listener?.onReceiveMetadata(metadata);
      else this.sendStatus(refusal);
    };
    const refusal = this.#calls.admit(this, metadata);
    if (refusal instanceof Promise) void refusal.then(goOn);
    else goOn(refusal);
  }

  onReceiveMessage(message: unknown): void {
    // Of a call that is over its client may still send the rest: grpc-js would serve it, and nobody would learn of its end.
    if (this.#over) return;
    this.#calls.taken(this);
    this.#listener?.onReceiveMessage(message);
  }

  onReceiveHalfClose(): void {
    if (this.#over) return;
    this.#halfClosed = true;
    this.#listener?.onReceiveHalfClose();
  }

  /** Comes at the end of every call. */
  onCancel(): void {
    if (this.#over) return;
    this.#over = true;
    const lingers = !this.#halfClosed && !this.#stream.destroyed;
    this.#calls.ended(this, lingers);
    if (lingers) this.#stream.once("close", () => this.#calls.closed(this));
    this.#listener?.onCancel();
  }
}
