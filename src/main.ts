#!/usr/bin/env node
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";

import type { AccountChange, AccountOptions, LimitOptions } from "./cli/accounts.ts";
import type { BookOptions } from "./cli/book.ts";
import type { LetterOptions, ListOptions } from "./cli/dead-letters.ts";
import type { EngineOptions, VoidOptions } from "./cli/engine.ts";
import type { FeedOptions } from "./cli/feed.ts";
import type { DefineOptions, InstrumentOptions } from "./cli/instruments.ts";
import type { ReplayCommandOptions } from "./cli/replay.ts";
import type { SubmitOptions } from "./cli/submit.ts";
import type { TailOptions } from "./cli/tail.ts";
import type { TopOptions } from "./cli/top.ts";
import type { TradesOptions } from "./cli/trades.ts";
import type { WatchOptions } from "./cli/watch.ts";
import { exitCodeOf, exitCodes, messageOf } from "./runtime/errors.ts";
import type { UpOptions } from "./stack/up.ts";

/**
 * The command line. Each command loads its module when it is asked for, so that none waits for what it does not need.
 */

const words = (values: readonly string[]) => (text: string) => {
  const chosen = text.split(",");
  const unknown = chosen.find((word) => !values.includes(word));
  if (unknown !== undefined) throw new InvalidArgumentError(`Of ${values.join(", ")}, joined by commas.`);
  return chosen;
};

const wholeNumber = (least: number, most: number) => (text: string) => {
  if (!/^\d{1,15}$/.test(text) || Number(text) < least || Number(text) > most) {
    throw new InvalidArgumentError(`A whole number from ${least} to ${most}.`);
  }
  return Number(text);
};

/** Of an argument that comes more than once. */
const appended = (read: (text: string) => number) => (text: string, before: readonly number[] | undefined) => [
  ...(before ?? []),
  read(text),
];

const factor = (text: string) => {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(text) || Number(text) === 0) throw new InvalidArgumentError("A number above 0.");
  return Number(text);
};

const idPrefix = (text: string) => {
  if (!/^[!-~]{1,30}$/.test(text)) throw new InvalidArgumentError("1 to 30 characters of printable ASCII, no spaces.");
  return text;
};

const roles = ["trader", "read-only", "admin"];
const tradingStatuses = ["open", "cancel-only", "halted"];
const orderTypes = ["limit", "market", "stop", "stop-limit"];
const timesInForce = ["gtc", "ioc", "fok", "gtd"];
const feedFormats = ["ndjson", "lobster", "bitstamp"];

