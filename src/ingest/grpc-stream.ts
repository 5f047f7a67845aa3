import type { DescMethod } from "@bufbuild/protobuf";
import { type Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import type { Principal } from "./auth/tokens.ts";
import type { Call, Inlet, Outlet } from "./call.ts";
import { RequestError } from "./errors.ts";
import type { Gate } from "./gate.ts";
import type { CallListener, CallStatus } from "./grpc-calls.ts";
import type { ServedStream } from "./served.ts";
import { Tenure } from "./tenure.ts";

/**
 * So long before the client's own deadline nothing more is sent: then grpc-js ends the call by itself, with a timer that may be
 * some milliseconds early, and an answer behind that end would take the status away.
 */
const LAST_MS = 20;

/** In place of a request whose bytes are none. grpc-js takes a falsy one for "no message was sent". */
export const MALFORMED = Symbol("malformed");

export interface GrpcStreamOptions {
  readonly method: DescMethod;
  readonly served: ServedStream;
  readonly gate: Gate;
  readonly statusOf: (error: RequestError, requestId: string | undefined) => CallStatus;
  /** Told before its status is sent, and when all is over. */
  readonly onEnd: () => void;
  readonly onClose: () => void;
}

/** What it needs of a call of grpc-js. */
export type StreamedCall = Pick<
  ServerInterceptingCallInterface,
  "startRead" | "sendMessage" | "sendStatus" | "getDeadline"
>;

/**
 * A stream over grpc-js, both ways or with one request, without Node's object streams, which hold up each answer until the one
 * before it is written: 21 µs of CPU an order with them, 15 without (one stream, 500 under way, on a busy machine; there a batch
 * of 100 takes 9 µs an order, and a call for each 75 µs).
 *
 * Always true: a message is asked for only while the method is hungry, and one at a time; after its status nothing is sent.
 */
export class GrpcStream implements CallListener, Outlet<never> {
  readonly #options: GrpcStreamOptions;
  readonly #call: StreamedCall;
  readonly #openedAt: number;
  #tenure: Tenure | undefined;
  #inlet: Inlet<unknown> | undefined;
  #requestId: string | undefined;
  /** The client's, in milliseconds since 1970. */
  #deadline = Infinity;
  #asked = false;
  #asking = false;
  #halfClosed = false;
  #leaving: RequestError | undefined;
  #over = false;
  /** The method was told of the end. */
  #closed = false;
  #untaken = 0;

  /** `now` is in milliseconds of any clock that only goes on: that of `sweep`. */
  constructor(call: StreamedCall, options: GrpcStreamOptions, now: number) {
    this.#call = call;
    this.#options = options;
    this.#openedAt = now;
  }

  get untaken(): number {
    return this.#untaken;
  }

  onReceiveMetadata(metadata: Metadata): void {
    const { method, gate, served } = this.#options;
    this.#requestId = metadata.get("x-request-id")[0]?.toString();
    this.#deadline = Number(this.#call.getDeadline());
    const tenure = {
      gate,
      access: served.access,
      authorization: metadata.get("authorization")[0]?.toString(),
      talks: method.methodKind === "bidi_streaming",
      onEnd: (error: RequestError) => this.finish(error),
    };
    this.#tenure = new Tenure(tenure, this.#openedAt);
    void this.#open(this.#tenure);
  }

  onReceiveMessage(message: unknown): void {
    this.#asked = false;
    this.#tenure?.heard();
    if (message === MALFORMED) {
      const { typeName } = this.#options.method.input;
      this.finish(new RequestError("INVALID_ARGUMENT", `not a ${typeName}`));
    } else this.#inlet?.take(message);
    this.readOn();
  }

  onReceiveHalfClose(): void {
    this.#halfClosed = true;
    this.#inlet?.finish();
  }

  onCancel(): void {
    this.#over = true;
    this.#close();
    this.#options.onClose();
  }

  send(answer: object): void {
    if (this.#over || Date.now() > this.#deadline - LAST_MS) return;
    if (this.#untaken++ === 0) this.#tenure?.took();
    this.#call.sendMessage(answer, this.#onTaken);
  }

  readonly #onTaken = (): void => {
    this.#untaken--;
    this.#tenure?.took();
    this.#inlet?.taken?.();
    this.readOn();
  };

  /** In a loop: a message that is there already comes before `startRead` returns, and a frame holds thousands. */
  readOn(): void {
    if (this.#asking) return;
    this.#asking = true;
    while (!this.#asked && !this.#over && !this.#halfClosed && this.#inlet?.hungry === true) {
      this.#asked = true;
      this.#call.startRead();
    }
    this.#asking = false;
  }

  end(error?: RequestError): void {
    if (this.#over) return;
    this.#over = true;
    const { statusOf, onEnd } = this.#options;
    onEnd();
    if (error === undefined) this.#call.sendStatus({ code: status.OK, details: "OK" });
    else this.#call.sendStatus(statusOf(error, this.#requestId));
  }

  /** Ends it from this side, once what was taken is answered. */
  finish(error: RequestError): void {
    this.#leaving ??= error;
    this.#inlet?.finish(error);
  }

  /** Looks at its times, and at what its token and account allow now. */
  sweep(now: number): void {
    if (this.#inlet === undefined || this.#leaving !== undefined || this.#over) return;
    if (this.#deadline < Date.now()) {
      // grpc-js has sent its status, which the client has not taken: a second one would make it forget the call.
      this.#over = true;
      this.#close();
      return this.#options.onEnd();
    }
    this.#tenure?.sweep(now, this.#untaken);
  }

  #close(): void {
    if (!this.#closed) this.#inlet?.closed();
    this.#closed = true;
  }

  async #open(tenure: Tenure): Promise<void> {
    try {
      await tenure.admit();
    } catch (error) {
      return this.end(error as RequestError);
    }
    if (this.#leaving !== undefined) return this.end(this.#leaving);
    if (this.#over) return;
    const isOver = () => this.#over;
    const call: Call = {
      get principal(): Principal {
        return tenure.principal;
      },
      deadline: this.#deadline,
      get cancelled() {
        return isOver();
      },
    };
    this.#inlet = this.#options.served.open(call, this);
    this.readOn();
  }
}
