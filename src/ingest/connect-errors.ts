import { isFieldError } from "@bufbuild/protobuf/reflect";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema } from "../gen/google/rpc/error_details_pb.ts";
import { type Code as CodeName, CODES, detailsOf, RequestError } from "./errors.ts";
import type { Refusal } from "./gate.ts";

// They have gRPC's numbers, and the compiler sees that each of ours is one of theirs.
// oxlint-disable-next-line typescript/no-unsafe-enum-assignment
const CONNECT_CODES: Readonly<Record<CodeName, Code>> = CODES;
const NAMES = new Map<number, CodeName>(Object.entries(CODES).map(([name, code]) => [code, name as CodeName]));

/** A refusal as connect sends it in each of its protocols. */
export function connectErrorOf({ error, requestId }: Refusal): ConnectError {
  const headers = requestId === undefined ? {} : { "x-request-id": requestId };
  return new ConnectError(error.message, CONNECT_CODES[error.code], headers, detailsOf(error));
}

/** What connect refused by itself, as the gate counts it. */
export function requestErrorOf(error: ConnectError): RequestError {
  return new RequestError(NAMES.get(error.code) ?? "INVALID_ARGUMENT", error.rawMessage);
}

/**
 * Puts right what connect says of a request that it cannot read, before it is sent: it blames itself (INTERNAL) for bytes
 * that are no message, or are compressed in no way, and names a field in words only. What it quotes may hold half a character,
 * of which it can make no trailer.
 */
export function mended(error: ConnectError): ConnectError {
  if (error.code === Code.Internal) Object.assign(error, { code: Code.InvalidArgument });
  Object.assign(error, { rawMessage: error.rawMessage.toWellFormed() });
  const field = fieldOf(error);
  if (field !== undefined) {
    const fieldViolations = [{ field, description: error.rawMessage }];
    error.details.push({ desc: BadRequestSchema, value: { fieldViolations } });
  }
  return error;
}

function fieldOf(error: ConnectError): string | undefined {
  const cause = error.cause instanceof Error ? error.cause.cause : undefined;
  return isFieldError(cause) ? cause.field().name : /: key "(.{1,64})" is unknown$/.exec(error.rawMessage)?.[1];
}
