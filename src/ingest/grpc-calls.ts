import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
} from "@grpc/grpc-js";

/** What grpc-js tells of a call as it goes on. */
export type CallListener = Parameters<ServerInterceptingCallInterface["start"]>[0];
export type CallStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

export interface OpenCallsOptions {
  /** From the first header of a call with one answer until its status, in milliseconds. */
  readonly callTimeoutMs: number;
  /** The same for streams that nobody else ends: health and reflection. */
  readonly streamTimeoutMs: number;
  /** Who listens to a call in the place of grpc-js' own streams, if anyone; such a one sees to its end itself. */
  readonly listenerOf: (path: string, call: OpenCall) => CallListener | undefined;
  /** The status of a call whose time is up. */
  readonly tooLate: (path: string) => CallStatus;
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
 * A compressed message is unpacked by grpc-js as soon as it is there, before anyone asked who sent it, and any number of
 * them at once: a megabyte on the wire is a gigabyte in memory. An order is some 100 bytes, so none is taken.
 */
const COMPRESSED: CallStatus = {
  code: status.UNIMPLEMENTED,
  details: "compressed messages are not taken here",
  metadata: Metadata.fromHttp2Headers({ "grpc-accept-encoding": "identity" }),
};

/**
 * The calls of the door, from their first header to their end. It sees to what grpc-js leaves open: requests that never
 * come whole, calls without a deadline behind a server that says nothing, answers that are not read.
 *
 * Always true: a call that has not ended is in one of the sets, unless it sees to its end itself; those of a set are in the
 * order of their `latest`, so only what is due is looked at.
 */
export class OpenCalls {
  readonly #options: OpenCallsOptions;
  readonly #unary = new Set<OpenCall>();
  readonly #streaming = new Set<OpenCall>();
  /** Whose status was sent and not yet taken. */
  readonly #ending = new Set<OpenCall>();

  constructor(options: OpenCallsOptions) {
    this.#options = options;
  }

  readonly intercept: ServerInterceptor = ({ path, requestStream, responseStream }, next) => {
    const call = new OpenCall(next, path);
    // Private in grpc-js, which shows the header to nobody; what it holds is tested (test/grpc-door-attacks.test.ts).
    if ("incomingEncoding" in next && next.incomingEncoding !== "identity") {
      call.sendStatus(COMPRESSED);
      return call;
    }
    const { callTimeoutMs, streamTimeoutMs, listenerOf } = this.#options;
    if (!requestStream && !responseStream) this.#put(call, this.#unary, callTimeoutMs);
    else {
      call.own = listenerOf(path, call);
      if (call.own === undefined) this.#put(call, this.#streaming, streamTimeoutMs);
    }
    return call;
  };

  /** The call's status was sent, or is about to be: its client may take so long to read it. */
  ending(call: OpenCall): void {
    this.#put(call, this.#ending, UNREAD_MS);
  }

  /** `now` by performance.now(). */
  sweep(now: number): void {
    for (const calls of [this.#unary, this.#streaming]) {
      for (const call of calls) {
        if (call.latest > now) break;
        this.ending(call);
        // At the client's own deadline grpc-js has sent a status, and at a second one it forgets the call.
        if (Number(call.getDeadline()) > Date.now()) call.sendStatus(this.#options.tooLate(call.path));
      }
    }
    for (const call of this.#ending) {
      if (call.latest > now) break;
      this.#ending.delete(call);
      this.#options.cut(call.getConnectionInfo());
    }
  }

  #put(call: OpenCall, calls: Set<OpenCall>, timeoutMs: number): void {
    call.place?.delete(call);
    call.latest = performance.now() + timeoutMs;
    call.place = calls;
    calls.add(call);
  }
}

/**
 * A call as grpc-js hands it on: what passes is passed on at once. (Its own class for interceptors holds up messages for
 * theirs; there is nothing to hold up here.)
 */
export class OpenCall extends ServerInterceptingCall implements CallListener {
  readonly path: string;
  /** By performance.now(). */
  latest = Infinity;
  place: Set<OpenCall> | undefined;
  /** In the place of grpc-js' listener. */
  own: CallListener | undefined;
  readonly #next: ServerInterceptingCallInterface;
  #listener: CallListener | undefined;

  constructor(next: ServerInterceptingCallInterface, path: string) {
    super(next);
    this.#next = next;
    this.path = path;
  }

  override start(listener: CallListener): void {
    this.#listener = this.own ?? listener;
    this.#next.start(this);
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

  onReceiveMetadata(metadata: Metadata): void {
    this.#listener?.onReceiveMetadata(metadata);
  }

  onReceiveMessage(message: unknown): void {
    this.#listener?.onReceiveMessage(message);
  }

  onReceiveHalfClose(): void {
    this.#listener?.onReceiveHalfClose();
  }

  /** Comes at the end of every call. */
  onCancel(): void {
    this.place?.delete(this);
    this.place = undefined;
    this.#listener?.onCancel();
  }
}
