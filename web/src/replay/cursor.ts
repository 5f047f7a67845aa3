import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type ReadonlySignal, signal } from "@preact/signals";
import {
  type GetBookAtRequest,
  GetBookAtRequestSchema,
  type GetBookAtResponse,
} from "../../../src/gen/penstock/v1/market_data_service_pb.ts";
import { type Position, PositionSchema } from "../../../src/gen/penstock/v1/order_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf, isUnknown } from "../api/failure.ts";

/** Where to look: at a place in the log, at a time (milliseconds since 1970), or at the newest entry. */
export type Place =
  | { readonly kind: "position"; readonly position: Position }
  | { readonly kind: "time"; readonly at: number }
  | { readonly kind: "now" };

/** Levels of each side. */
const DEPTH = 20;
/** The server works on towards a place that is far away; beyond so many times it does not come there. */
const TRIES = 60;

/**
 * A place in the history of a symbol's book.
 *
 * Always true: at most one call is under way; what was asked for last is what comes next, and what was asked for in between is
 * left out.
 */
export class Cursor {
  readonly #market: Clients["market"];
  readonly #symbol: string;
  readonly #answer = signal<GetBookAtResponse | undefined>(undefined);
  readonly #failure = signal<Failure | undefined>(undefined);
  readonly #working = signal(false);
  readonly #closed = new AbortController();
  #wanted: Place | undefined;

  constructor(symbol: string, market: Clients["market"]) {
    this.#symbol = symbol;
    this.#market = market;
  }

  get answer(): ReadonlySignal<GetBookAtResponse | undefined> {
    return this.#answer;
  }

  get failure(): ReadonlySignal<Failure | undefined> {
    return this.#failure;
  }

  get working(): ReadonlySignal<boolean> {
    return this.#working;
  }

  ask(place: Place): void {
    this.#wanted = place;
    if (!this.#working.peek()) void this.#work();
  }

  close(): void {
    this.#closed.abort();
  }

  async #work(): Promise<void> {
    this.#working.value = true;
    while (this.#wanted !== undefined && !this.#closed.signal.aborted) {
      const place = this.#wanted;
      this.#wanted = undefined;
      try {
        const answer = await this.#get(place);
        if (answer === undefined) continue;
        this.#answer.value = answer;
        this.#failure.value = undefined;
      } catch (error) {
        if (!this.#closed.signal.aborted) this.#failure.value = failureOf(error);
      }
    }
    this.#working.value = false;
  }

  /** Undefined where another place was asked for meanwhile. */
  async #get(place: Place): Promise<GetBookAtResponse | undefined> {
    const request = this.#request(place);
    for (let attempt = 0; this.#wanted === undefined; attempt++) {
      try {
        return await this.#market.getBookAt(request, { signal: this.#closed.signal });
      } catch (error) {
        const failure = failureOf(error);
        // It is on its way: asked again, the server goes on from where it has come.
        const again = failure.retryAfterMs !== undefined || isUnknown(failure);
        if (!again || attempt === TRIES || this.#closed.signal.aborted) throw error;
        this.#failure.value = failure.retryAfterMs === undefined ? failure : undefined;
        await wait(failure.retryAfterMs ?? backoffMs(attempt), this.#closed.signal);
      }
    }
    return undefined;
  }

  #request(place: Place): GetBookAtRequest {
    const request = create(GetBookAtRequestSchema, { symbol: this.#symbol, depth: DEPTH });
    if (place.kind === "position") request.place = { case: "position", value: place.position };
    if (place.kind === "time") request.place = { case: "at", value: timestampFromMs(place.at) };
    return request;
  }
}

/** "partition/epoch/entry ID" */
export function entryOf({ partition, epoch, entryId }: Position): string {
  return `${partition}/${epoch}/${entryId}`;
}

/** Undefined where it is none. */
export function positionOf(entry: string): Position | undefined {
  const [partition, epoch, entryId] = entry.split("/");
  if (!/^\d+$/.test(partition ?? "") || !/^\d+$/.test(epoch ?? "") || !/^\d+-\d+$/.test(entryId ?? ""))
    return undefined;
  return create(PositionSchema, { partition: Number(partition), epoch: Number(epoch), entryId: entryId! });
}
