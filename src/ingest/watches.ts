import type { Call, Feed, Inlet, Outlet } from "./call.ts";
import { asRequestError, RequestError } from "./errors.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { ServedService, ServedStream, ServedWatch } from "./served.ts";

/** Of one account, in this process: the screens and programs of a desk. */
const MAX_OF_ACCOUNT = 100;
/**
 * What a client may leave untaken before more is sent: what one entry of the log can do at once, 20,000 orders that expire, at
 * some 350 bytes. Of what many watches send there is one copy in memory, so unread watches of the same thing cost as much as one;
 * and none is left unread for longer than ten seconds (`Tenure`).
 */
const MAX_UNTAKEN_BYTES = 8 * 1024 * 1024;
const MAX_UNTAKEN = 32_768;
/** Answers that a door holds at once: enough for the writes of a turn of the event loop. The others wait here. */
const MAX_SENT = 64;
/** With so little left untaken a client that reads from the past is given the next page. */
const ROOM_BYTES = 256 * 1024;
/** A queue is compacted when so many places at its beginning are empty: then moving the rest costs each answer little. */
const COMPACT_AT = 1_024;

const TOO_SLOW = new RequestError("RESOURCE_EXHAUSTED", "this watch is read too slowly: open another and resume");
const TOO_MANY = new RequestError(
  "RESOURCE_EXHAUSTED",
  `an account may have ${MAX_OF_ACCOUNT} watches open on a server process: close some`,
);
const NO_REQUEST = new RequestError("INVALID_ARGUMENT", "the request is missing");
const TWO_REQUESTS = new RequestError("INVALID_ARGUMENT", "a watch has one request");

const TAKEN = new Uint8Array();

/** The watches of this process. Always true: an account has at most `MAX_OF_ACCOUNT` of them, and is counted while it has any. */
export class Watches {
  readonly #metrics: IngestMetrics;
  readonly #byAccount = new Map<string, number>();

  constructor(metrics: IngestMetrics) {
    this.#metrics = metrics;
  }

  /** The service with its watches as streams that doors can carry. */
  around(served: ServedService): ServedService {
    const streams = Object.entries(served.watches).map(([name, { access, watch }]): [string, ServedStream] => {
      const method = served.service.method[name]!.name;
      return [name, { access, open: (call, outlet) => this.#open(method, watch, call, outlet) }];
    });
    return { ...served, streams: { ...served.streams, ...Object.fromEntries(streams) } };
  }

  #open(method: string, work: ServedWatch["watch"], call: Call, outlet: Outlet<never>): Inlet<never> {
    const { account } = call.principal;
    const { watches, updates } = this.#metrics;
    const count = this.#byAccount.get(account) ?? 0;
    this.#byAccount.set(account, count + 1);
    watches.inc({ method });
    const sent = updates.labels(method);
    const watch = new Watch(work, call, outlet, {
      onSent: (answers) => sent.inc(answers),
      onClose: () => {
        watches.dec({ method });
        const left = this.#byAccount.get(account)! - 1;
        if (left === 0) this.#byAccount.delete(account);
        else this.#byAccount.set(account, left);
      },
    });
    if (count >= MAX_OF_ACCOUNT) watch.end(TOO_MANY);
    return watch;
  }
}

interface WatchHooks {
  readonly onSent: (answers: number) => void;
  readonly onClose: () => void;
}

/**
 * One request, and what is told of it until its client has enough.
 *
 * Always true: `#answers` holds, from `#oldest` on, what the client has not taken, in its order; what is before `#next` was handed
 * to the door. `#bytes` is their size. Once it is over nothing is held and nothing is sent.
 */
class Watch implements Inlet<never>, Feed {
  readonly hungry = true;
  readonly over: Promise<void>;
  isOver = false;
  readonly #work: ServedWatch["watch"];
  readonly #call: Call;
  readonly #outlet: Outlet<never>;
  readonly #hooks: WatchHooks;
  readonly #resolveOver: () => void;
  #isAsked = false;
  #answers: Uint8Array[] = [];
  #oldest = 0;
  #next = 0;
  #bytes = 0;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(work: ServedWatch["watch"], call: Call, outlet: Outlet<never>, hooks: WatchHooks) {
    this.#work = work;
    this.#call = call;
    this.#outlet = outlet;
    this.#hooks = hooks;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#resolveOver = resolve;
  }

  take(request: never): void {
    if (this.#isAsked) return this.end(TWO_REQUESTS);
    this.#isAsked = true;
    if (!this.isOver) void this.#serve(request);
  }

  finish(error?: RequestError): void {
    if (error !== undefined) this.end(error);
    else if (!this.#isAsked) this.end(NO_REQUEST);
  }

  taken(): void {
    if (this.isOver) return;
    this.#bytes -= this.#answers[this.#oldest]!.length;
    this.#answers[this.#oldest++] = TAKEN;
    if (this.#oldest >= COMPACT_AT && this.#oldest * 2 > this.#answers.length) {
      this.#answers = this.#answers.slice(this.#oldest);
      this.#next -= this.#oldest;
      this.#oldest = 0;
    }
    this.#pump();
    if (this.#bytes <= ROOM_BYTES) this.#makeRoom();
  }

  closed(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#answers = [];
    this.#bytes = 0;
    this.#hooks.onClose();
    this.#resolveOver();
    this.#makeRoom();
  }

  send(answers: readonly Uint8Array[]): void {
    if (this.isOver) return;
    // Before they are added: what one entry does comes whole, however much it is.
    const untaken = this.#answers.length - this.#oldest;
    if (this.#bytes > MAX_UNTAKEN_BYTES || untaken > MAX_UNTAKEN) return this.end(TOO_SLOW);
    for (const answer of answers) {
      this.#answers.push(answer);
      this.#bytes += answer.length;
    }
    this.#hooks.onSent(answers.length);
    this.#pump();
  }

  room(): Promise<void> {
    if (this.isOver || this.#bytes <= ROOM_BYTES) return Promise.resolve();
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  end(error?: RequestError): void {
    if (this.isOver) return;
    this.closed();
    this.#outlet.end(error);
  }

  async #serve(request: never): Promise<void> {
    try {
      await this.#work(request, this.#call, this);
      this.end();
    } catch (error) {
      this.end(asRequestError(error));
    }
  }

  #pump(): void {
    while (this.#next < this.#answers.length && this.#outlet.untaken < MAX_SENT) {
      this.#outlet.send(this.#answers[this.#next++] as never);
    }
  }

  #makeRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }
}
