import { commandsOf } from "../../src/engine/command-of.ts";
import { workEntry } from "../../src/engine/entry-outcome.ts";
import { Engine } from "../../src/engine/matching/engine.ts";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { prepareInstrument, prepareSubmit } from "../../src/stream/prepared-command.ts";
import type { Entry } from "../../src/stream/entry.ts";
import { formatEntryId } from "../../src/stream/position.ts";
import { benchInstrument } from "../instrument.ts";
import { printRow } from "../measure/loop.ts";

// What the engine's process does with an entry between reading and appending it: decodes its commands, works them, and
// encodes the events, with ids and state hash. A pass cannot be repeated (an order is taken once), so the log is made
// beforehand and timed as a whole: the median of slices, so that what else the machine does shows less.

const ORDERS = 100; // in an entry
const SLICE = 200; // entries
const SLICES = 21;
const WARM = 4;

let number = 0;
let time = 1_700_000_000_000;
let previous = { ms: 0, seq: 0 };

/** Alternating sides at ten crossing prices: half of them trade. */
function order(): Buffer {
  const n = number++;
  return prepareSubmit(`account-${n % 16}`, {
    clientOrderId: `order-${n}`,
    symbol: benchInstrument.symbol,
    side: n % 2 === 0 ? Side.BUY : Side.SELL,
    type: OrderType.LIMIT,
    timeInForce: TimeInForce.GTC,
    quantity: 10,
    price: 10_000 + ((n * 7) % 10),
    stopPrice: 0,
    displayQuantity: 0,
    expireTime: 0,
    postOnly: false,
    selfTradePrevention: SelfTradePrevention.UNSPECIFIED,
  }).element;
}

function entry(payload: Buffer): Entry {
  const id = { ms: time++, seq: 0 };
  const made = { ...id, id: formatEntryId(id), epoch: 1, previous, version: 1, payload };
  previous = id;
  return made;
}

function slice(): Entry[] {
  return Array.from({ length: SLICE }, () => entry(Buffer.concat(Array.from({ length: ORDERS }, order))));
}

/** The median time of an order in ns, over slices of a log that is made for it. */
function measure(work: (entry: Entry) => unknown): number {
  const times: number[] = [];
  for (let n = 0; n < WARM + SLICES; n++) {
    const entries = slice();
    const started = performance.now();
    for (const each of entries) work(each);
    times.push(performance.now() - started);
  }
  const sorted = times.slice(WARM).sort((a, b) => a - b);
  return (sorted[SLICES >> 1]! * 1e6) / (SLICE * ORDERS);
}

const engine = new Engine();
const definition = entry(prepareInstrument("root", { ...benchInstrument, version: 1 }).element);
workEntry(engine, 0, definition, false);
printRow(
  "an order decoded for the engine",
  measure(({ payload }) => commandsOf(0, payload, false)),
);
printRow(
  "an order from the log's bytes to the events' bytes: decoded, matched, encoded",
  measure((each) => workEntry(engine, 0, each, false)),
);
