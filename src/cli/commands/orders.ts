import { Argument, type Command, Option } from "commander";
import type { DefineOptions, InstrumentOptions } from "../instruments.ts";
import type { SubmitOptions } from "../submit.ts";
import { client, example, wholeNumber, words } from "./arguments.ts";

const tradingStatuses = ["open", "cancel-only", "halted"];
const orderTypes = ["limit", "market", "stop", "stop-limit"];
const timesInForce = ["gtc", "ioc", "fok", "gtd"];

export function addSubmitCommand(program: Command): void {
  example(
    client(program.command("submit")),
    "penstock submit --symbol BTC-USD --side buy --quantity 0.1 --price 100",
    "penstock submit --symbol BTC-USD --side sell --type market --quantity 0.1 --json",
    "penstock submit --symbol BTC-USD --side buy --quantity 0.1 --price 100 --ack matched",
    "penstock submit --symbol BTC-USD --side buy --quantity 0.1 --price 100 --count 1000",
  )
    .description("submit an order; sent again with the same --client-order-id it gets the first answer")
    .requiredOption("--symbol <symbol>", "what to trade")
    .addOption(new Option("--side <side>").choices(["buy", "sell"]).makeOptionMandatory())
    .requiredOption("--quantity <decimal>", "a multiple of the instrument's lot")
    .addOption(new Option("--type <type>").choices(orderTypes).default("limit"))
    .option("--price <decimal>", "for limit and stop-limit")
    .option("--stop-price <decimal>", "for stop and stop-limit")
    .addOption(new Option("--time-in-force <tif>").choices(timesInForce))
    .option("--expire-time <time>", "for gtd: 2030-01-31T12:00:00Z")
    .option("--display-quantity <decimal>", "how much of the quantity the book shows")
    .option("--post-only", "never take from the book")
    .addOption(
      new Option("--self-trade-prevention <how>").choices([
        "cancel-newest",
        "cancel-oldest",
        "cancel-both",
        "decrement",
      ]),
    )
    .option("--client-order-id <id>", "your id of the order; a random one without it")
    .addOption(
      new Option("--ack <level>", "answer when the order is in the log, or when the engine has processed it")
        .choices(["logged", "matched"])
        .default("logged"),
    )
    .option("--count <n>", "that many orders alike, with -1, -2 … behind the id", wholeNumber(1, 1_000_000))
    .action(async (options: SubmitOptions) => {
      process.exitCode = await (await import("../submit.ts")).submit(options);
    });
}

export function addInstrumentCommands(program: Command): void {
  const instruments = program
    .command("instruments")
    .description("what can be traded: list (by default), define, status");
  example(client(instruments.command("list", { isDefault: true })), "penstock instruments")
    .description("all instruments, by symbol")
    .action(async (options: InstrumentOptions) => (await import("../instruments.ts")).listInstruments(options));
  example(
    client(instruments.command("define <symbol>")),
    "penstock instruments define ETH-USD --tick 0.01 --lot 0.0001",
  )
    .description("define an instrument, or replace its limits (as admin); what is not given has no limit")
    .requiredOption("--tick <decimal>", "the step of prices; never changes")
    .requiredOption("--lot <decimal>", "the step of quantities; never changes")
    .option("--min-quantity <decimal>")
    .option("--max-quantity <decimal>")
    .option("--min-price <decimal>")
    .option("--max-price <decimal>")
    .option("--types <list>", `of ${orderTypes.join(", ")}, joined by commas`, words(orderTypes))
    .option("--times-in-force <list>", `of ${timesInForce.join(", ")}, joined by commas`, words(timesInForce))
    .action(async (symbol: string, options: DefineOptions) =>
      (await import("../instruments.ts")).defineInstrument(symbol, options),
    );

  example(
    client(instruments.command("status <symbol>")),
    "penstock instruments status BTC-USD halted",
    "penstock instruments status BTC-USD open",
  )
    .description("say what a symbol takes from here on (as admin)")
    .addArgument(new Argument("<status>", "cancel-only takes cancels alone, halted nothing").choices(tradingStatuses))
    .action(async (symbol: string, status: "open", options: InstrumentOptions) =>
      (await import("../instruments.ts")).setTradingStatus(symbol, status, options),
    );
}
