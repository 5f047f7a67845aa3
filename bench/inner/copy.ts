import { EVENT_ROWS } from "../../src/consumers/event-rows.ts";
import { ORDER_ROWS } from "../../src/consumers/order-rows.ts";
import { recordOf } from "../../src/consumers/record.ts";
import { Engine } from "../../src/engine/matching/engine.ts";
import type { Command } from "../../src/engine/matching/interface.ts";
import { encodeRows } from "../../src/store/copy.ts";
import { EXECUTIONS } from "../../src/store/execution-table.ts";
import { ORDERS } from "../../src/store/order-table.ts";
import { prepareSubmit } from "../../src/stream/prepared-command.ts";
import { encodeEventBatch } from "../../src/stream/event-encoder.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import { benchInstrument } from "../instrument.ts";
import { submitFields } from "../measure/commands.ts";
import { printLoops } from "../measure/loop.ts";

const COMMANDS = 500;
const EPOCH_MS = 1_795_000_000_000;

const instrument = prepareInstrument(benchInstrument);
const options = { partition: 0, instruments: new Map([[instrument.symbol, instrument]]), instrumentsAreFresh: true };
const submits = submitFields(COMMANDS);
const orders = delivered(Buffer.concat(submits.map((submit) => prepareSubmit("demo", submit).element)));
const record = recordOf(ORDER_ROWS, orders, options);

const events = delivered(eventsOf());
const told = recordOf(EVENT_ROWS, events, options);
const reports = told.executions.length;

function delivered(batch: Buffer) {
  const values = { d: batch, p: `${EPOCH_MS}-0`, e: "1", v: "1" };
  const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
  return { id: `${EPOCH_MS + 1}-0`, fields, deliveries: 1 };
}

/** What the engine makes of the orders, each of which trades with the one before or after it. */
function eventsOf(): Buffer {
  const engine = new Engine();
  const { symbol, version, minQuantity, maxQuantity, minPrice, maxPrice, timesInForce } = instrument;
  const sizes = { tickSize: instrument.tick.text, lotSize: instrument.lot.text };
  const limits = { minQuantity, maxQuantity, minPrice, maxPrice };
  const define: Command = { kind: "instrument", symbol, version, ...sizes, ...limits, timesInForce };
  engine.apply({ epoch: 1, ms: EPOCH_MS, seq: 0, commands: [define] });
  const commands = submits.map((submit, i): Command => {
    const crossing = { ...submit, side: 1 + (i % 2), price: 2_000_000, quantity: 1_000_000 };
    return { kind: "submit", account: "demo", keyHigh: i, keyLow: i, submit: crossing };
  });
  const { events, levels } = engine.apply({ epoch: 1, ms: EPOCH_MS + 1, seq: 0, commands });
  return encodeEventBatch(0, { stateHash: engine.stateHash, rules: engine.rules, events, levels }, () => "");
}

function lengthOf(chunks: Iterable<Buffer>): number {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return bytes;
}

await printLoops([
  {
    name: "an order's row made of an entry",
    operations: COMMANDS,
    pass: () => recordOf(ORDER_ROWS, orders, options),
  },
  { name: "a row encoded for COPY", operations: COMMANDS, pass: () => lengthOf(encodeRows(ORDERS, [record])) },
  {
    name: "a report's row made of an entry of events",
    operations: reports,
    pass: () => recordOf(EVENT_ROWS, events, options),
  },
  { name: "a report encoded for COPY", operations: reports, pass: () => lengthOf(encodeRows(EXECUTIONS, [told])) },
]);
