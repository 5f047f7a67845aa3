import type { Principal } from "./auth/tokens.ts";
import { RequestError } from "./errors.ts";
import type { Gate } from "./gate.ts";
import type { Access } from "./served.ts";

/** Long enough to be rare, short enough that clients meet a new set of servers within the hour. */
export const MAX_OPEN_MS = 3_600_000;
/** A client that trades says something within ten minutes; one that does not opens another stream when it does. */
const MAX_IDLE_MS = 600_000;
/** As long as a person waits. */
const MAX_UNREAD_MS = 10_000;

const OPEN_FOR_LONG = new RequestError("UNAVAILABLE", "this stream has been open, or idle, for long: open another");
const UNREAD = new RequestError("RESOURCE_EXHAUSTED", `no answer was read for ${MAX_UNREAD_MS / 1_000} s`);

export const STOPPING = new RequestError("UNAVAILABLE", "this server is shutting down: open another stream");

export interface TenureOptions {
  readonly gate: Gate;
  readonly access: Access;
  /** The value of its header. */
  readonly authorization: string | undefined;
  /** Whether its client has to say something now and then. */
  readonly talks: boolean;
  /** Told why it must end. */
  readonly onEnd: (error: RequestError) => void;
}

/**
 * How long a stream may stay open, whichever door carries it: while its token and account allow it, its client reads and, where
 * it has something to say, says it; an hour at most.
 *
 * Times are in milliseconds of any clock that only goes on.
 */
export class Tenure {
  readonly #options: TenureOptions;
  readonly #openedAt: number;
  #principal: Principal | undefined;
  // As of the last sweep, which asks the two flags.
  #heardAt: number;
  #takenAt: number;
  #heard = false;
  #took = false;

  constructor(options: TenureOptions, now: number) {
    this.#options = options;
    this.#openedAt = this.#heardAt = this.#takenAt = now;
  }

  /** As the last look found its account. To be asked after `admit`. */
  get principal(): Principal {
    return this.#principal!;
  }

  /** Rejects with a RequestError where it may not be opened. */
  async admit(): Promise<void> {
    const { gate, access, authorization } = this.#options;
    this.#principal = await gate.admit(access, authorization);
  }

  /** Its client said something. */
  heard(): void {
    this.#heard = true;
  }

  /** Its client took an answer, or had taken all before the one that is sent now. */
  took(): void {
    this.#took = true;
  }

  /** Looks at its times, and at what its token and account allow now. */
  sweep(now: number, untaken: number): void {
    if (this.#heard) this.#heardAt = now;
    if (this.#took || untaken === 0) this.#takenAt = now;
    this.#heard = this.#took = false;
    const { gate, access, authorization, talks, onEnd } = this.#options;
    if (now - this.#takenAt > MAX_UNREAD_MS) return onEnd(UNREAD);
    if (now - this.#openedAt > MAX_OPEN_MS || (talks && now - this.#heardAt > MAX_IDLE_MS)) return onEnd(OPEN_FOR_LONG);
    try {
      const admitted = gate.admit(access, authorization);
      if (admitted instanceof Promise) {
        admitted.then((principal) => (this.#principal = principal), onEnd);
      } else this.#principal = admitted;
    } catch (error) {
      onEnd(error as RequestError);
    }
  }
}
