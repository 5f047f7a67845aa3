import type { Command } from "commander";
import type { BookOptions } from "../book.ts";
import type { TradesOptions } from "../trades.ts";
import type { WatchOptions } from "../watch.ts";
import { client, example, wholeNumber } from "./arguments.ts";

/** What the engine does, as it does it. */
export function addWatchCommands(program: Command): void {
  example(
    client(program.command("watch")),
    "penstock watch",
    "penstock watch --from start --json",
    "penstock watch --from 0:1:1735689600000-0:2 --symbol BTC-USD",
    "penstock watch --all",
  )
    .description("print execution reports as they come, until Ctrl-C; goes on without a gap after a cut")
    .option("--from <position>", '"start", or the "from" of a line of --json; without it, what comes')
    .option("--all", "of all accounts (as admin)")
    .option("--symbol <symbol>", "of one symbol")
    .action(async (options: WatchOptions) => (await import("../watch.ts")).watch(options));
  example(client(program.command("book <symbol>")), "penstock book BTC-USD", "penstock book BTC-USD --depth 5 --follow")
    .description("print the best levels of a book")
    .option("--depth <n>", "levels of each side", wholeNumber(1, 1_000), 10)
    .option("--follow", "draw it again as it changes, each change proven by its checksum, until Ctrl-C")
    .action(async (symbol: string, options: BookOptions) => (await import("../book.ts")).book(symbol, options));
  example(
    client(program.command("trades <symbol>")),
    "penstock trades BTC-USD --limit 100",
    "penstock trades BTC-USD --follow --json",
  )
    .description("print the newest trades, the oldest of them first")
    .option("--limit <n>", "how many", wholeNumber(1, 100_000), 20)
    .option("--follow", "go on with what comes, until Ctrl-C")
    .action(async (symbol: string, options: TradesOptions) => (await import("../trades.ts")).trades(symbol, options));
}
