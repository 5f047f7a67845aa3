// What validation answers where a request is at fault, and the rules that several requests share. Descriptions say what
// is wanted. They hold nothing of what a client sent except enum numbers, so they are short and safe to log.

import type { Message } from "@bufbuild/protobuf";

/** One field at fault, by its path in the protos: "price", "instrument.order_types[2]". */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

/** A refusal: at least one violation, at most one a field. */
export interface Violations {
  readonly violations: readonly Violation[];
}

export function isRefused(result: object): result is Violations {
  return "violations" in result;
}

/** A request by its fields alone: a decoded message, or anything of its shape. */
export type Fields<M extends Message> = Omit<M, keyof Message>;

export const REQUIRED = "is required";

const CLIENT_ID = "must be 1 to 64 printable ASCII characters without spaces";

const CLIENT_ID_PATTERN = /^[\x21-\x7e]{1,64}$/;

/** What is wanted of a client_order_id or client_request_id, or undefined where it is well. */
export function clientIdFault(id: string): string | undefined {
  if (CLIENT_ID_PATTERN.test(id)) return undefined;
  return id === "" ? REQUIRED : CLIENT_ID;
}

/** The value that a reader found; a description goes to the faults, and stands as 0. */
export function take(faults: Violation[], field: string, read: number | string): number {
  if (typeof read === "number") return read;
  faults.push({ field, description: read });
  return 0;
}
