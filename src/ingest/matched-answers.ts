import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { AckLevel, OrderStatus } from "../gen/penstock/v1/order_pb.ts";
import type {
  CancelAllOrdersResponseSchema,
  CancelOrderResponseSchema,
  ReplaceOrderResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { EVENT_KIND } from "../stream/event-names.ts";
import type { Caller } from "../stream/flush.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import { orderIdPrefix, parseOrderId, type Place } from "../stream/position.ts";
import type { EventWaits, Outcome } from "./event-waits.ts";
import { createdMsOf, type OrderInit, orderOf, reasonOf } from "./execution-reports.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { OrderReads } from "./order-reads.ts";
import { isOutage } from "./outage.ts";
import type { Submitted } from "./submit-codec.ts";

/** The answer to a cancel or a replace; both have the same fields. */
type Changed = MessageInitShape<typeof CancelOrderResponseSchema> & MessageInitShape<typeof ReplaceOrderResponseSchema>;
type AllCanceled = MessageInitShape<typeof CancelAllOrdersResponseSchema>;

export interface MatchedAnswersOptions {
  readonly waits: EventWaits;
  readonly instruments: InstrumentBook;
  readonly reads: OrderReads;
  readonly metrics: IngestMetrics;
  readonly log: Logger;
}

export function wantsMatched({ ackLevel }: { readonly ackLevel: AckLevel }): boolean {
  return ackLevel === AckLevel.MATCHED;
}

/**
 * Turns the answer of a command that is in the log into that of one which the engine has processed. Where the engine does
 * not say what became of it in time, or a server that is asked for it is away, the answer stays as it is.
 */
export class MatchedAnswers {
  readonly #options: MatchedAnswersOptions;

  constructor(options: MatchedAnswersOptions) {
    this.#options = options;
  }

  /** With the order as it is after the entry that holds it; for a duplicate whose events are gone, as it is now. */
  submitted(answer: Submitted, caller: Caller): Promise<Submitted> {
    return this.#submitted(answer, ({ partition, ...entry }) => this.#options.waits.outcome(partition, entry, caller));
  }

  /** The same for the orders of one call, which wait for their entries together. */
  submittedAll(answers: readonly Submitted[], caller: Caller): Promise<Submitted[]> {
    const outcomes = new Map<string, Promise<Outcome | undefined>>();
    const outcomeOf = ({ partition, ...entry }: Place): Promise<Outcome | undefined> => {
      const key = orderIdPrefix(partition, entry);
      let outcome = outcomes.get(key);
      if (outcome === undefined) {
        outcome = this.#options.waits.outcome(partition, entry, caller);
        outcomes.set(key, outcome);
      }
      return outcome;
    };
    return Promise.all(answers.map((answer) => this.#submitted(answer, outcomeOf)));
  }

  #submitted(answer: Submitted, outcomeOf: (place: Place) => Promise<Outcome | undefined>): Promise<Submitted> {
    return this.#orUnchanged(answer, async () => {
      const place = placeOf(answer.orderId);
      const outcome = await outcomeOf(place);
      const order = outcome
        ? await this.#orderOf(outcome.newest(answer.orderId), place.ms, place.ms)
        : await this.#asItIsNow(answer, place);
      return order && { ...answer, status: order.status ?? OrderStatus.PENDING_NEW, order };
    });
  }

  /** Of a cancel or replace: with the order after it, or with the reason for which it was refused. */
  changed(answer: Changed & { readonly commandId: string }, caller: Caller): Promise<Changed> {
    return this.#orUnchanged(answer, async () => {
      const place = placeOf(answer.commandId);
      const outcome = await this.#options.waits.outcome(place.partition, place, caller);
      const event = outcome?.first(place.index);
      if (outcome === undefined || event === undefined) return undefined;
      // Later commands of the same entry may have touched the order as well.
      const newest = outcome.newest(event.orderId);
      const known = newest?.account === event.account ? newest : undefined;
      const order = await this.#orderOf(known, createdMsOf(event.orderId), place.ms);
      const reason = event.kind === EVENT_KIND.EXECUTION ? "" : reasonOf(event);
      return order === undefined ? { ...answer, reason } : { ...answer, order, reason };
    });
  }

  /** Of a mass cancel, over all its partitions. */
  allCanceled(answer: AllCanceled & { readonly commandIds: readonly string[] }, caller: Caller): Promise<AllCanceled> {
    return this.#orUnchanged(answer, async () => {
      const events = await Promise.all(
        answer.commandIds.map(async (id) => {
          const place = placeOf(id);
          return (await this.#options.waits.outcome(place.partition, place, caller))?.last(place.index);
        }),
      );
      let affected = 0;
      let remaining = 0;
      for (const event of events) {
        if (event === undefined) return undefined;
        affected += event.affected;
        remaining += event.remaining;
      }
      return { ...answer, affected, remaining };
    });
  }

  /** The better answer, or this one where there is none. */
  async #orUnchanged<Answer>(answer: Answer, better: () => Promise<Answer | undefined>): Promise<Answer> {
    const { metrics, log } = this.#options;
    try {
      const found = await better();
      (found === undefined ? metrics.matchedLate : metrics.matched).inc();
      return found ?? answer;
    } catch (error) {
      if (!isOutage(error)) throw error;
      log.warn({ err: error }, "a MATCHED answer could not be made");
      metrics.matchedLate.inc();
      return answer;
    }
  }

  async #orderOf(event: EngineEvent | undefined, createdMs: number, updatedMs: number): Promise<OrderInit | undefined> {
    if (event === undefined) return undefined;
    const { instruments } = this.#options;
    const instrument = instruments.get(event.symbol) ?? (await instruments.find(event.symbol));
    return orderOf(event, instrument, { createdMs, updatedMs });
  }

  /** It was answered before, and the engine is beyond it: what is not in the stream any more is in Postgres. */
  async #asItIsNow({ duplicate }: Submitted, place: Place): Promise<OrderInit | undefined> {
    const { waits, reads } = this.#options;
    if (!duplicate || !waits.isProcessed(place.partition, place)) return undefined;
    const order = await reads.orderAt(place);
    return order?.status === OrderStatus.PENDING_NEW ? undefined : order;
  }
}

function placeOf(commandId: string): Place {
  const place = parseOrderId(commandId);
  if (place === undefined) throw new TypeError(`${commandId} is no place`);
  return place;
}
