import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, RetryInfoSchema } from "../../../src/gen/google/rpc/error_details_pb.ts";

/** Why a call did not do what was asked, for people. */
export interface Failure {
  readonly code: Code;
  /** One sentence. */
  readonly message: string;
  /** What is wrong with a field of the request, by its name in the protos ("stop_price"). */
  readonly fields: ReadonlyMap<string, string>;
  /** After how many milliseconds it is worth asking again, where the server said so. */
  readonly retryAfterMs: number | undefined;
}

/** Whether the call may have had its effect all the same: no answer, or one that does not say. */
export function isUnknown({ code }: Failure): boolean {
  return !DEFINITE.has(code);
}

/** Answers that the server gives before, or in place of, putting anything into the log. */
const DEFINITE: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.ResourceExhausted,
]);

export function failureOf(thrown: unknown): Failure {
  const error = ConnectError.from(thrown);
  const fields = new Map<string, string>();
  for (const { fieldViolations } of error.findDetails(BadRequestSchema)) {
    for (const { field, description } of fieldViolations) fields.set(field, description);
  }
  const [retry] = error.findDetails(RetryInfoSchema);
  const delay = retry?.retryDelay;
  return {
    code: error.code,
    message: sentenceOf(error, fields),
    fields,
    retryAfterMs: delay === undefined ? undefined : Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}

function sentenceOf(error: ConnectError, fields: ReadonlyMap<string, string>): string {
  if (fields.size > 0) return "Some fields need another value.";
  switch (error.code) {
    case Code.Canceled:
      return "The call was given up.";
    case Code.DeadlineExceeded:
      return "The server did not answer in time.";
    case Code.Unauthenticated:
      return error.rawMessage || "Nobody is signed in.";
    case Code.Unknown:
    case Code.Internal:
      // What browsers say of a connection that failed differs between them and helps nobody.
      return error.cause === undefined ? `The server failed: ${error.rawMessage}.` : "The server cannot be reached.";
    default:
      return capitalized(error.rawMessage);
  }
}

function capitalized(text: string): string {
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
