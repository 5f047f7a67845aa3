import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { OrderBook, Side as Sides } from "nodejs-order-book";
import { Engine } from "../../src/engine/matching/engine.ts";
import type { Command, InstrumentCommand, Outcome, SubmitCommand } from "../../src/engine/matching/interface.ts";
import { RULES } from "../../src/engine/matching/rules.ts";
import { printLoops, printRow } from "../measure/loop.ts";

// Sides alternate, at ten prices which all cross: five to sell at, five above them to buy at. Each order trades with what
// the ones before left, or rests. The buys' quantities are the sells', moved by some places: a pass ends with the book
// with which it began, which is deep: orders away from the crossing prices, on both sides.
const ORDERS = 20_000;
const MOVED = 7;
const LOWEST = 100_000;
const DEEP_LEVELS = 1_000;
const DEEP_ORDERS = 10;
const ACCOUNTS = 50;
const MILLION = 1_000_000;
const ENTRY = 500;

const instrument: InstrumentCommand = {
  kind: "instrument",
  symbol: "BTC-USD",
  version: 1,
  tickSize: "0.01",
  lotSize: "0.00000001",
  minQuantity: 1,
  maxQuantity: Number.MAX_SAFE_INTEGER,
  minPrice: 1,
  maxPrice: Number.MAX_SAFE_INTEGER,
  timesInForce: [0, 0b11000, 0b1011010, 0b11000, 0b1011010],
};

