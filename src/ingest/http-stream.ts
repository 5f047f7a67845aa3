import { type DescMethod, fromBinary, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Principal } from "./auth/tokens.ts";
import type { Call, Inlet, Outlet } from "./call.ts";
import { RequestError } from "./errors.ts";
import type { Gate } from "./gate.ts";
import type { ServedStream } from "./served.ts";
import { STOPPING, Tenure } from "./tenure.ts";

/** For which a client may not read how its stream ended: as long as a person waits. */
const UNREAD_MS = 10_000;

const OUT_OF_TIME = new RequestError("DEADLINE_EXCEEDED", "the time that the client gave this stream is up");

export interface HttpStreamOptions {
  readonly method: DescMethod;
  readonly served: ServedStream;
  readonly gate: Gate;
  readonly authorization: string | undefined;
  /** Of the client, in milliseconds since 1970. */
  readonly deadline: number;
  /** Aborted where the client has gone, or its time is up. */
  readonly signal: AbortSignal;
  /** Ends the response of a client that does not read. */
  readonly cut: () => void;
}

/**
 * The answers to one request as connect takes them: the next one when the one before it was written.
 *
 * Always true: `#answers` are those that connect has not asked for, and `#untaken` counts the one with it too; after `#ending` none
 * is added, and when they are out the stream ends as that says.
 */
export class HttpStream implements Outlet<never> {
  readonly #options: HttpStreamOptions;
  readonly #tenure: Tenure;
  readonly #answers: Uint8Array[] = [];
  #untaken = 0;
  #inlet: Inlet<unknown> | undefined;
  #ending: { readonly error: RequestError | undefined } | undefined;
  /** As of the sweep that saw the end. */
  #endedAt: number | undefined;
  #wake = () => {};

  /** `now` is in milliseconds of any clock that only goes on: that of `sweep`. */
  constructor(options: HttpStreamOptions, now: number) {
    this.#options = options;
    const { gate, served, authorization, signal } = options;
    const onEnd = (error: RequestError): void => this.finish(error);
    this.#tenure = new Tenure({ gate, access: served.access, authorization, talks: false, onEnd }, now);
    const abort = (): void => this.#aborted(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  }

  get untaken(): number {
    return this.#untaken;
  }

  /** To be taken to its end, or returned. Throws what it ends with. */
  async *answers(request: Message): AsyncGenerator<Message> {
    const { method, served } = this.#options;
    await this.#tenure.admit();
    const inlet = this.#ending === undefined ? (served.open(this.#call(), this) as Inlet<unknown>) : undefined;
    this.#inlet = inlet;
    inlet?.take(request);
    inlet?.finish();
    try {
      for (;;) {
        const answer = this.#answers.shift();
        if (answer !== undefined) {
          yield fromBinary(method.output, answer);
          this.#untaken--;
          this.#tenure.took();
          inlet?.taken?.();
        } else if (this.#ending === undefined) {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.#wake = resolve;
          await promise;
        } else if (this.#ending.error === undefined) return;
        else throw this.#ending.error;
      }
    } finally {
      this.#ending ??= { error: undefined };
      inlet?.closed();
    }
  }

  send(answer: Uint8Array): void {
    if (this.#ending !== undefined) return;
    if (this.#untaken++ === 0) this.#tenure.took();
    this.#answers.push(answer);
    this.#wake();
  }

  /** Its one request is there. */
  readOn(): void {}

  end(error?: RequestError): void {
    this.#ending ??= { error };
    this.#wake();
  }

  /** Ends it from this side. */
  finish(error: RequestError): void {
    if (this.#inlet === undefined) this.end(error);
    else this.#inlet.finish(error);
  }

  /** Ends it whatever its client has read. */
  cut(): void {
    this.#options.cut();
  }

  /** Looks at its times, and at what its token and account allow now. */
  sweep(now: number): void {
    if (this.#ending !== undefined) {
      this.#endedAt ??= now;
      if (now - this.#endedAt > UNREAD_MS) this.cut();
    } else if (this.#inlet !== undefined) this.#tenure.sweep(now, this.#untaken);
  }

  #call(): Call {
    const tenure = this.#tenure;
    const isOver = () => this.#ending !== undefined;
    return {
      get principal(): Principal {
        return tenure.principal;
      },
      deadline: this.#options.deadline,
      get cancelled() {
        return isOver();
      },
    };
  }

  #aborted(reason: unknown): void {
    const code = reason instanceof ConnectError ? reason.code : Code.Canceled;
    if (code === Code.DeadlineExceeded) this.finish(OUT_OF_TIME);
    else if (code === Code.Unavailable) this.finish(STOPPING);
    else {
      // Nobody is there to be told.
      this.#answers.length = 0;
      this.end();
    }
  }
}
