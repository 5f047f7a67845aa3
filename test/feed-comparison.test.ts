import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { BitstampParser } from "../src/cli/feed/bitstamp.ts";
import { Comparison } from "../src/cli/feed/comparison.ts";
import { LobsterParser } from "../src/cli/feed/lobster.ts";
import { Recording } from "../src/cli/feed/recording.ts";
import { comparedText } from "../src/cli/feed/report.ts";
import type { Parser, Send } from "../src/cli/feed/step.ts";
import { Engine } from "../src/engine/matching/engine.ts";
import type { Command } from "../src/engine/matching/interface.ts";
import { type ExecType, type ExecutionReport, ExecutionReportSchema } from "../src/gen/penstock/v1/order_pb.ts";
import { fromUnits, parseScale, toUnits } from "../src/stream/decimal.ts";

/**
 * What a recording becomes in the matching engine, held against what was recorded: by the engine itself, without the servers
 * around it, which change nothing of it (I7).
 */

const TIMES = [0, 0b11000, 0b1011010, 0b11000, 0b1011010];
const ACCOUNT = "demo";

/** The engine with one instrument; each command is an entry of its own. */
class EngineAlone {
  readonly #engine = new Engine();
  readonly #tick = parseScale("0.0001");
  readonly #lot: ReturnType<typeof parseScale>;
  #ms = 0;

  constructor(lot: string) {
    this.#lot = parseScale(lot);
    this.#apply({
      kind: "instrument",
      symbol: "X",
      version: 1,
      tickSize: "0.0001",
      lotSize: lot,
      minQuantity: 1,
      maxQuantity: Number.MAX_SAFE_INTEGER,
      minPrice: 1,
      maxPrice: Number.MAX_SAFE_INTEGER,
      timesInForce: TIMES,
    });
  }

  send({ command }: Send): ExecutionReport[] {
    if (command.case === "cancelAll") throw new TypeError("no recording has one");
    const { clientOrderId } = command.value;
    const key = { keyHigh: 0, keyLow: Number(clientOrderId.replace(/\D/g, "")) | 0 };
    const target = { by: "client", clientOrderId, ...key } as const;
    const common = { account: ACCOUNT, symbol: "X", stopPrice: 0, displayQuantity: 0 };
    if (command.case === "cancel") return this.#apply({ kind: "cancel", ...common, target });
    const quantity = this.#units(command.value.quantity, this.#lot);
    const price = this.#units(command.value.price, this.#tick);
    if (command.case === "replace") {
      const { clientRequestId } = command.value;
      return this.#apply({ kind: "replace", ...common, target, quantity, price }, clientRequestId);
    }
    const submit = { ...command.value, ...common, quantity, price, expireTime: 0 };
    return this.#apply({ kind: "submit", account: ACCOUNT, ...key, submit });
  }

  #apply(command: Command, clientRequestId = ""): ExecutionReport[] {
    const { events } = this.#engine.apply({ epoch: 1, ms: ++this.#ms, seq: 0, commands: [command] });
    return Array.from({ length: events.count }, (_, i) => {
      const { execType, clientOrderId, cumQuantity, lastQuantity, trade, aggressor } = events.at(i);
      const order = { clientOrderId, cumQuantity: fromUnits(cumQuantity, this.#lot) };
      return create(ExecutionReportSchema, {
        execType: execType as ExecType,
        order,
        lastQuantity: fromUnits(lastQuantity, this.#lot),
        trade: BigInt(trade),
        aggressor,
        clientRequestId,
      });
    });
  }

  #units(text: string, scale: ReturnType<typeof parseScale>): number {
    const units = text === "" ? 0 : toUnits(text, scale);
    assert.ok(typeof units === "number", `${text}: ${units}`);
    return units;
  }
}

class Comparing {
  readonly comparison: Comparison;
  readonly #parser: Parser;
  readonly #engine: EngineAlone;
  #line = 0;

  constructor(parser: Parser, lot: string, sendsExecutions: boolean) {
    this.#parser = parser;
    this.#engine = new EngineAlone(lot);
    this.comparison = new Comparison(parser.unit!, sendsExecutions);
  }

