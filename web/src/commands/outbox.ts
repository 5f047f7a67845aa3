import type { JsonValue } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Order } from "../../../src/gen/penstock/v1/order_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf, isUnknown } from "../api/failure.ts";
import { type Answer, type Command, type Kind, call, fromStored, idOf, toStored } from "./command.ts";

/** What became of a command. */
export type Outcome =
  | { readonly kind: "answered"; readonly answer: Answer<Kind> }
  /** It was sent, its answer was lost, and it is in the log: that much was found by its id. */
  | { readonly kind: "found"; readonly order: Order }
  | { readonly kind: "refused"; readonly failure: Failure }
  /** It may be in the log or not. */
  | { readonly kind: "unknown"; readonly failure: Failure };

/** A command whose outcome is not known yet. */
export interface Pending {
  readonly id: string;
  readonly command: Command;
  /** When it was first sent, in milliseconds since 1970. */
  readonly sentAt: number;
  /** Tries so far. From the second on the outcome of those before is not known. */
  readonly tries: number;
  /** Whether a page before this one sent it. */
  readonly resumed: boolean;
}

export type Store = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export interface OutboxOptions {
  readonly orders: Clients["orders"];
  /** Lives as long as the tab, so that what was sent before a reload is known after it. */
  readonly store: Store;
  readonly account: string;
  /** After which the rest of the page is told that nobody is signed in any more. */
  readonly onSessionEnd: () => void;
  readonly now?: () => number;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * How long a command is sent again by itself. Whoever gave it has seen prices move by then; and it is far below the hour for
 * which the server knows an id again.
 */
const RESEND_MS = 60_000;
/** How long it is asked for after that. Then people have to look themselves. */
const LOOK_UP_MS = 600_000;

/** Refusals that say nothing of the command: another time it may be taken. */
const REPEATED: ReadonlySet<Code> = new Set([Code.ResourceExhausted, Code.Unauthenticated]);

/**
 * Commands on their way. Each is written down before it is sent, and kept until its outcome is known: a reload, a lost answer and
 * a second click send the same id again, never another order.
 *
 * Always true: what may be in the log without our knowing is in `pending` and in the store, until it is given up.
 */
export class Outbox {
  readonly #options: Required<OutboxOptions>;
  readonly #key: string;
  readonly #pending = signal<readonly Pending[]>([]);
  readonly #outcomes = new Map<string, Promise<Outcome>>();
  readonly #closed = new AbortController();
  readonly #givenUp = new Map<string, AbortController>();

  constructor(options: OutboxOptions) {
    this.#options = { now: Date.now, wait, ...options };
    this.#key = `penstock.outbox.${options.account}`;
  }

  get pending(): ReadonlySignal<readonly Pending[]> {
    return this.#pending;
  }

  /** Its outcome; that of the first where the same id is sent already. */
  send(command: Command): Promise<Outcome> {
    return this.#send({ id: idOf(command), command, sentAt: this.#options.now(), tries: 0, resumed: false });
  }

  /** What a page before this one left: sent again with the same ids. To be called once, before anything else is sent. */
  resume(): { pending: Pending; outcome: Promise<Outcome> }[] {
    const left = this.#read();
    this.#write(left);
    return left.map((pending) => ({ pending, outcome: this.#send(pending) }));
  }

  /** It is not sent any more, whatever became of it. */
  giveUp(id: string): void {
    this.#givenUp.get(id)?.abort();
  }

  /** Stops sending. What is pending stays in the store. */
  close(): void {
    this.#closed.abort();
  }

  #send(pending: Pending): Promise<Outcome> {
    const known = this.#outcomes.get(pending.id);
    if (known !== undefined) return known;
    this.#put(pending);
    const outcome = this.#settle(pending).finally(() => this.#outcomes.delete(pending.id));
    this.#outcomes.set(pending.id, outcome);
    return outcome;
  }

  async #settle(pending: Pending): Promise<Outcome> {
    const givenUp = new AbortController();
    this.#givenUp.set(pending.id, givenUp);
    try {
      const outcome = await this.#try(pending, AbortSignal.any([this.#closed.signal, givenUp.signal]));
      if (outcome.kind !== "unknown" || !this.#closed.signal.aborted) this.#drop(pending.id);
      if (outcome.kind === "refused") this.#lookForEnd(outcome.failure);
      return outcome;
    } finally {
      this.#givenUp.delete(pending.id);
    }
  }

  async #try(first: Pending, signal: AbortSignal): Promise<Outcome> {
    const { orders, now } = this.#options;
    for (let pending = first; ; pending = { ...pending, tries: pending.tries + 1 }) {
      this.#put(pending);
      const { command, sentAt, tries, resumed } = pending;
      const age = now() - sentAt;
      let failure: Failure;
      try {
        if (age > RESEND_MS) return await this.#lookUp(command, signal);
        return { kind: "answered", answer: await call(orders, command, signal) };
      } catch (error) {
        failure = failureOf(error);
      }
      if (signal.aborted || age > LOOK_UP_MS) return { kind: "unknown", failure };
      const isFirst = tries === 0 && !resumed;
      if (isFirst && !isUnknown(failure)) return { kind: "refused", failure };
      // Behind a try whose answer was lost a refusal says nothing of that one, unless it is about its id.
      if (failure.code === Code.AlreadyExists) return { kind: "refused", failure };
      this.#lookForEnd(failure);
      if (!isUnknown(failure) && !REPEATED.has(failure.code)) {
        const found = await this.#lookUp(command, signal).catch(() => undefined);
        if (found !== undefined) return found;
      }
      try {
        await this.#options.wait(failure.retryAfterMs ?? backoffMs(tries), signal);
      } catch {
        return { kind: "unknown", failure };
      }
    }
  }

  #lookForEnd({ code }: Failure): void {
    if (code === Code.Unauthenticated) this.#options.onSessionEnd();
  }

  /** Whether an order is in the log, by its id. Other commands can only be sent again. */
  async #lookUp({ kind, request }: Command, signal: AbortSignal): Promise<Outcome> {
    const failure = {
      code: Code.Unknown,
      message: "No answer came in time.",
      fields: new Map(),
      retryAfterMs: undefined,
    };
    if (kind !== "submit") return { kind: "unknown", failure };
    const { symbol, clientOrderId } = request;
    try {
      const { order } = await this.#options.orders.getOrder({ symbol, clientOrderId }, { signal });
      return order === undefined ? { kind: "unknown", failure } : { kind: "found", order };
    } catch (error) {
      if (failureOf(error).code !== Code.NotFound) throw error;
      return { kind: "refused", failure: { ...failure, message: "The order did not get into the log." } };
    }
  }

  #put(pending: Pending): void {
    this.#write([...this.#pending.peek().filter(({ id }) => id !== pending.id), pending]);
  }

  #drop(id: string): void {
    this.#write(this.#pending.peek().filter((pending) => pending.id !== id));
  }

  #write(pending: readonly Pending[]): void {
    this.#pending.value = pending;
    const { store } = this.#options;
    if (pending.length === 0) return store.removeItem(this.#key);
    const stored = pending.map(({ command, sentAt }) => ({ kind: command.kind, request: toStored(command), sentAt }));
    store.setItem(this.#key, JSON.stringify(stored));
  }

  #read(): Pending[] {
    try {
      const stored = JSON.parse(this.#options.store.getItem(this.#key) ?? "[]") as StoredPending[];
      return stored.map(({ kind, request, sentAt }) => {
        const command = fromStored(kind, request);
        return { id: idOf(command), command, sentAt, tries: 0, resumed: true };
      });
    } catch {
      // Another version's: its ids mean nothing here.
      return [];
    }
  }
}

interface StoredPending {
  readonly kind: string;
  readonly request: JsonValue;
  readonly sentAt: number;
}