// Numbers that look like chance, the same in every run: a counter through the mixer of MurmurHash3.
let drawn = 0;
function random(): number {
  let x = Math.imul(++drawn, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** As a decoder makes it: in one piece. */
function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

/** The names are the same strings again and again: the process that decodes entries sees to that. */
const accounts = Array.from({ length: ACCOUNTS }, (_, i) => `account-${i}`);

function submit(n: number, side: number, price: number, quantity: number): SubmitCommand {
  return {
    kind: "submit",
    account: accounts[n % ACCOUNTS]!,
    keyHigh: random(),
    keyLow: random(),
    submit: {
      clientOrderId: flat(`order-${n.toString(36).padStart(8, "0")}`),
      symbol: instrument.symbol,
      side,
      type: 2,
      timeInForce: 1,
      quantity,
      price,
      stopPrice: 0,
      displayQuantity: 0,
      expireTime: 0,
      postOnly: false,
      selfTradePrevention: 0,
    },
  };
}

const quantities = Array.from({ length: ORDERS / 2 }, () => 1 + ((random() >>> 16) % 100));
const crossing = Array.from({ length: ORDERS }, (_, i) => {
  const quantity = quantities[((i >> 1) + (i % 2 === 0 ? 0 : MOVED)) % quantities.length]!;
  const step = (random() >>> 16) % 5;
  return i % 2 === 0 ? submit(i, 2, LOWEST + step, quantity) : submit(i, 1, LOWEST + 5 + step, quantity);
});
const deep = Array.from({ length: 2 * DEEP_LEVELS * DEEP_ORDERS }, (_, i) => {
  const distance = 100 + ((i >> 1) % DEEP_LEVELS);
  const n = ORDERS + i;
  return i % 2 === 0 ? submit(n, 2, LOWEST + distance, 10) : submit(n, 1, LOWEST - distance, 10);
});

/** The log: each entry a millisecond after the one before. */
class Log {
  readonly engine: Engine;
  #ms = 0;

  constructor(engine: Engine) {
    this.engine = engine;
    this.apply([instrument], 1);
  }

  apply(commands: readonly Command[], size: number): number {
    let events = 0;
    for (let at = 0; at < commands.length; at += size) {
      events += this.applyOne(commands.slice(at, at + size)).events.count;
    }
    return events;
  }

  applyOne(commands: readonly Command[]): Outcome {
    return this.engine.apply({ epoch: 1, ms: ++this.#ms, seq: 0, commands });
  }
}

function deepLog(): Log {
  const log = new Log(new Engine());
  log.apply(deep, ENTRY);
  return log;
}

const inBatches = deepLog();
const oneByOne = deepLog();
const read = deepLog();
const open = inBatches.engine.openOrders;
const events = inBatches.apply(crossing, ENTRY);
if (inBatches.engine.openOrders !== open) throw new Error("a pass does not end with the book with which it began");

const far = new Log(new Engine());
const levels = Array.from({ length: 100_000 }, (_, i) => submit(i, 2, LOWEST + 2 * i, 1));
far.apply(levels, ENTRY);
const between = Array.from({ length: 1_000 }, (_, i) =>
  submit(200_000 + i, 2, LOWEST + 2 * ((random() >>> 8) % 100_000) + 1, 1),
);
const gone = between.map(({ account, keyHigh, keyLow, submit }): Command => {
  const target = { by: "client", clientOrderId: submit.clientOrderId, keyHigh, keyLow } as const;
  return { kind: "cancel", account, symbol: submit.symbol, target };
});

function otherBook(): OrderBook {
  const book = new OrderBook();
  for (const command of deep) limit(book, command);
  return book;
}

function limit(book: OrderBook, { submit }: SubmitCommand): void {
  const { side, clientOrderId: id, quantity: size, price } = submit;
  book.limit({ side: side === 1 ? Sides.BUY : Sides.SELL, id, size, price });
}

const other = otherBook();

await printLoops([
  {
    name: `an order matched, entries of ${ENTRY} (${(events / ORDERS).toFixed(1)} events an order, ids and state hash included)`,
    operations: ORDERS,
    pass: () => inBatches.apply(crossing, ENTRY),
  },
  { name: "the same, entries of 1", operations: ORDERS, pass: () => oneByOne.apply(crossing, 1) },
  {
    name: `the same, entries of ${ENTRY}, every event read`,
    operations: ORDERS,
    pass: () => readEvents(read, crossing),
  },
  {
    name: "the same orders by nodejs-order-book",
    operations: ORDERS,
    pass: () => {
      for (const command of crossing) limit(other, command);
    },
  },
  {
    name: "an order that rests far from the best of 100,000 prices, and its cancel",
    operations: between.length,
    pass: () => {
      far.apply(between, ENTRY);
      far.apply(gone, ENTRY);
    },
  },
]);

/** What a process has to do at least: look at the fields of every event. */
function readEvents(log: Log, commands: readonly Command[]): number {
  let sum = 0;
  for (let at = 0; at < commands.length; at += ENTRY) {
    const { events, levels } = log.applyOne(commands.slice(at, at + ENTRY));
    for (let i = 0; i < events.count; i++) {
      const event = events.at(i);
      sum += event.account.length + event.clientOrderId.length + event.symbol.length + event.sequence + event.ms;
      sum +=
        event.execType + event.status + event.cumQuantity + event.leavesQuantity + event.lastQuantity + event.trade;
    }
    for (let i = 0; i < levels.count; i++) sum += levels.at(i).quantityLow;
  }
  return sum;
}

measureMillion();

function measureMillion(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const rules = new Map([[1, { ...RULES.get(1)!, maxOpenOrders: MILLION }]]);
  const log = new Log(new Engine(rules));
  collect();
  const before = used();
  for (let at = 0; at < MILLION; at += ENTRY) {
    const entry = Array.from({ length: ENTRY }, (_, i) => {
      const distance = (random() >>> 8) % 10_000;
      const n = at + i;
      return n % 2 === 0 ? submit(n, 2, LOWEST + distance, 10) : submit(n, 1, LOWEST - 1 - distance, 10);
    });
    log.apply(entry, ENTRY);
  }
  collect();
  printRow("a million resting orders: bytes of memory an order", (used() - before) / MILLION);
  let bytes = new Uint8Array();
  const writing = timed(() => {
    bytes = log.engine.snapshot() as Uint8Array<ArrayBuffer>;
  });
  printRow("a million resting orders: bytes of the snapshot an order", bytes.length / MILLION);
  printRow("a million resting orders: the snapshot written, for an order", (writing * 1e6) / MILLION);
  const reading = timed(() => Engine.restore(bytes, rules));
  printRow("a million resting orders: the snapshot restored, for an order", (reading * 1e6) / MILLION);
}

function used(): number {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + Math.max(external, arrayBuffers);
}

function timed(work: () => unknown): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}