  read(lines: readonly string[]): void {
    for (const text of lines) for (const step of this.#parser.read(text, ++this.#line)) this.#take(step);
  }

  end(): ReturnType<Comparison["result"]> {
    for (const step of this.#parser.end()) this.#take(step);
    return this.comparison.result();
  }

  #take(step: ReturnType<Parser["end"]>[number]): void {
    if (step.kind !== "send" && step.kind !== "fill") return;
    this.comparison.recorded(step);
    if (step.kind === "send") for (const report of this.#engine.send(step)) this.comparison.report(report);
  }
}

const options = { run: "r", symbol: "X", executions: true };
const bitstamp = () => new Comparing(new BitstampParser(options), "0.00000001", true);

test("orders that are filled as recorded are the same, and each difference has its reason", () => {
  const comparing = bitstamp();
  comparing.read([
    // As recorded: 11 takes from 10.
    "10,1000,0,100.00,50,created,bid",
    "11,1000,0,99.00,20,created,ask",
    "10,1001,0,100.00,30,changed,bid",
    "11,1001,0,99.00,0,deleted,ask",
    "10,1002,0,100.00,30,deleted,bid",
    // 13 takes what the venue rounds.
    "12,2000,0,100.00,5000,created,bid",
    "13,2000,0,100.00,2001,created,ask",
    "12,2001,0,100.00,3000,changed,bid",
    "13,2001,0,100.00,0,deleted,ask",
    "12,2002,0,100.00,3000,deleted,bid",
    // 14 traded with one from before.
    "14,3000,0,100.00,70,created,bid",
    "2,3000,0,100.00,0,deleted,ask",
    "14,3001,0,100.00,0,deleted,bid",
    // So it is still there when 15 comes.
    "15,9000,0,100.00,30,created,ask",
    "15,9001,0,100.00,30,deleted,ask",
    // 16 and 17 cross, and do not trade.
    "16,10000,0,101.00,10,created,ask",
    "17,10000,0,101.00,10,created,bid",
    "16,10100,0,101.00,10,deleted,ask",
    "17,10100,0,101.00,10,deleted,bid",
    // 19 is canceled in the recording, and yet 20 was filled by it.
    "20,15000,0,102.00,1000000,created,ask",
    "19,15001,0,102.00,500000,created,bid",
    "19,15002,0,102.00,500000,deleted,bid",
    "20,15002,0,102.00,500010,changed,ask",
    "20,15900,0,102.00,500010,deleted,ask",
    // 18 traded with nobody.
    "18,20000,0,50.00,10,created,bid",
    "18,20000,0,50.00,0,deleted,bid",
  ]);
  const { differing, ...sums } = comparing.end();
  assert.deepEqual(
    differing.map(({ order, recorded, engine, why }) => [order, recorded, engine, why]),
    [
      ["r-12", 2_000, 2_001, "digits"],
      ["r-14", 70, 30, "before"],
      ["r-15", 0, 30, "gone"],
      ["r-16", 0, 10, "crossed"],
      ["r-17", 0, 10, "crossed"],
      ["r-20", 499_990, 500_000, "canceled"],
      ["r-19", 0, 500_000, "canceled"],
      ["r-18", 10, 0, "partner"],
    ],
  );
  assert.deepEqual(sums, {
    orders: 11,
    uncompared: 0,
    same: 3,
    sameFilled: 3,
    recordedFilled: 7,
    recordedQuantity: "0.00504111",
    engineQuantity: "0.01004122",
    why: { digits: 1, before: 1, gone: 1, crossed: 2, canceled: 2, partner: 1 },
  });
});

test("LOBSTER with executions: what took is made of them, and fills what they say", () => {
  const rows = [
    "1.0,1,1,100,1000000,-1",
    "1.0,1,2,50,1000100,-1",
    "2.0,4,1,100,1000000,-1",
    "2.0,4,2,20,1000100,-1",
    "2.0,1,3,10,1000100,1",
    "3.0,3,2,30,1000100,-1",
  ];
  const comparing = new Comparing(new LobsterParser(options), "1", true);
  comparing.read(rows);
  // 3 is shown as new at a price at which 2 rests: in the record it came when 2 was hidden behind what took.
  const { differing, same, sameFilled } = comparing.end();
  assert.deepEqual([same, sameFilled], [2, 2]);
  assert.deepEqual(
    differing.map(({ order, recorded, engine, why }) => [order, recorded, engine, why]),
    [
      ["r-2", 20, 30, "crossed"],
      ["r-3", 0, 10, "crossed"],
    ],
  );
  const without = new Comparing(new LobsterParser({ ...options, executions: false }), "1", false);
  without.read(rows.slice(0, 4));
  assert.deepEqual(without.end().why, { unsent: 2 });
});

const data = process.env["PENSTOCK_TEST_DATA"];

test(
  "Bitstamp, five hours of 2015-05-01: nearly all is filled as recorded, and the rest is explained",
  {
    skip:
      data === undefined && "PENSTOCK_TEST_DATA does not name the folder of bitstamp-btcusd-2015-05-01-orders.csv.xz",
  },
  async (t) => {
    const recording = await Recording.open(join(data!, "bitstamp-btcusd-2015-05-01-orders.csv.xz"));
    const comparing = bitstamp();
    for await (const lines of recording.lines()) comparing.read(lines);
    const compared = comparing.end();
    t.diagnostic(comparedText(compared));
    assert.deepEqual(compared.why, { digits: 23, gone: 15, before: 4, canceled: 5, partner: 4 });
    const { orders, same, sameFilled, recordedFilled } = compared;
    assert.deepEqual(
      { orders, same, sameFilled, recordedFilled },
      { orders: 24_894, same: 24_843, sameFilled: 694, recordedFilled: 736 },
    );
  },
);
