import { create, toBinary } from "@bufbuild/protobuf";
import { type OrderService, WatchOrdersResponseSchema } from "../gen/penstock/v1/order_service_pb.ts";
import { delay } from "../runtime/backoff.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { Partitioning } from "../stream/partition.ts";
import { compareEntryIds, formatEntryId } from "../stream/position.ts";
import type { Call, Feed, Implementation } from "./call.ts";
import { invalidArgument, RequestError } from "./errors.ts";
import type { FollowedEntry } from "./event-follower.ts";
import type { ReportHistory } from "./report-history.ts";
import { type Follower, ReportHub, type ReportWatcher } from "./report-hub.ts";
import { isWanted, type Report, type ReportFilter, reportOf, type ReportPlace, WHOLE_ENTRY } from "./reports.ts";
import { timestampOf } from "./timestamp.ts";
import { Turns } from "./turns.ts";
import { isRefused } from "./validation/violation.ts";
import { validateWatch } from "./validation/watch.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderWatchesOptions {
  readonly follower: Follower;
  readonly history: Pick<ReportHistory, "expect" | "next">;
  readonly instruments: Pick<InstrumentBook, "get" | "find" | "isUnknown" | "refresh">;
  readonly partitioning: Partitioning;
}

/** Half of what the API promises, so that one that is late is not missed. */
const HEARTBEAT_MS = 5_000;
/** Of the ring, before others have their turn: to decode and to look through them takes a millisecond or two. */
const EVENTS_AT_ONCE = 1_000;
/** Where the follower has not come to what is known to stand in the log: it is a moment behind. */
const LAG_MS = 50;

const ADMINS_ONLY = new RequestError("PERMISSION_DENIED", "all_accounts needs a token of the role admin");

/** WatchOrders: execution reports as they come, behind a place that the client knows. */
export class OrderWatches implements Pick<OrderMethods, "watchOrders"> {
  readonly #options: OrderWatchesOptions;
  readonly #hub: ReportHub;
  readonly #turns = new Turns(1);

  constructor(options: OrderWatchesOptions) {
    this.#options = options;
    this.#hub = new ReportHub(options.follower, options.instruments);
  }

