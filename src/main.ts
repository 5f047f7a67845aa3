#!/usr/bin/env node
import { Command, CommanderError } from "commander";

import { addAccountCommands } from "./cli/commands/accounts.ts";
import { example, wholeNumber } from "./cli/commands/arguments.ts";
import { addDeadLetterCommands } from "./cli/commands/dead-letters.ts";
import { addFeedCommand } from "./cli/commands/feed.ts";
import { addInstrumentCommands, addSubmitCommand } from "./cli/commands/orders.ts";
import { addPipelineCommands } from "./cli/commands/pipeline.ts";
import { addReplayCommand } from "./cli/commands/replay.ts";
import { addWatchCommands } from "./cli/commands/watches.ts";
import { exitCodeOf, exitCodes, messageOf } from "./runtime/errors.ts";
import type { UpOptions } from "./stack/up.ts";

/**
 * The command line. Each command loads its module when it is asked for, so that none waits for what it does not need.
 */

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
  addSubmitCommand(program);
  addInstrumentCommands(program);
  addAccountCommands(program);
  addFeedCommand(program);

  program.commandsGroup("Look into it:");
  addPipelineCommands(program);
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
  addReplayCommand(program);
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
