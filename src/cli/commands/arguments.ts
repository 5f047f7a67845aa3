import { type Command, InvalidArgumentError } from "commander";

/** How arguments are read, and what several commands have in common. */

export const words = (values: readonly string[]) => (text: string) => {
  const chosen = text.split(",");
  const unknown = chosen.find((word) => !values.includes(word));
  if (unknown !== undefined) throw new InvalidArgumentError(`Of ${values.join(", ")}, joined by commas.`);
  return chosen;
};

export const wholeNumber = (least: number, most: number) => (text: string) => {
  if (!/^\d{1,15}$/.test(text) || Number(text) < least || Number(text) > most) {
    throw new InvalidArgumentError(`A whole number from ${least} to ${most}.`);
  }
  return Number(text);
};

/** Of an argument that comes more than once. */
export const appended = (read: (text: string) => number) => (text: string, before: readonly number[] | undefined) => [
  ...(before ?? []),
  read(text),
];

/** The options of commands that call the API. */
export function client(command: Command): Command {
  return command
    .option("--url <url>", "the gRPC door, http://host:port; default: that of the running stack")
    .option("--token <token>", "better in PENSTOCK_TOKEN, where other users of the machine do not see it")
    .option("--json", "a line of JSON each");
}

export function example(command: Command, ...lines: string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`);
}
