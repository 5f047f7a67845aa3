import { BITSTAMP_HEADER, BitstampParser } from "./bitstamp.ts";
import { LOBSTER_ROW, LobsterParser } from "./lobster.ts";
import { NdjsonParser } from "./ndjson.ts";
import type { Parser, ParserOptions } from "./step.ts";

export type Format = "ndjson" | "lobster" | "bitstamp";

export interface FormatOptions extends ParserOptions {
  /** Whether somebody asked for `run`; else the file's content gave it. */
  readonly isRunGiven: boolean;
}

/** The format that a file's first line shows. */
export function detectFormat(first: string): Format | undefined {
  if (first.trimStart().startsWith("{")) return "ndjson";
  if (first === BITSTAMP_HEADER) return "bitstamp";
  return LOBSTER_ROW.test(first) ? "lobster" : undefined;
}

export function parserOf(format: Format, options: FormatOptions): Parser {
  switch (format) {
    case "ndjson":
      // Its ids are whole as they stand: only who asks for a prefix gets one.
      return new NdjsonParser({ ...options, prefix: options.isRunGiven ? `${options.run}-` : "" });
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
