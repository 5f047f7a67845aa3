import { fromBinary } from "@bufbuild/protobuf";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { ExecutionReport } from "../gen/penstock/v1/order_pb.ts";
import { type OrderService, WatchOrdersResponseSchema } from "../gen/penstock/v1/order_service_pb.ts";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { readOrderExecutions } from "../store/executions.ts";
import { findCommits, readEntry as readJournalEntry, readJournal } from "../store/journal.ts";
import { findOrder } from "../store/orders.ts";
import { decodeBatch } from "../stream/logged-command.ts";
import { decodeEventBatch } from "../stream/event-decoder.ts";
import type { InstrumentBook } from "../stream/instrument-book.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findEntry, findNext } from "../stream/lookup.ts";
import { findEventEntry, findStatuses, type StatusPlace } from "../stream/order-status.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseOrderId, type Place, START } from "../stream/position.ts";
import type { Call, Implementation } from "./call.ts";
import { invalidArgument } from "./errors.ts";
import type { EventFollower, FollowedEntry } from "./event-follower.ts";
import type { OrderInit } from "./execution-reports.ts";
import type { OrderReads } from "./order-reads.ts";
import { type Report, reportOf, storedReportOf } from "./reports.ts";
import { timestampOf } from "./timestamp.ts";
import { Turns } from "./turns.ts";
import { validateGet } from "./validation/requests.ts";
import { isRefused } from "./validation/violation.ts";

type OrderMethods = Implementation<typeof OrderService>;

export interface OrderTracesOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly reads: Pick<OrderReads, "read">;
  readonly follower: Pick<EventFollower, "find" | "since">;
  /** One a partition, in their order. */
  readonly partitions: readonly PartitionKeys[];
  readonly instruments: InstrumentBook;
}

/** As many as are shown. */
const MAX_REPORTS = 1_000;
/** Of the account, in Postgres: some 50 ms. */
const MAX_LOOKS = 20_000;
/** Entries that are not written yet and are looked through, each in a turn of its own: workers are a second behind at most, nearly always. */
const MAX_UNWRITTEN = 64;

/** One order's whole way, as far as log, events and Postgres know it. */
export class OrderTraces implements Pick<OrderMethods, "getOrderTrace"> {
  readonly #options: OrderTracesOptions;
  readonly #turns = new Turns(1);

  constructor(options: OrderTracesOptions) {
    this.#options = options;
  }

  getOrderTrace: OrderMethods["getOrderTrace"] = async (request, call) => {
    const { reads, sql, instruments } = this.#options;
    await instruments.find(request.symbol);
    const target = validateGet(request, instruments);
    if (isRefused(target)) throw invalidArgument(target);
    const order = await reads.read(target, call.principal.account);
    const place = parseOrderId(order.orderId ?? "")!;
    const commits = await findCommits(sql, place.partition, place);
    const commitOf = (stream: number) => commits.find((commit) => commit.stream === stream);
    const [ofOrder, ofEvents] = [commitOf(ORDERS_STREAM), commitOf(EVENTS_STREAM)];
    // A row that Postgres refused is a dead letter, though its entry is written.
    const hasRow = ofOrder !== undefined && (await findOrder(sql, order.orderId!)) !== undefined;
    const [logged, matched, reports] = await Promise.all([
      this.#logged(place),
      this.#matched(place, ofEvents?.commands),
      this.#reports(place, order, call),
    ]);
    const isWritten = hasRow || ofEvents !== undefined;
    return {
      order,
      logged,
      ...(matched && { matched }),
      ...(isWritten && {
        written: {
          order: hasRow,
          ...(hasRow && ofOrder.committedAt && { orderAt: timestampOf(ofOrder.committedAt.getTime()) }),
          events: ofEvents !== undefined,
          ...(ofEvents?.committedAt && { eventsAt: timestampOf(ofEvents.committedAt.getTime()) }),
        },
      }),
      executions: reports.executions,
      incomplete: !reports.isComplete,
    };
  };

