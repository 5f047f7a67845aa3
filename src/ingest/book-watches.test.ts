import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { pino } from "pino";
import { EngineLevelSchema, GetEngineBookResponseSchema } from "../gen/penstock/v1/engine_service_pb.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { WatchBookResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import { Side } from "../gen/penstock/v1/order_pb.ts";
import type { EngineEvent } from "../stream/event-batch.ts";
import { EVENT_KIND } from "../stream/event-names.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { BookWatches } from "./book-watches.ts";
import type { Feed } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { RequestError } from "./errors.ts";
import type { NewsListener, SymbolNews } from "./symbol-news.ts";

const definition = { symbol: "BTC-USD", tickSize: "1", lotSize: "1", version: 1 };
const instrument = prepareInstrument(create(InstrumentSchema, definition));

/** An engine and a log by hand: the engine answers with a version when it is let; the entry that makes it has its number. */
function scene() {
  const asked: PromiseWithResolvers<{ version: number; epoch: number; ms: number }>[] = [];
  let listener: NewsListener | undefined;
  const engines = {
    getBook: async () => {
      const answer: (typeof asked)[number] = Promise.withResolvers();
      asked.push(answer);
      const { version, epoch, ms } = await answer.promise;
      const bids = [create(EngineLevelSchema, { price: 5n, quantityLow: BigInt(version), orders: 1 })];
      const position = { epoch, entryId: `${ms}-0` };
      return create(GetEngineBookResponseSchema, { symbol: "BTC-USD", version: BigInt(version), bids, position });
    },
  } as unknown as EngineClient;
  const news = {
    listen: (_: string, given: NewsListener) => {
      listener = given;
      return () => (listener = undefined);
    },
  } as unknown as SymbolNews;
  const watches = new BookWatches({ engines, news, log: pino({ level: "silent" }) });
  return {
    watches,
    /** Lets the engine answer the next question. */
    answer: async (version: number | Error, epoch = 1, ms = Number(version)) => {
      for (let i = 0; asked.length === 0 && i < 400; i++) await sleep(5);
      const next = asked.shift();
      assert.ok(next !== undefined, "the engine was not asked");
      if (version instanceof Error) next.reject(version);
      else next.resolve({ version, epoch, ms });
      await sleep(0);
    },
    get isListening() {
      return listener !== undefined;
    },
    change: (version: number, epoch = 1, ms = version) => {
      const level = {
        symbol: "BTC-USD",
        version,
        side: Side.BUY,
        price: 5,
        quantityHigh: 0,
        quantityLow: version,
        orders: 1,
      };
      listener?.news({ epoch, ms, seq: 0, levels: [level], events: [] });
    },
    /** An operator's command. */
    halt: (ms: number) => {
      const events = [{ kind: EVENT_KIND.COMMAND, account: "", trade: 0 } as EngineEvent];
      listener?.news({ epoch: 1, ms, seq: 0, levels: [], events });
    },
    reset: () => listener?.reset(),
  };
}

function watcher() {
  const told: string[] = [];
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const feed: Feed = {
    isOver: false,
    over,
    send: (answers) => {
      for (const bytes of answers) {
        const { update } = fromBinary(WatchBookResponseSchema, bytes);
        told.push(`${update.case} ${update.value?.version}`);
      }
    },
    room: async () => {},
    end: (error) => {
      told.push(error.code);
      resolve();
    },
  };
  return { feed, told, leave: resolve };
}

test("the snapshot and what came while the engine was asked fit together; all have the same book", async () => {
  const { watches, answer, change } = scene();
  const [one, two] = [watcher(), watcher()];
  const done = [watches.watch(instrument, one.feed), watches.watch(instrument, two.feed)];
  for (const version of [3, 4, 5, 6]) change(version);
  await answer(4); // 3 and 4 are in it
  assert.deepEqual(one.told, ["snapshot 6"]);
  change(7);
  const three = watcher();
  done.push(watches.watch(instrument, three.feed));
  change(8);
  assert.deepEqual(one.told, ["snapshot 6", "increment 7", "increment 8"]);
  assert.deepEqual(two.told, one.told);
  assert.deepEqual(three.told, one.told, "the snapshot that was there, and what came behind it");
  for (const { leave } of [one, two, three]) leave();
  await Promise.all(done);
});

test("a gap, a reset and an engine that is behind: the book is taken anew, and goes on with a snapshot", async () => {
  const { watches, answer, change, reset } = scene();
  const { feed, told, leave } = watcher();
  const done = watches.watch(instrument, feed);
  await answer(1);
  change(2);
  change(4); // 3 is missing
  change(5);
  await answer(3); // a standby that is behind: what came since does not fit
  await answer(5);
  reset();
  change(6);
  reset();
  await answer(6);
  await answer(7);
  change(8);
  assert.deepEqual(told, ["snapshot 1", "increment 2", "snapshot 5", "snapshot 7", "increment 8"]);
  leave();
  await done;
});

test("an engine that has what the log has lost: the book is taken anew as soon as the log goes on without it", async () => {
  const { watches, answer, change, reset } = scene();
  const { feed, told, leave } = watcher();
  const done = watches.watch(instrument, feed);
  await answer(6);
  change(7);
  reset(); // 6 and 7 are gone, and the engine has not seen it yet
  await answer(7);
  change(6, 2, 8);
  change(7, 2, 9);
  await answer(7, 2, 9);
  change(8, 2, 10);
  assert.deepEqual(told, ["snapshot 6", "increment 7", "snapshot 7", "snapshot 7", "increment 8"]);
  leave();
  await done;
});

test("a standby that is behind what was followed is not believed, though nothing came since", async () => {
  const { watches, answer, change, halt } = scene();
  const { feed, told, leave } = watcher();
  const done = watches.watch(instrument, feed);
  await answer(1);
  change(2);
  halt(3); // changes no level, and so has no version
  await answer(2);
  await answer(2, 1, 3);
  assert.deepEqual(told, ["snapshot 1", "increment 2", "snapshot 2"]);
  leave();
  await done;
});

test("where no engine answers its watchers are told, and the next one asks again", async () => {
  const venue = scene();
  const { watches, answer, change } = venue;
  const [one, two] = [watcher(), watcher()];
  const done = [watches.watch(instrument, one.feed), watches.watch(instrument, two.feed)];
  await answer(new RequestError("UNAVAILABLE", "no engine answers at present"));
  assert.deepEqual([one.told, two.told], [["UNAVAILABLE"], ["UNAVAILABLE"]]);
  await Promise.all(done);
  assert.ok(!venue.isListening);
  const three = watcher();
  const again = watches.watch(instrument, three.feed);
  await answer(new RequestError("NOT_FOUND", "no such symbol"));
  assert.deepEqual(three.told, ["UNAVAILABLE"], "its definition is on its way");
  await again;
  const four = watcher();
  const last = watches.watch(instrument, four.feed);
  await answer(9);
  change(10);
  assert.deepEqual(four.told, ["snapshot 9", "increment 10"]);
  four.leave();
  await last;
});
