import { BITSTAMP_HEADER, BitstampParser } from "./bitstamp.ts";
import { LOBSTER_ROW, LobsterParser } from "./lobster.ts";
import { NdjsonParser } from "./ndjson.ts";
import type { Parser } from "./step.ts";

export const formats = ["ndjson", "lobster", "bitstamp"] as const;
export type Format = (typeof formats)[number];

export interface FormatOptions {
  /** What the ids begin with, where somebody asked for it; else `defaultRun`, which the file's content gives. */
  readonly run: string | undefined;
  readonly defaultRun: string;
  readonly symbol: string | undefined;
  readonly executions: boolean;
}

/** The format that a file's first line shows. */
export function detectFormat(first: string): Format | undefined {
  if (first.trimStart().startsWith("{")) return "ndjson";
  if (first === BITSTAMP_HEADER) return "bitstamp";
  return LOBSTER_ROW.test(first) ? "lobster" : undefined;
}

export function parserOf(format: Format, { run, defaultRun, symbol = "", executions }: FormatOptions): Parser {
  const options = { run: run ?? defaultRun, symbol, executions };
  switch (format) {
    case "ndjson":
      // Its ids are whole as they stand: only who asks for a prefix gets one.
      return new NdjsonParser({ ...options, prefix: run === undefined ? "" : `${run}-` });
    case "lobster":
      return new LobsterParser(options);
    case "bitstamp":
      return new BitstampParser(options);
    default: {
      const never: never = format;
      return never;
    }
  }
}
