import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ReadonlySignal, signal } from "@preact/signals";
import { BadRequestSchema, RetryInfoSchema } from "../../../src/gen/google/rpc/error_details_pb.ts";
import type { Status } from "../../../src/gen/google/rpc/status_pb.ts";
import {
  Subscription,
  type WatchRequest,
  WatchRequestSchema,
  type WatchResponse,
} from "../../../src/gen/penstock/v1/live_service_pb.ts";
import { backoffMs } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/failure.ts";
import { BookLost } from "./book-mirror.ts";

/** What the page can say about the stream. */
export type LiveState =
  | { readonly mode: "idle" }
  | { readonly mode: "connecting" }
  | { readonly mode: "live" }
  /** `retryAt`: milliseconds since 1970. */
  | { readonly mode: "reconnecting"; readonly retryAt: number; readonly why: string };

/** Something that is watched. It keeps what it was told, so that it can ask for what comes next. */
export interface Topic {
  readonly subscription: Subscription;
  /** Empty where it is of no symbol. */
  readonly symbol: string;
  /** Adds itself to a request, from the place that it has reached. */
  ask(request: WatchRequest): void;
  /** @throws BookLost where what it has cannot be mended by what comes. */
  take(update: WatchResponse["update"]): void;
  /** Nothing comes at present. It will be asked for again where `again`; else it is over for good. */
  interrupted(failure: Failure, again: boolean): void;
}

/** Heartbeats come at least every ten seconds: after two that are missing nobody is there. */
const SILENCE_MS = 25_000;
const LOOK_MS = 5_000;
/** A stream that stood so long was a good one: what ended it is no reason to wait. */
const STEADY_MS = 10_000;

/** Refusals that asking again does not change. */
const FINAL: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.OutOfRange,
  Code.Unimplemented,
]);

/**
 * All that the page watches, over one stream. What is watched changes by another stream, which resumes where the one before was.
 *
 * Always true: at most one stream is open, and it asks for exactly the topics that were there when it was opened; while there
 * are topics, a stream is open or the time of the next try is set.
 */
export class Live {
  readonly #clients: Clients;
  readonly #onSessionEnd: () => void;
  readonly #topics = new Map<string, Topic>();
  readonly #state = signal<LiveState>({ mode: "idle" });
  #stream: AbortController | undefined;
  #openedAt = 0;
  #heardAt = 0;
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #look: ReturnType<typeof setInterval>;
  #closed = false;

  constructor(clients: Clients, onSessionEnd: () => void) {
    this.#clients = clients;
    this.#onSessionEnd = onSessionEnd;
    this.#look = setInterval(() => this.#lookForSilence(), LOOK_MS);
    globalThis.addEventListener?.("online", this.retryNow);
  }

  get state(): ReadonlySignal<LiveState> {
    return this.#state;
  }

