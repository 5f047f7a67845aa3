import { type Command, Option } from "commander";
import { exitCodes } from "../../runtime/errors.ts";
import type { LetterOptions, ListOptions } from "../dead-letters.ts";
import { appended, client, example, wholeNumber } from "./arguments.ts";

/** What the workers could not write. All of it is an admin's business. */
export function addDeadLetterCommands(program: Command): void {
  const module = () => import("../dead-letters.ts");
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
    "penstock dead-letters list --limit 100000 --json | jq -r .id | xargs penstock dead-letters redrive",
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
