import type { Command } from "commander";
import type { ReplayCommandOptions } from "../replay.ts";
import { example, wholeNumber } from "./arguments.ts";

export function addReplayCommand(program: Command): void {
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
      process.exitCode = await (await import("../replay.ts")).replayCommand(options);
    });
}
