import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import {
  WatchOrdersRequestSchema,
  type WatchOrdersResponse,
  WatchOrdersResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import type { EngineEvent, EventBatch } from "../stream/event-batch.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { Partitioning } from "../stream/partition.ts";
import { compareEntryIds, type EntryId, type EntryPosition, START } from "../stream/position.ts";
import type { Call, Feed } from "./call.ts";
import type { RequestError } from "./errors.ts";
import type { FollowedEntry, FollowListener } from "./event-follower.ts";
import { OrderWatches } from "./order-watch.ts";
import type { ReportPage } from "./report-history.ts";
import type { Follower } from "./report-hub.ts";
import { isWanted, type Report, type ReportFilter, reportOf, type ReportPlace, WHOLE_ENTRY } from "./reports.ts";

/** A watch against a log in memory that is followed, lost and found again in every order; real ones are in test/. */

const BTC = prepareInstrument(
  create(InstrumentSchema, { symbol: "BTC-USD", tickSize: "0.01", lotSize: "1", version: 1 }),
);
const ACCOUNTS = ["alice", "bob"] as const;

/**
 * The events of one partition, and those who follow them. The ring has the newest; history has all. What is `hidden` is in the
 * log, and the follower has not seen it.
 */
class TestLog implements Follower {
  readonly entries: FollowedEntry[] = [];
  readonly #listeners = new Set<FollowListener>();
  readonly #sequences = new Map<string, number>();
  /** Where the ring begins, and how far the follower has come. */
  #ring = 0;
  #followed = 0;
  isKnown = true;

  readonly instruments = {
    get: (symbol: string) => (symbol === "BTC-USD" && this.isKnown ? BTC : undefined),
    find: async () => (this.isKnown ? BTC : undefined),
    isUnknown: (symbol: string) => symbol !== "" && !this.isKnown,
    refresh: async () => {
      await turn();
      this.isKnown = true;
    },
  };

  /** An entry with so many events of each account. `hidden`: the follower misses it. */
  append(counts: readonly number[], isHidden: boolean): void {
    const last = this.entries.at(-1);
    const events: EngineEvent[] = [];
    for (const [i, account] of ACCOUNTS.entries()) {
      for (let n = 0; n < (counts[i] ?? 0); n++) events.push(this.#event(account));
    }
    const batch: EventBatch = { stateHash: 0n, rules: 1, events, levels: [] };
    const ms = (last?.ms ?? 0) + 10;
    const previous: EntryId = last === undefined ? START : { ms: last.ms, seq: 0 };
    const entry = { epoch: 1, ms, seq: 0, id: `${ms}-0`, previous, batch, event: (index: number) => events[index] };
    const isNext = this.#followed === this.entries.length;
    this.entries.push(entry);
    if (isHidden || !isNext) return;
    this.#followed++;
    for (const listener of this.#listeners) listener.entry(entry);
  }

  /** The follower comes to the end again; where it had missed something its listeners are told. */
  recover(): void {
    if (this.#followed === this.entries.length) return;
    this.#followed = this.entries.length;
    this.shrink(2);
    for (const listener of this.#listeners) listener.reset();
  }

  find(_: number, id: EntryId): FollowedEntry | undefined {
    return this.#inRing.find((entry) => compareEntryIds(entry, id) === 0);
  }

  /** The ring keeps so many. */
  shrink(entries: number): void {
    this.#ring = Math.max(0, this.#followed - entries);
  }

  end(): EntryPosition | undefined {
    return this.#inRing.at(-1);
  }

  since(_: number, after: EntryPosition): readonly FollowedEntry[] | undefined {
    const [first] = this.#inRing;
    if (first === undefined || compareEntryIds(after, first.previous) < 0) return undefined;
    return this.#inRing.filter((entry) => compareEntryIds(entry, after) > 0);
  }

  listen(_: number, listener: FollowListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  readonly history = {
    expect: async (_: number, place: ReportPlace) => {
      await turn();
      assert.ok(place.epoch === 0 || this.entries.some((entry) => compareEntryIds(entry, place) === 0));
    },
    next: async (_: number, after: ReportPlace, filter: ReportFilter): Promise<ReportPage | undefined> => {
      await turn();
      const entry = this.entries.find((entry) => (compareEntryIds(entry, after) || WHOLE_ENTRY - after.index) > 0);
      if (entry === undefined) return undefined;
      const skipped = compareEntryIds(entry, after) === 0 ? after.index : -1;
      const reports = this.reportsOf(entry, filter).filter(({ index }) => index > skipped);
      return { reports, end: { epoch: 1, ms: entry.ms, seq: 0, index: WHOLE_ENTRY } };
    },
  };

  reportsOf(entry: FollowedEntry, filter: ReportFilter): Report[] {
    return entry.batch.events.flatMap((event, index) => {
      const report = isWanted(event, filter) ? reportOf(event, index, entry, 0, { get: () => BTC }) : undefined;
      return report === undefined ? [] : [report];
    });
  }

  get #inRing(): FollowedEntry[] {
    return this.entries.slice(this.#ring, this.#followed);
  }

  #event(account: string): EngineEvent {
    const sequence = (this.#sequences.get(account) ?? 0) + 1;
    this.#sequences.set(account, sequence);
    return {
      ...{ kind: 1, command: 0, account, sequence, reason: 0, symbol: "BTC-USD", execType: 1, status: 2 },
      ...{ orderId: "", clientOrderId: "c", side: 1, type: 2, timeInForce: 1, selfTradePrevention: 0 },
      ...{ postOnly: false, triggered: false, quantity: 5, price: 100, stopPrice: 0, displayQuantity: 0 },
      ...{ expireTime: 0, cumQuantity: 0, leavesQuantity: 5, valueHigh: 0, valueLow: 0, lastQuantity: 0, lastPrice: 0 },
      ...{ trade: 0, aggressor: false, otherOrderId: "", clientRequestId: "", affected: 0, remaining: 0 },
    };
  }
}

class TestFeed implements Feed {
  readonly answers: WatchOrdersResponse[] = [];
  isOver = false;
  readonly over: Promise<void>;
  error: RequestError | undefined;
  readonly #resolve: () => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#resolve = resolve;
  }

  send(answers: readonly Uint8Array[]): void {
    if (!this.isOver) this.answers.push(...answers.map((bytes) => fromBinary(WatchOrdersResponseSchema, bytes)));
  }

  async room(): Promise<void> {
    await turn();
  }

  end(error?: RequestError): void {
    this.error ??= error;
    this.isOver = true;
    this.#resolve();
  }

  get reports(): string[] {
    return this.answers.flatMap(({ update }) =>
      update.case === "execution" ? `${update.value.position!.entryId} ${update.value.position!.index}` : [],
    );
  }
}

function callOf(account: string | undefined): Call {
  const role = account === undefined ? "admin" : "trader";
  const principal = { account: account ?? "root", role, suspended: false, rateLimit: 0, tokenId: "", expiresAtMs: 0 };
  return { principal, deadline: Infinity, cancelled: false } as Call;
}

function watch(watches: OrderWatches, account: string | undefined, after: ReportPlace | undefined) {
  const feed = new TestFeed();
  const places = after && [{ epoch: after.epoch, entryId: `${after.ms}-${after.seq}`, index: after.index }];
  const request = create(WatchOrdersRequestSchema, { allAccounts: account === undefined, after: places ?? [] });
  const done = watches.watchOrders(request, callOf(account), feed).catch((error: RequestError) => feed.end(error));
  return { feed, done };
}

test("whatever is followed, lost and found: each watch gets all behind its place, once and in order (I4)", async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("append" as const), counts: fc.tuple(fc.nat(3), fc.nat(2)) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("hide" as const), counts: fc.tuple(fc.nat(3), fc.nat(2)) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("recover" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("forget" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("shrink" as const), to: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("turn" as const), times: fc.nat(4) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("watch" as const),
        account: fc.constantFrom(...ACCOUNTS, undefined),
        place: fc.double({ min: 0, max: 1, noNaN: true }),
        index: fc.constantFrom(0, 1, WHOLE_ENTRY),
      }),
    },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), async (steps) => {
      const log = new TestLog();
      const watches = new OrderWatches({
        follower: log,
        history: log.history,
        instruments: log.instruments,
        partitioning: new Partitioning(1),
      });
      const begun: (ReturnType<typeof watch> & { expected: () => string[] })[] = [];
      for (const step of steps) {
        if (step.do === "append" || step.do === "hide") log.append(step.counts, step.do === "hide");
        else if (step.do === "recover") log.recover();
        else if (step.do === "forget") log.isKnown = false;
        else if (step.do === "shrink") log.shrink(step.to);
        else if (step.do === "turn") for (let i = 0; i < step.times; i++) await turn();
        else {
          const { account, index } = step;
          const at = log.entries[Math.floor(step.place * log.entries.length)];
          const after = at ? { epoch: 1, ms: at.ms, seq: 0, index } : { epoch: 0, ...START, index: WHOLE_ENTRY };
          const expected = (): string[] =>
            log.entries
              .flatMap((entry) => log.reportsOf(entry, { account, symbol: undefined }))
              .filter((report) => (compareEntryIds(report, after) || report.index - after.index) > 0)
              .map(({ ms, seq, index }) => `${ms}-${seq} ${index}`);
          begun.push({ ...watch(watches, account, after), expected });
        }
      }
      log.recover();
      const wanted = begun.map(({ feed, expected }) => ({ feed, expected: expected() }));
      const isCaughtUp = () =>
        wanted.every(({ feed, expected }) => feed.isOver || feed.reports.length >= expected.length);
      for (let i = 0; i < 2_000 && !isCaughtUp(); i++) await turn();
      for (let i = 0; i < 10; i++) await turn();
      for (const { feed, expected } of wanted) {
        assert.equal(feed.error, undefined);
        assert.deepEqual(feed.reports, expected);
        feed.end();
      }
      await Promise.all(begun.map(({ done }) => done));
      assert.equal(log.listeners, 0, "nobody listens any more");
    }),
    { numRuns: 100 },
  );
});