  async #logged(place: Place) {
    const { redis, sql, partitions } = this.#options;
    const keys = partitions[place.partition]!;
    const entry = await findEntry(redis, keys, place);
    const stored = entry ? undefined : await readJournalEntry(sql, ORDERS_STREAM, place.partition, place);
    const payload = entry?.payload ?? stored?.payload ?? undefined;
    const previous = entry?.previous ?? (stored && { ms: stored.prevMs, seq: stored.prevSeq });
    const next = await this.#next(place, keys);
    return {
      position: { ...positionOf(place), index: place.index },
      at: timestampOf(place.ms),
      commands: payload === undefined ? 0 : decodeBatch(payload).length,
      bytes: payload?.length ?? 0,
      previousEntryId: previous === undefined || compareEntryIds(previous, START) === 0 ? "" : formatEntryId(previous),
      nextEntryId: next === undefined ? "" : formatEntryId(next),
      inStream: entry !== undefined,
    };
  }

  async #next(place: Place, keys: PartitionKeys): Promise<EntryId | undefined> {
    const { redis, sql } = this.#options;
    const inStream = await findNext(redis, keys, place);
    if (inStream !== undefined) return inStream;
    const range = { stream: ORDERS_STREAM, partition: place.partition, after: place, limit: 1 };
    const [next] = await readJournal(sql, range);
    return next !== undefined && next.prevMs === place.ms && next.prevSeq === place.seq ? next : undefined;
  }

  async #matched(place: Place, written: number | undefined) {
    const { follower, redis, partitions } = this.#options;
    const followed = follower.find(place.partition, place);
    const seenAt = followed?.seenMs === undefined ? {} : { seenAt: timestampOf(followed.seenMs) };
    if (followed !== undefined) return { events: followed.batch.events.length, ...seenAt };
    if (written !== undefined) return { events: written };
    const entry = await findEventEntry(redis, partitions[place.partition]!, place);
    return entry && { events: decodeEventBatch(entry.payload).events.length };
  }

  async #reports(place: Place, order: OrderInit, call: Call) {
    const { redis, partitions, instruments } = this.#options;
    const orderId = order.orderId!;
    const [newest] = await findStatuses(redis, partitions[place.partition]!, [orderId]);
    const stored = await this.#written(place, order, call);
    if (stored.executions.some(({ symbol }) => instruments.isUnknown(symbol))) await instruments.refresh();
    const written = stored.executions.map((execution) => storedReportOf(execution, instruments));
    const last = written.at(-1);
    if (newest === undefined || (last !== undefined && compareEntryIds(newest, last) <= 0)) {
      return { executions: written.map(messageOf), isComplete: stored.isComplete };
    }
    const { reports, isComplete } = await this.#unwritten(place, orderId, last ?? place, newest);
    const known = new Set(written.map(keyOf));
    const all = [...written, ...reports.filter((report) => !known.has(keyOf(report)))].slice(-MAX_REPORTS);
    return { executions: all.map(messageOf), isComplete: stored.isComplete && isComplete };
  }

  /** A refusal may come long after the order's last change; where the account has too many reports by then, up to that change. */
  async #written(place: Place, { orderId, updatedAt }: OrderInit, { principal: { account } }: Call) {
    const { sql } = this.#options;
    const order = { ...place, account, orderId: orderId! };
    const bounds = { limit: MAX_REPORTS, looks: MAX_LOOKS };
    const all = await readOrderExecutions(sql, { ...order, untilMs: Number.MAX_SAFE_INTEGER }, bounds);
    if (all.isComplete || updatedAt === undefined) return all;
    const untilMs = timestampMs(updatedAt as Timestamp);
    return { ...(await readOrderExecutions(sql, { ...order, untilMs }, bounds)), isComplete: false };
  }

  /** What the newest entries have for an order, up to its newest event. */
  async #unwritten(place: Place, orderId: string, from: EntryId, newest: StatusPlace) {
    const { follower, instruments } = this.#options;
    const isBetween = (entry: FollowedEntry) =>
      compareEntryIds(entry, from) >= 0 && compareEntryIds(entry, newest) <= 0;
    const before = { epoch: place.epoch, ...(from.seq > 0 ? { ms: from.ms, seq: from.seq - 1 } : lastOf(from.ms - 1)) };
    const behind = follower.since(place.partition, before);
    const own = follower.find(place.partition, newest);
    const between = behind?.filter(isBetween) ?? (own === undefined ? [] : [own]);
    const entries = between.slice(-MAX_UNWRITTEN);
    const reports: Report[] = [];
    for (const entry of entries) {
      await this.#turns.next();
      for (const [index, event] of entry.batch.events.entries()) {
        if (event.orderId !== orderId) continue;
        const report = reportOf(event, index, entry, place.partition, instruments);
        if (report !== undefined) reports.push(report);
      }
    }
    return { reports, isComplete: behind !== undefined && between.length === entries.length };
  }
}

/** The last ID that a millisecond can have. */
function lastOf(ms: number): EntryId {
  return { ms, seq: 0xffff_ffff };
}

function positionOf({ partition, epoch, ms, seq }: Place) {
  return { partition, epoch, entryId: formatEntryId({ ms, seq }) };
}

function keyOf({ epoch, ms, seq, index }: Report): string {
  return `${epoch} ${ms}-${seq} ${index}`;
}

function messageOf({ bytes }: Report): ExecutionReport {
  return fromBinary(WatchOrdersResponseSchema, bytes).update.value as ExecutionReport;
}
