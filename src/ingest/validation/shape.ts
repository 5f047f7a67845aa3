// The shapes of fields as valibot schemas, and what valibot finds as violations. For every request but SubmitOrder:
// submit.ts says why.

import * as v from "valibot";

import { MAX_SCALE_DIGITS, readScale } from "../../stream/decimal.ts";
import { readOptional, readRequired } from "./enumeration.ts";
import type { Enumeration } from "./enumeration.ts";
import { clientIdFault, REQUIRED } from "./violation.ts";
import type { Violation } from "./violation.ts";

export const ClientId = judged(v.string(), clientIdFault);

export const SymbolName = text(/^[A-Z0-9._/-]{1,32}$/, "must be 1 to 32 characters of A-Z, 0-9, '.', '-', '_' and '/'");

export const AccountName = text(/^[a-z0-9._-]{1,32}$/, "must be 1 to 32 characters of a-z, 0-9, '.', '-' and '_'");

/** For those who read later why something was done. */
export const Reason = text(/^\P{Cc}{1,500}$/u, "must be 1 to 500 characters, none of them a control character");

/** 256 characters are more than any secret that is made here has: a bound on what gets hashed. */
export const Secret = text(/^\P{Cc}{1,256}$/u, "must be 1 to 256 characters, none of them a control character");

/** As CreateKey gives it. */
export const KeyId = text(/^[0-9a-f]{12}$/, "must be a key_id as it was answered");

const MAX_PAGE = 1_000;
const DEFAULT_PAGE = 100;

export const PageSize = v.pipe(v.number(), v.maxValue(MAX_PAGE, `must be at most ${MAX_PAGE}`));

/** How many rows a page of that `page_size` holds. */
export function pageLimit(pageSize: number): number {
  return pageSize === 0 ? DEFAULT_PAGE : pageSize;
}

export const PAGE_TOKEN = "must be the next_page_token of a page";

const SCALE_SIZE = `must be a decimal more than 0 of at most ${MAX_SCALE_DIGITS} digits, such as 0.01`;

/** A tick or lot size. */
export const ScaleSize = judged(v.string(), (size) => {
  if (size === "") return REQUIRED;
  return typeof readScale(size) === "string" ? SCALE_SIZE : undefined;
});

/** A named number of an enum. */
export function requiredEnum(of: Enumeration) {
  return judged(v.number(), (number) => described(readRequired(number, of)));
}

/** A named number of an enum, or none. */
export function optionalEnum(of: Enumeration) {
  return judged(v.number(), (number) => described(readOptional(number, of)));
}

/** Every field of a request that has not the schema's shape. */
export function shapeFaults(schema: v.GenericSchema, request: unknown): Violation[] {
  const { issues = [] } = v.safeParse(schema, request, { abortPipeEarly: true });
  return issues.map((issue) => ({ field: fieldOf(issue), description: issue.message }));
}

/** A schema that asks `fault` what is wanted of a value; undefined where it is well. */
function judged<T>(schema: v.GenericSchema<T>, fault: (value: T) => string | undefined) {
  return v.pipe(
    schema,
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed ? fault(dataset.value) : undefined;
      if (message !== undefined) addIssue({ message });
    }),
  );
}

function text(pattern: RegExp, wanted: string) {
  return v.pipe(v.string(), v.nonEmpty(REQUIRED), v.regex(pattern, wanted));
}

function described(read: number | string): string | undefined {
  return typeof read === "string" ? read : undefined;
}

/** A path as the protos write it: "instrument.order_types[2]". */
function fieldOf(issue: v.BaseIssue<unknown>): string {
  const keys = (issue.path ?? []).map(({ key }) =>
    typeof key === "number" ? `[${key}]` : `.${snakeCase(String(key))}`,
  );
  return keys.join("").replace(/^\./, "");
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
