import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { runLoad } from "./load.ts";

const USAGE = `node bench/load/main.ts --address 127.0.0.1:50051 --rate 10000 --seconds 20 [options]

  --address HOST:PORT   the gRPC door (a plain port)
  --rate N              orders a second
  --seconds N           how long to send
  --warmup N            seconds before that, left out of the latencies (default 0)
  --batch N             orders in a SubmitOrders call; 0, the default, sends SubmitOrder
  --matched             asks for answers of the engine
  --connections N       default 4
  --symbol S            default BTC-USD
  --run ID              begins every client_order_id (default: random)
  --acknowledged FILE   writes a line for each acknowledged order: client_order_id, symbol, order_id,
                        microseconds since 1970, with tabs between

The token comes from PENSTOCK_TOKEN. Prints one line of JSON.
`;

const { values } = parseArgs({
  options: {
    address: { type: "string" },
    rate: { type: "string" },
    seconds: { type: "string" },
    warmup: { type: "string", default: "0" },
    batch: { type: "string", default: "0" },
    matched: { type: "boolean", default: false },
    connections: { type: "string", default: "4" },
    symbol: { type: "string", default: "BTC-USD" },
    run: { type: "string", default: randomBytes(4).toString("hex") },
    acknowledged: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

function number(name: string, text: string | undefined, least: number, most: number): number {
  const value = Number(text);
  if (text === undefined || !(value >= least && value <= most)) {
    throw new RangeError(`--${name} must be a number from ${least} to ${most}`);
  }
  return value;
}

if (values.help) {
  process.stdout.write(USAGE);
} else {
  try {
    const [host = "", port] = (values.address ?? "").split(":");
    const { report, record } = await runLoad({
      host,
      port: number("address", port, 1, 65_535),
      token: process.env["PENSTOCK_TOKEN"] ?? "",
      run: values.run,
      symbol: values.symbol,
      rate: number("rate", values.rate, 1, 1_000_000),
      seconds: number("seconds", values.seconds, 0.1, 86_400),
      warmupSeconds: number("warmup", values.warmup, 0, 3600),
      batch: number("batch", values.batch, 0, 1000),
      matched: values.matched,
      connections: number("connections", values.connections, 1, 256),
    });
    if (values.acknowledged !== undefined) await record.write(values.acknowledged, values.run, values.symbol);
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