  /** When the server was heard of last, in milliseconds since 1970; 0 for never. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Watches it until the function that comes back is called. */
  add(topic: Topic): () => void {
    const key = keyOf(topic.subscription, topic.symbol);
    this.#topics.set(key, topic);
    this.#openIn(0);
    return () => {
      if (this.#topics.get(key) !== topic) return;
      this.#topics.delete(key);
      this.#openIn(0);
    };
  }

  /** Does not wait for the time of the next try. */
  readonly retryNow = (): void => {
    if (this.#state.value.mode === "reconnecting") this.#openIn(0);
  };

  close(): void {
    this.#closed = true;
    clearInterval(this.#look);
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("online", this.retryNow);
    this.#stream?.abort();
    this.#topics.clear();
  }

  /** In a task of its own, so that what is added and removed together makes one stream. */
  #openIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  #open(): void {
    this.#stream?.abort();
    this.#stream = undefined;
    if (this.#closed) return;
    if (this.#topics.size === 0) {
      this.#state.value = { mode: "idle" };
      return;
    }
    const stream = new AbortController();
    this.#stream = stream;
    this.#openedAt = Date.now();
    if (this.#state.value.mode === "idle") this.#state.value = { mode: "connecting" };
    void this.#follow(stream);
  }

  async #follow(stream: AbortController): Promise<void> {
    const request = create(WatchRequestSchema);
    for (const topic of this.#topics.values()) topic.ask(request);
    let failure: unknown = new ConnectError("the server ended the stream", Code.Unavailable);
    try {
      // A stream has no end of its own: without a deadline.
      for await (const response of this.#clients.live.watch(request, { signal: stream.signal, timeoutMs: 0 })) {
        if (stream.signal.aborted) return;
        this.#heard();
        this.#take(response);
      }
    } catch (error) {
      failure = error;
    }
    if (this.#stream === stream) this.#lost(failure);
  }

  #heard(): void {
    this.#heardAt = Date.now();
    if (this.#state.value.mode !== "live") this.#state.value = { mode: "live" };
  }

  #take({ symbol, update }: WatchResponse): void {
    if (update.case === undefined) return;
    if (update.case === "ended") return this.#ended(update.value.subscription, symbol, update.value.status);
    this.#topics.get(keyOf(SUBSCRIPTIONS[update.case], symbol))?.take(update);
  }

  /** One of the subscriptions is over; the others go on until it is asked for again with all of them. */
  #ended(subscription: Subscription, symbol: string, status: Status | undefined): void {
    const key = keyOf(subscription, symbol);
    const topic = this.#topics.get(key);
    const failure = failureOf(errorOf(status));
    if (failure.code === Code.Unauthenticated) return this.#onSessionEnd();
    const again = !FINAL.has(failure.code);
    topic?.interrupted(failure, again);
    if (again) this.#openIn(failure.retryAfterMs ?? backoffMs(this.#nextAttempt()));
    // It may have been added anew by what it was just told.
    else if (this.#topics.get(key) === topic) this.#topics.delete(key);
  }

  #lost(thrown: unknown): void {
    this.#stream?.abort();
    this.#stream = undefined;
    const failure = failureOf(thrown);
    if (failure.code === Code.Unauthenticated || failure.code === Code.PermissionDenied) return this.#onSessionEnd();
    const why = thrown instanceof BookLost ? "What came does not fit what was here." : failure.message;
    const delay = failure.retryAfterMs ?? backoffMs(this.#nextAttempt());
    this.#state.value = { mode: "reconnecting", retryAt: Date.now() + delay, why };
    for (const topic of this.#topics.values()) topic.interrupted(failure, true);
    this.#openIn(delay);
  }

  #nextAttempt(): number {
    if (Date.now() - this.#openedAt > STEADY_MS) this.#attempt = 0;
    return this.#attempt++;
  }

  #lookForSilence(): void {
    const since = Math.max(this.#openedAt, this.#heardAt);
    if (this.#stream === undefined || Date.now() - since < SILENCE_MS) return;
    this.#lost(new ConnectError(`nothing was heard for ${SILENCE_MS / 1000} s`, Code.Unavailable));
  }
}

const SUBSCRIPTIONS = {
  orders: Subscription.ORDERS,
  book: Subscription.BOOK,
  trades: Subscription.TRADES,
  pipeline: Subscription.PIPELINE,
} as const;

function keyOf(subscription: Subscription, symbol: string): string {
  return `${subscription} ${symbol}`;
}

/** What a call of its own would have thrown. */
function errorOf(status: Status | undefined): ConnectError {
  const error = new ConnectError(status?.message ?? "");
  // The numbers are the same.
  if (status !== undefined) Object.assign(error, { code: status.code });
  for (const detail of status?.details ?? []) {
    const type = detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1);
    if (KNOWN_DETAILS.has(type)) error.details.push({ type, value: detail.value });
  }
  return error;
}

const KNOWN_DETAILS: ReadonlySet<string> = new Set([BadRequestSchema.typeName, RetryInfoSchema.typeName]);