function buildProgram(): Command {
  const program = new Command("penstock")
    .description(
      "An order pipeline: gRPC and Connect in front, Redis Streams as the log, consumer groups that COPY into Postgres.",
    )
    .showHelpAfterError("(see --help)")
    .exitOverride()
    .addHelpText(
      "after",
      `
A first order, with everything on this machine:
  $ penstock up                        # in one terminal
  $ penstock submit --symbol BTC-USD --side buy --quantity 0.1 --price 100
  $ penstock tail

The roles read their settings from the environment (REDIS_URL, DATABASE_URL, PENSTOCK_…). The other commands use the
addresses and tokens of the stack that "up" started here; --url, PENSTOCK_TOKEN, REDIS_URL and DATABASE_URL take their place.
PENSTOCK_LOG_LEVEL=debug shows where an error came from.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage or configuration, 3 the audit or a replay found something.`,
    );

  program.commandsGroup("Run it:");
  example(program.command("up"), "penstock up", "REDIS_URL=redis://10.0.0.5:6379 penstock up")
    .description(
      "start everything on this machine: Redis and Postgres of its own, ingest, engine, consumers; Ctrl-C drains and stops",
    )
    .option("--workers <n>", "worker processes of the consumers", wholeNumber(1, 64), 1)
    .option("--no-engine", "orders are taken and written, and not matched; for a state folder in which no engine ran")
    .addHelpText(
      "after",
      `
PENSTOCK_GRPC_PORT, PENSTOCK_HTTP_PORT, PENSTOCK_ENGINE_PORT, PENSTOCK_REDIS_PORT and PENSTOCK_POSTGRES_PORT choose the
ports; where a default is in use, a free one is taken. Data, logs, addresses and tokens are kept in .penstock (PENSTOCK_STATE_DIR).`,
    )
    .action(async (options: UpOptions) => (await import("./stack/up.ts")).up(options));
  example(program.command("ingest"), "REDIS_URL=… DATABASE_URL=… PENSTOCK_SIGNING_KEY_FILE=key penstock ingest")
    .description("take orders by gRPC, Connect, gRPC-Web and JSON, and append them to the log")
    .action(async () => (await import("./ingest/role.ts")).runIngest(await config()));
  example(program.command("engine"), "REDIS_URL=… DATABASE_URL=… penstock engine")
    .description("match what is in the log; where several run, all but one stand by")
    .action(async () => (await import("./engine/role.ts")).runEngine(await config()));
  example(program.command("consumers"), "REDIS_URL=… DATABASE_URL=… PENSTOCK_CONSUMER_NAME=worker-1 penstock consumers")
    .description("write the log to Postgres; any number of them share the work")
    .action(async () => (await import("./consumers/role.ts")).runConsumers(await config()));
  example(program.command("migrate"), "DATABASE_URL=postgres://penstock@db/penstock penstock migrate")
    .description("bring the database to the present schema; does nothing where it is")
    .action(async () => {
      const [{ migrate }, { loadAddress }] = await Promise.all([
        import("./store/migrate.ts"),
        import("./config/config.ts"),
      ]);
      const { applied } = await migrate(loadAddress("DATABASE"));
      process.stdout.write(applied.length === 0 ? "the schema is up to date\n" : `applied ${applied.join(", ")}\n`);
    });

  program.commandsGroup("Use it:");
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
      process.exitCode = await (await import("./cli/submit.ts")).submit(options);
    });

  const instruments = program
    .command("instruments")
    .description("what can be traded: list (by default), define, status");
  example(client(instruments.command("list", { isDefault: true })), "penstock instruments")
    .description("all instruments, by symbol")
    .action(async (options: InstrumentOptions) => (await import("./cli/instruments.ts")).listInstruments(options));
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
      (await import("./cli/instruments.ts")).defineInstrument(symbol, options),
    );

  example(
    client(instruments.command("status <symbol>")),
    "penstock instruments status BTC-USD halted",
    "penstock instruments status BTC-USD open",
  )
    .description("say what a symbol takes from here on (as admin)")
    .addArgument(new Argument("<status>", "cancel-only takes cancels alone, halted nothing").choices(tradingStatuses))
    .action(async (symbol: string, status: "open", options: InstrumentOptions) =>
      (await import("./cli/instruments.ts")).setTradingStatus(symbol, status, options),
    );
  addAccountCommands(program);
  addFeedCommand(program);

  program.commandsGroup("Look into it:");
  example(client(program.command("top")), "penstock top", "penstock top --json")
    .description(
      "the pipeline, drawn again each second until q or Ctrl-C (as admin); without a terminal one view of it",
    )
    .action(async (options: TopOptions) => (await import("./cli/top.ts")).top(options));
  example(client(program.command("engine-status")), "penstock engine-status", "penstock engine-status --json")
    .description("what the engine of each partition does (as admin); 1 is the exit code where one does not work")
    .action(async (options: EngineOptions) => {
      if (!(await (await import("./cli/engine.ts")).printEngineStatus(options))) process.exitCode = exitCodes.failed;
    });
  example(
    client(program.command("void")),
    'penstock void 0 1735689600000-0 --reason "it makes the engine throw: ticket 4711"',
  )
    .description("have the engine pass over an entry that it stands still at (as admin); its commands are refused")
    .argument("<partition>", "the number of it", wholeNumber(0, 4_095))
    .argument("<entry>", "the ID of it, as engine-status tells")
    .requiredOption("--reason <text>", "for those who read the log later")
    .action(async (partition: number, entry: string, options: VoidOptions) =>
      (await import("./cli/engine.ts")).voidEntry(partition, entry, options),
    );
  example(program.command("tail"), "penstock tail --follow", "penstock tail --partition 3 --from 1735689600000-0")
    .description("print entries of the log, a line of JSON each: the last ten, or those from an ID on")
    .option("--partition <p>", "which one", wholeNumber(0, 4_095), 0)
    .option("--from <id>", "the first entry, by its ID or its milliseconds")
    .option("--follow", "go on with what comes, until Ctrl-C")
    .action(async (options: TailOptions) => (await import("./cli/tail.ts")).tail(options));
  addDeadLetterCommands(program);
  addWatchCommands(program);
  example(program.command("audit"), "penstock audit", "penstock audit --acknowledged acks.tsv")
    .description("prove the invariants I1 to I9 on the log, the journal and the rows, running or stopped")
    .option(
      "--acknowledged <file>",
      'a client\'s own record: client_order_id, symbol, order_id (or "unknown"), time, account, tab-separated',
    )
    .option("--json", "figures and verdicts as lines of JSON")
    .addHelpText(
      "after",
      `
Where "up" was stopped here, its servers are started for as long as it takes. It changes nothing.

Exit code 3: something was found. 1: nothing was found, but not all could be looked at (Redis is away, say).
What each finding means and what to do: docs/audit.md.`,
    )
    .action(async (options: { readonly acknowledged?: string; readonly json?: true }) => {
      const [{ audit }, { redisOf, postgresOf }, { openStopped }] = await Promise.all([
        import("./audit/audit.ts"),
        import("./cli/stack-file.ts"),
        import("./stack/stopped-stack.ts"),
      ]);
      const servers = await openStopped((line) => process.stderr.write(`${line}\n`));
      try {
        const { findings, incomplete } = await audit({
          redisUrl: servers?.redisUrl ?? redisOf(),
          databaseUrl: servers?.databaseUrl ?? postgresOf(),
          ...options,
        });
        if (findings > 0) process.exitCode = exitCodes.auditFailed;
        else if (incomplete !== undefined) process.exitCode = exitCodes.failed;
      } finally {
        await servers?.close();
      }
    });
  example(
    program.command("replay"),
    "penstock replay --from 2026-11-22T10:00:00Z",
    "penstock replay --from 1735689600000-0 --to 1735693200000-0 --partition 3",
    "penstock replay --from journal",
  )
    .description("write to Postgres what is missing there, from the log and the journal; what is there stays as it is")
    .requiredOption(
      "--from <place>",
      'the first entry: its ID, a time, or "journal": all that the journal has, without Redis',
    )
    .option("--to <place>", "the last entry: its ID or a time")
    .option("--partition <p>", "one of them", wholeNumber(0, 4_095))
    .option("--restart", "begin anew where a replay with the same bounds was interrupted")
    .option("--withdraw", "take back what was written of commands that the log has lost")
    .addHelpText(
      "after",
      `
It may run beside everything else. What is interrupted goes on with the same command. Exit code 3: a place holds something
else than the log says, or entries are missing everywhere; each is printed.`,
    )
    .action(async (options: ReplayCommandOptions) => {
      process.exitCode = await (await import("./cli/replay.ts")).replayCommand(options);
    });
  program
    .command("bench")
    .description("measure this machine: highest rates, latencies, CPU per order")
    // It has options and a help of its own.
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options: object, command: Command) => {
      process.exitCode = await (await import("./cli/bench.ts")).bench(command.args);
    });
  return program;
}

