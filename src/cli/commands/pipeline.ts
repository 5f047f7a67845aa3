import type { Command } from "commander";
import { exitCodes } from "../../runtime/errors.ts";
import type { EngineOptions, ReasonOptions } from "../engine.ts";
import type { TailOptions } from "../tail.ts";
import type { TopOptions } from "../top.ts";
import { client, example, wholeNumber } from "./arguments.ts";

/** What the stages do, and what stands in the log. */
export function addPipelineCommands(program: Command): void {
  example(client(program.command("top")), "penstock top", "penstock top --json")
    .description(
      "the pipeline, drawn again each second until q or Ctrl-C (as admin); without a terminal one view of it",
    )
    .action(async (options: TopOptions) => (await import("../top.ts")).top(options));
  example(client(program.command("engine-status")), "penstock engine-status", "penstock engine-status --json")
    .description("what the engine of each partition does (as admin); 1 is the exit code where one does not work")
    .action(async (options: EngineOptions) => {
      if (!(await (await import("../engine.ts")).printEngineStatus(options))) process.exitCode = exitCodes.failed;
    });
  example(
    client(program.command("void")),
    'penstock void 0 1735689600000-0 --reason "it makes the engine throw: ticket 4711"',
  )
    .description("have the engine pass over an entry that it stands still at (as admin); its commands are refused")
    .argument("<partition>", "the number of it", wholeNumber(0, 4_095))
    .argument("<entry>", "the ID of it, as engine-status tells")
    .requiredOption("--reason <text>", "for those who read the log later")
    .action(async (partition: number, entry: string, options: ReasonOptions) =>
      (await import("../engine.ts")).voidEntry(partition, entry, options),
    );
  example(
    client(program.command("close-gap")),
    'penstock close-gap 0 1735689600000-0 --reason "lost in the power cut: ticket 4712"',
  )
    .description(
      "have the log go on without entries that nobody has any more, and for which the engine waits (as admin); what comes later of them is a dead letter",
    )
    .argument("<partition>", "the number of it", wholeNumber(0, 4_095))
    .argument("<entry>", "the ID of the last one that is missing, as engine-status tells")
    .requiredOption("--reason <text>", "for those who read the audit trail later")
    .action(async (partition: number, entry: string, options: ReasonOptions) =>
      (await import("../engine.ts")).closeGap(partition, entry, options),
    );
  example(program.command("tail"), "penstock tail --follow", "penstock tail --partition 3 --from 1735689600000-0")
    .description("print entries of the log, a line of JSON each: the last ten, or those from an ID on")
    .option("--partition <p>", "which one", wholeNumber(0, 4_095), 0)
    .option("--from <id>", "the first entry, by its ID or its milliseconds")
    .option("--follow", "go on with what comes, until Ctrl-C")
    .action(async (options: TailOptions) => (await import("../tail.ts")).tail(options));
}
