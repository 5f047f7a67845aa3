import { ORDER_ROWS } from "../../src/consumers/order-rows.ts";
import { recordOf } from "../../src/consumers/record.ts";
import { encodeRows } from "../../src/store/copy.ts";
import { ORDERS } from "../../src/store/order-table.ts";
import { prepareSubmit } from "../../src/stream/command.ts";
import { prepareInstrument } from "../../src/stream/instrument.ts";
import { benchInstrument } from "../instrument.ts";
import { submitFields } from "../measure/commands.ts";
import { printLoops } from "../measure/loop.ts";

const COMMANDS = 500;

const instrument = prepareInstrument(benchInstrument);
const options = { partition: 0, instruments: new Map([[instrument.symbol, instrument]]), instrumentsAreFresh: true };
const batch = Buffer.concat(submitFields(COMMANDS).map((submit) => prepareSubmit("demo", submit).element));
const values = { d: batch, p: "1795000000000-0", e: "1", v: "1" };
const fields = Object.entries(values).flatMap(([name, value]) => [Buffer.from(name), Buffer.from(value)]);
const delivered = { id: "1795000000001-0", fields, deliveries: 1 };
const record = recordOf(ORDER_ROWS, delivered, options);

await printLoops([
  {
    name: "an order's row made of an entry",
    operations: COMMANDS,
    pass: () => recordOf(ORDER_ROWS, delivered, options),
  },
  {
    name: "a row encoded for COPY",
    operations: COMMANDS,
    pass: () => {
      let bytes = 0;
      for (const chunk of encodeRows(ORDERS, [record])) bytes += chunk.length;
      return bytes;
    },
  },
]);