test("a report that is missing ends the watch, and is named", async () => {
  const log = new TestLog();
  const options = {
    follower: log,
    history: log.history,
    instruments: log.instruments,
    partitioning: new Partitioning(1),
  };
  const watches = new OrderWatches(options);
  log.append([2, 0], false);
  const { feed, done } = watch(watches, "alice", { epoch: 0, ...START, index: WHOLE_ENTRY });
  for (let i = 0; i < 20; i++) await turn();
  assert.deepEqual(feed.reports, ["10-0 0", "10-0 1"]);
  log.append([1, 0], true);
  // As if it had never been.
  const lost = log.entries.pop()!;
  log.append([1, 0], false);
  assert.equal(lost.batch.events[0]?.sequence, 3);
  await done;
  assert.equal(feed.error?.code, "UNAVAILABLE");
  assert.match(feed.error.message, /report 3 of partition 0 is missing/);
});

test("heartbeats name what was sent; a watch of all accounts ends with the admin's role", async () => {
  const log = new TestLog();
  const options = {
    follower: log,
    history: log.history,
    instruments: log.instruments,
    partitioning: new Partitioning(1),
  };
  const watches = new OrderWatches(options);
  const feed = new TestFeed();
  const call = callOf(undefined);
  const request = create(WatchOrdersRequestSchema, { allAccounts: true });
  const done = watches.watchOrders(request, call, feed);
  for (let i = 0; i < 20; i++) await turn();
  const [beat] = feed.answers;
  assert.ok(beat?.update.case === "heartbeat");
  assert.deepEqual(
    beat.update.value.highWater.map(({ epoch, entryId, index }) => [epoch, entryId, index]),
    [[0, "0-0", 0]],
  );
  log.append([1, 1], false);
  assert.equal(feed.reports.length, 2);
  Object.assign(call.principal, { role: "trader" });
  log.append([1, 1], false);
  await done;
  assert.equal(feed.error?.code, "PERMISSION_DENIED");
  assert.equal(feed.reports.length, 2);
});
