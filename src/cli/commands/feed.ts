import { type Command, InvalidArgumentError, Option } from "commander";
import type { FeedOptions } from "../feed.ts";
import { client } from "./arguments.ts";

const feedFormats = ["ndjson", "lobster", "bitstamp"];

const factor = (text: string) => {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(text) || Number(text) === 0) throw new InvalidArgumentError("A number above 0.");
  return Number(text);
};

const idPrefix = (text: string) => {
  if (!/^[!-~]{1,30}$/.test(text)) throw new InvalidArgumentError("1 to 30 characters of printable ASCII, no spaces.");
  return text;
};

export function addFeedCommand(program: Command): void {
  client(program.command("feed <file>"))
    .description("send recorded order flow through the API, one command after the other, and sum up what became of it")
    .addOption(new Option("--format <format>", "by default what the file looks like").choices(feedFormats))
    .option("--symbol <symbol>", "what it trades; in ndjson for the lines that name none")
    .option("--speed <factor>", "of the recorded speed; as fast as it goes without it", factor)
    .option("--run <prefix>", "what the ids begin with; by default digits that the file's content gives", idPrefix)
    .option("--executions", "lobster: turn executions into the orders that took")
    .option("--compare", "lobster, bitstamp: hold what the engine fills against what was recorded, order by order")
    .addHelpText(
      "after",
      `
Formats, each also packed with gzip, zstd or xz (by the command xz):
  ndjson    a line is a command of StreamOrders in JSON: {"submit": {…}}, cancel, replace or cancelAll, and "at" for
            the recorded time in milliseconds
  lobster   message files: time, type, order id, size, price × 10,000, direction
  bitstamp  order log: id,timestamp,exchange.timestamp,price,volume,action,direction

Ids are made of the file's own, so that the same file fed a second time (while the server recognises ids: an hour by
default) is all duplicates, one set of orders. Give another --run to feed it anew. (The ids of an ndjson file are sent as they
are, unless there is a --run.) What a cut or an overload leaves open is sent again under the same ids. With --json the
summary is one line of JSON.

Exit code 1: a line could not be read, or was refused.

Examples:
  $ penstock feed orders.ndjson
  $ penstock feed orders.csv.xz --symbol BTC-USD --compare
  $ penstock feed messages.csv --format lobster --symbol AAPL --executions --speed 10`,
    )
    .action(async (file: string, options: FeedOptions) => {
      process.exitCode = await (await import("../feed.ts")).feed(file, options);
    });
}
