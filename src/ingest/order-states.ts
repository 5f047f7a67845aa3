import type { Redis } from "ioredis";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEvent, findStatuses, type PlacedEvent, type StatusPlace } from "../stream/order-status.ts";
import { compareEntryIds } from "../stream/position.ts";
import type { EventFollower } from "./event-follower.ts";

export interface OrderStatesOptions {
  readonly follower: EventFollower;
  readonly redis: Redis;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
}

/** An order whose state is asked for, and the place of the one that is at hand. */
export interface KnownState {
  readonly orderId: string;
  readonly known: StatusPlace | undefined;
}

/** Entries that are read at once where the ring has them no more: each may be some 100 kB. */
const READS_AT_ONCE = 16;

/**
 * The newest states of orders, as the engine wrote them: Redis knows where the newest event of an order stands as soon as it
 * stands there. The event itself is in the ring, or in the stream.
 */
export class OrderStates {
  readonly #options: OrderStatesOptions;

  constructor(options: OrderStatesOptions) {
    this.#options = options;
  }

  /** For each order of a partition the newest event, where it is newer than what is at hand and still there. */
  async newer(partition: number, orders: readonly KnownState[]): Promise<(PlacedEvent | undefined)[]> {
    const { redis, partitions } = this.#options;
    const keys = partitions[partition]!;
    const ids = orders.map(({ orderId }) => orderId);
    const places = (await findStatuses(redis, keys, ids)).map((place, i) => {
      const known = orders[i]!.known;
      return place !== undefined && (known === undefined || isBehind(known, place)) ? place : undefined;
    });
    const events = places.map((place) => place && this.#followed(partition, place));
    const missing = places.flatMap((place, i) => (place && events[i] === undefined ? [{ place, i }] : []));
    for (let read = 0; read < missing.length; read += READS_AT_ONCE) {
      await Promise.all(
        missing.slice(read, read + READS_AT_ONCE).map(async ({ place, i }) => {
          events[i] = await findEvent(redis, keys, place);
        }),
      );
    }
    return events;
  }

  #followed(partition: number, { ms, seq, index }: StatusPlace): PlacedEvent | undefined {
    const entry = this.#options.follower.find(partition, { ms, seq });
    const event = entry?.event(index);
    return entry && event && { epoch: entry.epoch, ms, seq, index, event };
  }
}

/** Whether a is an older place than b. IDs never go back in a partition, so the epoch need not be asked. */
export function isBehind(a: StatusPlace, b: StatusPlace): boolean {
  return (compareEntryIds(a, b) || a.index - b.index) < 0;
}