  watchOrders: OrderMethods["watchOrders"] = async (request, call, feed) => {
    const { follower, instruments, partitioning } = this.#options;
    const { allAccounts, symbol } = request;
    if (allAccounts && call.principal.role !== "admin") throw ADMINS_ONLY;
    await instruments.find(symbol);
    const wanted = validateWatch(request, instruments, partitioning.count);
    if (isRefused(wanted)) throw invalidArgument(wanted);
    const filter = { account: allAccounts ? undefined : call.principal.account, symbol: wanted.instrument?.symbol };
    // A symbol's reports all stand in its partition.
    const partitions = filter.symbol === undefined ? partitioning.all() : [partitioning.of(filter.symbol)];
    const places = new Map<number, ReportPlace | undefined>();
    for (const partition of partitions) {
      const end = follower.end(partition);
      places.set(partition, wanted.after.get(partition) ?? (end && whole(end)));
    }
    await new OrderWatch({ ...this.#options, hub: this.#hub, turns: this.#turns }, filter, places, call, feed).run();
  };
}

/** What all watches share. */
interface OrderWatchOptions extends OrderWatchesOptions {
  readonly hub: ReportHub;
  readonly turns: Turns;
}

/**
 * One client's watch. Each partition is either caught up with (first from what is over, in pages, as fast as the client takes
 * them), or joined: then the hub tells of each report as it comes.
 *
 * Always true: what was sent of a partition is every report that is wanted from the first place on, each once and in order, up to
 * the partition's place: that in `#behind`, or where the hub has come to.
 */
class OrderWatch implements ReportWatcher {
  readonly filter: ReportFilter;
  readonly #options: OrderWatchOptions;
  readonly #partitions: readonly number[];
  readonly #call: Call;
  readonly #feed: Feed;
  /** Partitions that are not joined, with what the client has of them; undefined where there was nothing yet. */
  readonly #behind: Map<number, ReportPlace | undefined>;
  /** By partition the account's number of the last report: the next has the next one. */
  readonly #sequences = new Map<number, number>();
  #lost = Promise.withResolvers<void>();

  constructor(
    options: OrderWatchOptions,
    filter: ReportFilter,
    places: ReadonlyMap<number, ReportPlace | undefined>,
    call: Call,
    feed: Feed,
  ) {
    this.filter = filter;
    this.#options = options;
    this.#partitions = [...places.keys()];
    this.#behind = new Map(places);
    this.#call = call;
    this.#feed = feed;
  }

  async run(): Promise<void> {
    const timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
    try {
      while (!this.#feed.isOver) {
        for (const [partition, place] of this.#behind) await this.#catchUp(partition, place);
        if (this.#behind.size > 0) continue;
        this.#beat();
        this.#lost = Promise.withResolvers();
        await Promise.race([this.#feed.over, this.#lost.promise]);
      }
    } finally {
      clearInterval(timer);
      for (const partition of this.#partitions) this.#options.hub.leave(partition, this);
    }
  }

  take(partition: number, reports: readonly Report[]): void {
    this.#send(partition, reports);
  }

  lose(partition: number, end: ReportPlace | undefined): void {
    this.#behind.set(partition, end);
    this.#lost.resolve();
  }

  async #catchUp(partition: number, from: ReportPlace | undefined): Promise<void> {
    const { follower, history, instruments, turns } = this.#options;
    if (from === undefined) return this.#join(partition, undefined);
    if (follower.find(partition, from)?.epoch !== from.epoch) await history.expect(partition, from);
    let place = from;
    for (let isFresh = false; ;) {
      await this.#feed.room();
      await turns.next();
      if (this.#feed.isOver) return;
      const followed = this.#followed(partition, place);
      if (followed !== undefined) {
        const next = firstOf(followed);
        const reports = this.#reportsOf(partition, next, place, isFresh);
        isFresh = reports === undefined;
        if (reports === undefined) {
          await instruments.refresh();
          continue;
        }
        this.#send(partition, reports);
        const last = next.at(-1);
        if (last !== undefined) place = whole(last);
        // In the same turn: nothing comes in between.
        if (next.length === followed.length) return this.#join(partition, place);
        continue;
      }
      const page = await history.next(partition, place, this.filter);
      if (page !== undefined) {
        this.#send(partition, page.reports);
        place = page.end;
      } else if (follower.end(partition) === undefined) {
        return this.#join(partition, place);
      } else await delay(LAG_MS);
    }
  }

  #join(partition: number, place: ReportPlace | undefined): void {
    this.#behind.delete(partition);
    this.#options.hub.join(partition, this, place);
  }

  /** What the ring has behind a place; undefined where it does not reach back to it. */
  #followed(partition: number, after: ReportPlace): readonly FollowedEntry[] | undefined {
    const { follower } = this.#options;
    const behind = follower.since(partition, after);
    if (behind === undefined || after.index === WHOLE_ENTRY) return behind;
    const own = follower.find(partition, after);
    if (own !== undefined) return [own, ...behind];
    // The log has that entry, and its events are still to come.
    const end = follower.end(partition);
    return end !== undefined && compareEntryIds(end, after) < 0 ? behind : undefined;
  }

  /** Undefined where an instrument is to be learnt first. */
  #reportsOf(
    partition: number,
    entries: readonly FollowedEntry[],
    after: ReportPlace,
    isFresh: boolean,
  ): Report[] | undefined {
    const { instruments } = this.#options;
    const reports: Report[] = [];
    for (const entry of entries) {
      const skipped = compareEntryIds(entry, after) === 0 ? after.index : -1;
      for (const [index, event] of entry.batch.events.entries()) {
        if (index <= skipped || !isWanted(event, this.filter)) continue;
        if (!isFresh && instruments.isUnknown(event.symbol)) return undefined;
        const report = reportOf(event, index, entry, partition, instruments);
        if (report !== undefined) reports.push(report);
      }
    }
    return reports;
  }

  #send(partition: number, reports: readonly Report[]): void {
    if (this.filter.account === undefined && this.#call.principal.role !== "admin") return this.#feed.end(ADMINS_ONLY);
    const missing = this.#missingBefore(partition, reports);
    if (missing !== undefined) {
      const cause = new Error(`partition ${partition}: report ${missing} of ${this.filter.account} is missing`);
      const message = `report ${missing} of partition ${partition} is missing at present: resume later`;
      return this.#feed.end(new RequestError("UNAVAILABLE", message, { cause }));
    }
    if (reports.length > 0) this.#feed.send(reports.map(({ bytes }) => bytes));
  }

  /** An account's reports are counted without a gap: the number of the first that is missing among these, if any is. */
  #missingBefore(partition: number, reports: readonly Report[]): number | undefined {
    if (this.filter.account === undefined || this.filter.symbol !== undefined) return undefined;
    let last = this.#sequences.get(partition);
    for (const { sequence } of reports) {
      if (sequence === 0) continue;
      if (last !== undefined && sequence !== last + 1) return last + 1;
      last = sequence;
    }
    if (last !== undefined) this.#sequences.set(partition, last);
    return undefined;
  }

  #beat(): void {
    if (this.#behind.size > 0 || this.#feed.isOver) return;
    const highWater = this.#partitions.map((partition) => {
      const place = this.#options.hub.placeOf(partition, this);
      return place === undefined
        ? { partition, epoch: 0, entryId: "0-0", index: 0 }
        : { partition, epoch: place.epoch, entryId: formatEntryId(place), index: place.index };
    });
    const value = { highWater, at: timestampOf(Date.now()) };
    const beat = create(WatchOrdersResponseSchema, { update: { case: "heartbeat", value } });
    this.#feed.send([toBinary(WatchOrdersResponseSchema, beat)]);
  }
}

/** As many as may be looked through at once; one at least, where there is one. */
function firstOf(entries: readonly FollowedEntry[]): readonly FollowedEntry[] {
  let count = 0;
  for (let events = 0; events < EVENTS_AT_ONCE && count < entries.length; count++) {
    events += 1 + entries[count]!.batch.events.length;
  }
  return entries.slice(0, count);
}

function whole({ epoch, ms, seq }: Omit<ReportPlace, "index">): ReportPlace {
  return { epoch, ms, seq, index: WHOLE_ENTRY };
}