/** What the workers could not write. All of it is an admin's business. */
function addDeadLetterCommands(program: Command): void {
  const module = () => import("./cli/dead-letters.ts");
  const id = wholeNumber(1, 999_999_999_999_999);
  const listed = "as list tells";
  const failedUnless = (well: boolean) => {
    if (!well) process.exitCode = exitCodes.failed;
  };

  const letters = program
    .command("dead-letters")
    .description("what could not be written (as admin): list (by default), show, redrive, discard")
    .addHelpText(
      "after",
      `
A dead letter is a command, an event or an entry that did not become rows, with its bytes and the reason. It stays until
somebody has mended the cause and redrives it, which writes its rows exactly once, or discards it. docs/dead-letters.md says
what to do for each kind.

Examples:
  $ penstock dead-letters
  $ penstock dead-letters show 17
  $ penstock dead-letters redrive 17 18 19
  $ penstock dead-letters discard 20 --reason "a load test of 3 May wrote to the stream by hand"`,
    );
  example(client(letters.command("list", { isDefault: true })), "penstock dead-letters list --limit 20 --state all")
    .description("the newest dead letters, with their reasons")
    .option("--limit <n>", "how many", wholeNumber(1, 100_000), 100)
    .addOption(new Option("--state <state>").choices(["open", "redriven", "discarded", "all"]).default("open"))
    .action(async (options: ListOptions) => (await module()).listDeadLetters(options));
  example(client(letters.command("show")), "penstock dead-letters show 17", "penstock dead-letters show 17 --json")
    .description("one with all that can be read out of its bytes, and what can be done")
    .argument("<id>", listed, id)
    .action(async (id: number, options: LetterOptions) => (await module()).showDeadLetter(id, options));
  example(
    client(letters.command("redrive")),
    "penstock dead-letters redrive 17",
    "penstock dead-letters list --json | jq -r .id | xargs penstock dead-letters redrive",
  )
    .description("write the rows of each, once; 1 is the exit code where one cannot be written")
    .argument("<id...>", listed, appended(id))
    .action(async (ids: readonly number[], options: LetterOptions) =>
      failedUnless(await (await module()).redriveDeadLetters(ids, options)),
    );
  example(
    client(letters.command("discard")),
    'penstock dead-letters discard 20 --reason "a test wrote to the stream by hand"',
  )
    .description("put each away for good; they are kept, and counted as dead letters")
    .argument("<id...>", listed, appended(id))
    .requiredOption("--reason <text>", "for those who ask later")
    .action(async (ids: readonly number[], options: LetterOptions & { readonly reason: string }) =>
      failedUnless(await (await module()).discardDeadLetters(ids, options)),
    );
}

