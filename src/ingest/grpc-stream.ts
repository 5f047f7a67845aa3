import type { DescMethod } from "@bufbuild/protobuf";
import { type Metadata, type ServerInterceptingCallInterface, status } from "@grpc/grpc-js";
import type { Principal } from "./auth/tokens.ts";
import type { Call, Inlet, Outlet } from "./call.ts";
import { RequestError } from "./errors.ts";
import type { Gate } from "./gate.ts";
import type { CallListener, CallStatus } from "./grpc-calls.ts";
import type { ServedStream } from "./served.ts";

/** Long enough to be rare, short enough that clients meet a new set of servers within the hour. */
export const MAX_OPEN_MS = 3_600_000;
/** A client that trades says something within ten minutes; one that does not opens another stream when it does. */
const MAX_IDLE_MS = 600_000;
/** As long as a person waits. */
const MAX_UNREAD_MS = 10_000;

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
 * A stream both ways over grpc-js, without Node's object streams, which hold up each answer until the one before it is
 * written: 21 µs of CPU an order with them, 15 without (one stream, 500 under way, on a busy machine; there a batch of 100
 * takes 9 µs an order, and a call for each 75 µs).
 *
 * Always true: a message is asked for only while the method is hungry, and one at a time; after its status nothing is sent.
 */
export class GrpcStream implements CallListener, Outlet<never> {
  readonly #options: GrpcStreamOptions;
  readonly #call: StreamedCall;
  #inlet: Inlet<unknown> | undefined;
  /** As the last sweep found its account. */
  #principal: Principal | undefined;
  #authorization: string | undefined;
  #requestId: string | undefined;
  #asked = false;
  #asking = false;
  #halfClosed = false;
  #leaving: RequestError | undefined;
  #over = false;
  #untaken = 0;
  readonly #openedAt: number;
  // As of the last sweep, which asks the two flags.
  #heardAt: number;
  #takenAt: number;
  #heard = false;
  #took = false;

  /** `now` is in milliseconds of any clock that only goes on: that of `sweep`. */
  constructor(call: StreamedCall, options: GrpcStreamOptions, now: number) {
    this.#call = call;
    this.#options = options;
    this.#openedAt = this.#heardAt = this.#takenAt = now;
  }

  get untaken(): number {
    return this.#untaken;
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#authorization = metadata.get("authorization")[0]?.toString();
    this.#requestId = metadata.get("x-request-id")[0]?.toString();
    void this.#open();
  }

  onReceiveMessage(message: unknown): void {
    this.#asked = false;
    this.#heard = true;
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
    this.#inlet?.closed();
    this.#options.onClose();
  }

  send(answer: object): void {
    if (this.#over) return;
    if (this.#untaken++ === 0) this.#took = true;
    this.#call.sendMessage(answer, this.#onTaken);
  }

  readonly #onTaken = (): void => {
    this.#untaken--;
    this.#took = true;
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
    if (this.#heard) this.#heardAt = now;
    if (this.#took || this.#untaken === 0) this.#takenAt = now;
    this.#heard = this.#took = false;
    if (this.#inlet === undefined || this.#leaving !== undefined || this.#over) return;

    const { gate, served, onEnd } = this.#options;
    if (Number(this.#call.getDeadline()) < Date.now()) {
      // grpc-js has sent its status, which the client has not taken: a second one would make it forget the call.
      this.#over = true;
      return onEnd();
    }
    if (now - this.#takenAt > MAX_UNREAD_MS) {
      this.finish(new RequestError("RESOURCE_EXHAUSTED", `no answer was read for ${MAX_UNREAD_MS / 1_000} s`));
    } else if (now - this.#openedAt > MAX_OPEN_MS || now - this.#heardAt > MAX_IDLE_MS) {
      this.finish(new RequestError("UNAVAILABLE", "this stream has been open, or idle, for long: open another"));
    } else {
      try {
        const admitted = gate.admit(served.access, this.#authorization);
        if (admitted instanceof Promise) {
          admitted.then(
            (principal) => (this.#principal = principal),
            (error: RequestError) => this.finish(error),
          );
        } else this.#principal = admitted;
      } catch (error) {
        this.finish(error as RequestError);
      }
    }
  }

  async #open(): Promise<void> {
    const { served, gate } = this.#options;
    try {
      this.#principal = await gate.admit(served.access, this.#authorization);
    } catch (error) {
      return this.end(error as RequestError);
    }
    if (this.#leaving !== undefined) return this.end(this.#leaving);
    const principal = () => this.#principal!;
    const isOver = () => this.#over;
    const call: Call = {
      get principal() {
        return principal();
      },
      deadline: Number(this.#call.getDeadline()),
      get cancelled() {
        return isOver();
      },
    };
    this.#inlet = served.open(call, this);
    this.readOn();
  }
}
