import * as v from "valibot";

import { variables } from "./variables.ts";

/** Settings that no role knows: of `penstock up` for its own servers, and of the command line. */
const OTHER_ROWS = [
  ["PENSTOCK_REDIS_PORT", "6390", "The port of the Redis that `penstock up` starts. 0 takes a free one."],
  ["PENSTOCK_POSTGRES_PORT", "5490", "The port of the Postgres that `penstock up` starts. 0 takes a free one."],
  ["PENSTOCK_TOKEN", "", "The token of the command line, in place of one of the stack that runs here."],
] as const;

/** docs/configuration.md, made from the schema: what a variable means is written there, and nowhere else. */
export function configurationReference(): string {
  const rows = Object.entries(variables.entries).map(([name, schema]) => [
    name,
    presetOf(schema),
    v.getDescription(schema) ?? "",
  ]);
  const table = [...rows, ...OTHER_ROWS].map(
    ([name, preset, description]) => `| \`${name}\` | ${preset} | ${description} |`,
  );
  return [
    "# Configuration",
    "",
    "Every role reads its settings from environment variables. A variable that is unset or empty takes its default; a bad one is",
    "refused at the start, and all bad ones are named at once. Give all roles the same, but for ports, names, secrets and TLS: ingest",
    "reads the retention too, and consumers the horizons. Made by `npm run docs` from `src/config/variables.ts`.",
    "",
    "| variable | default | meaning |",
    "| --- | --- | --- |",
    ...table,
    "",
  ].join("\n");
}

function presetOf(schema: object): string {
  const [first] = "pipe" in schema && Array.isArray(schema.pipe) ? (schema.pipe as unknown[]) : [schema];
  const preset = typeof first === "object" && first !== null && "default" in first ? first.default : undefined;
  return typeof preset === "string" && preset !== "" ? `\`${preset}\`` : "";
}