function addFeedCommand(program: Command): void {
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
      process.exitCode = await (await import("./cli/feed.ts")).feed(file, options);
    });
}

/** What the engine does, as it does it. */
function addWatchCommands(program: Command): void {
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
    .action(async (options: WatchOptions) => (await import("./cli/watch.ts")).watch(options));
  example(client(program.command("book <symbol>")), "penstock book BTC-USD", "penstock book BTC-USD --depth 5 --follow")
    .description("print the best levels of a book")
    .option("--depth <n>", "levels of each side", wholeNumber(1, 1_000), 10)
    .option("--follow", "draw it again as it changes, each change proven by its checksum, until Ctrl-C")
    .action(async (symbol: string, options: BookOptions) => (await import("./cli/book.ts")).book(symbol, options));
  example(
    client(program.command("trades <symbol>")),
    "penstock trades BTC-USD --limit 100",
    "penstock trades BTC-USD --follow --json",
  )
    .description("print the newest trades, the oldest of them first")
    .option("--limit <n>", "how many", wholeNumber(1, 100_000), 20)
    .option("--follow", "go on with what comes, until Ctrl-C")
    .action(async (symbol: string, options: TradesOptions) =>
      (await import("./cli/trades.ts")).trades(symbol, options),
    );
}

/** Who may do what, by which secrets. All of it is an admin's business. */
function addAccountCommands(program: Command): void {
  const module = () => import("./cli/accounts.ts");
  const update = async (account: string, change: AccountChange, options: AccountOptions) =>
    (await module()).updateAccount(account, change, options);

  const accounts = program
    .command("accounts")
    .description("who may trade (as admin): list (by default), create, suspend, role, rate, limits, keys, actions …")
    .addHelpText(
      "after",
      `
An account logs in with the secret of one of its keys (AuthService.IssueToken) and calls with the token that it gets. A
change is known to every ingest process within about a second, for tokens that are out as well.

Examples:
  $ penstock accounts create desk-1
  $ penstock accounts keys create desk-1 --expires 2030-01-31T12:00:00Z
  $ penstock accounts suspend desk-1
  $ penstock accounts actions`,
    );
  client(accounts.command("list", { isDefault: true }))
    .description("all accounts, by name")
    .action(async (options: AccountOptions) => (await module()).listAccounts(options));
  example(client(accounts.command("create <account>")), "penstock accounts create auditor --role read-only")
    .description("make an account with a first key; its secret is shown once")
    .addOption(new Option("--role <role>").choices(roles).default("trader"))
    .action(async (account: string, options: AccountOptions & { role: "trader" }) =>
      (await module()).createAccount(account, options),
    );
  client(accounts.command("suspend <account>"))
    .description("refuse everything that it asks for, cancels too; it gets no tokens")
    .action(async (account: string, options: AccountOptions) => update(account, { suspended: true }, options));
  client(accounts.command("resume <account>"))
    .description("end a suspension")
    .action(async (account: string, options: AccountOptions) => update(account, { suspended: false }, options));
  example(client(accounts.command("role <account>")), "penstock accounts role desk-1 read-only")
    .description("give it another role")
    .addArgument(new Argument("<role>").choices(roles))
    .action(async (account: string, role: "trader", options: AccountOptions) =>
      update(account, { role: (await module()).roleWords[role] }, options),
    );
  example(client(accounts.command("rate <account>")), "penstock accounts rate desk-1 500")
    .description("limit the orders and other calls that it may make a second, at each ingest process")
    .argument("<n>", "how many; 0 is the default of the deployment", wholeNumber(0, 1_000_000))
    .action(async (account: string, rateLimit: number, options: AccountOptions) =>
      update(account, { rateLimit }, options),
    );
  example(client(accounts.command("limits <account>")), "penstock accounts limits desk-1 --max-open-orders 500")
    .description("set the engine's limits of an account; what is not given is the default of the rules")
    .option("--max-open-orders <n>", "how many may be open at once, in each partition", wholeNumber(1, 4_000_000))
    .option("--max-quantity-lots <n>", "of one order, in lots of whatever symbol", wholeNumber(1, 999_999_999_999_999))
    .action(async (account: string, options: LimitOptions) => (await module()).setLimits(account, options));
  example(client(accounts.command("revoke-tokens <account>")), "penstock accounts revoke-tokens desk-1")
    .description("end every token that it has; its keys stay good for new ones")
    .action(async (account: string, options: AccountOptions) => (await module()).revokeTokens(account, options));
  example(client(accounts.command("actions")), "penstock accounts actions --limit 20")
    .description("the audit trail: what admins did, newest first")
    .option("--limit <n>", "how many", wholeNumber(1, 1_000), 100)
    .action(async (options: AccountOptions & { limit: number }) => (await module()).listActions(options));

  const keys = accounts.command("keys").description("the keys of an account: list, create, revoke");
  client(keys.command("list <account>"))
    .description("its keys, good ones first")
    .action(async (account: string, options: AccountOptions) => (await module()).listKeys(account, options));
  example(
    client(keys.command("create <account>")),
    "penstock accounts keys create desk-1 --expires 2030-01-31T12:00:00Z",
  )
    .description("one more key; its secret is shown once")
    .option("--expires <time>", "when it ends, with the tokens issued for it; never without it")
    .action(async (account: string, options: AccountOptions & { expires?: string }) =>
      (await module()).createKey(account, options),
    );
  example(client(keys.command("revoke <account> <key>")), "penstock accounts keys revoke desk-1 0123456789ab")
    .description("end a key, and the tokens issued for it")
    .action(async (account: string, key: string, options: AccountOptions) =>
      (await module()).revokeKey(account, key, options),
    );
}

/** The options of commands that call the API. */
function client(command: Command): Command {
  return command
    .option("--url <url>", "the gRPC door, http://host:port; default: that of the running stack")
    .option("--token <token>", "better in PENSTOCK_TOKEN, where other users of the machine do not see it")
    .option("--json", "a line of JSON each");
}

function example(command: Command, ...lines: string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`);
}

async function config() {
  return (await import("./config/config.ts")).loadConfig();
}

function report(error: unknown): void {
  if (error instanceof CommanderError) {
    // Commander has printed it. Help and version that were asked for are no failure.
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return;
  }
  const verbose = ["debug", "trace"].includes(process.env.PENSTOCK_LOG_LEVEL ?? "");
  const text = verbose && error instanceof Error ? error.stack : messageOf(error);
  process.stderr.write(`penstock: ${text}\n`);
  process.exitCode = exitCodeOf(error);
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever read the output has had enough: penstock tail | head.
  if (error.code === "EPIPE") process.exit(exitCodes.ok);
  throw error;
});
await buildProgram().parseAsync().catch(report);
// All is done now. What still keeps the process alive after a second is a connection that somebody forgot.
setTimeout(() => process.exit(), 1_000).unref();
