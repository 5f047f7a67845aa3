import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";

import { BadRequestSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { asRequestError, CODES, invalidArgument, RequestError, resourceExhausted, toStatus } from "./errors.ts";
import type { Code } from "./errors.ts";

/** The status as a client decodes it. */
function sent(error: RequestError) {
  return fromBinary(StatusSchema, toBinary(StatusSchema, toStatus(error)));
}

test("every code has its number on the wire, and no details of its own", () => {
  const numbers: Record<Code, number> = {
    CANCELLED: 1,
    INVALID_ARGUMENT: 3,
    DEADLINE_EXCEEDED: 4,
    NOT_FOUND: 5,
    ALREADY_EXISTS: 6,
    PERMISSION_DENIED: 7,
    RESOURCE_EXHAUSTED: 8,
    FAILED_PRECONDITION: 9,
    ABORTED: 10,
    OUT_OF_RANGE: 11,
    UNIMPLEMENTED: 12,
    INTERNAL: 13,
    UNAVAILABLE: 14,
    UNAUTHENTICATED: 16,
  };
  for (const code of Object.keys(CODES) as Code[]) {
    const status = sent(new RequestError(code, "why"));
    assert.equal(status.code, numbers[code]);
    assert.equal(status.message, "why");
    assert.deepEqual(status.details, []);
  }
});

test("an invalid argument names the first field and details them all", () => {
  const violations = [
    { field: "price", description: "must be more than 0" },
    { field: "side", description: "is required: BUY or SELL" },
  ];
  const error = invalidArgument({ violations });
  assert.equal(error.code, "INVALID_ARGUMENT");
  const status = sent(error);
  assert.equal(status.message, "price: must be more than 0 (and 1 more)");
  assert.equal(status.details.length, 1);
  assert.equal(status.details[0]?.typeUrl, "type.googleapis.com/google.rpc.BadRequest");
  const details = status.details[0] && anyUnpack(status.details[0], BadRequestSchema);
  assert.deepEqual(
    details?.fieldViolations.map(({ field, description }) => ({ field, description })),
    violations,
  );
  assert.equal(invalidArgument({ violations: violations.slice(0, 1) }).message, "price: must be more than 0");
});

test("an exhausted resource says when to come again", () => {
  for (const [ms, seconds, nanos] of [
    [250, 0n, 250_000_000],
    [1500, 1n, 500_000_000],
    [2000, 2n, 0],
    [0.4, 0n, 1_000_000],
  ] as const) {
    const status = sent(resourceExhausted("too much", ms));
    assert.equal(status.code, CODES.RESOURCE_EXHAUSTED);
    const info = status.details[0] && anyUnpack(status.details[0], RetryInfoSchema);
    assert.equal(info?.retryDelay?.seconds, seconds);
    assert.equal(info?.retryDelay?.nanos, nanos);
  }
});

test("a refusal is an Error without a stack, and leaves other errors theirs", () => {
  const cause = new Error("cause");
  const error = new RequestError("UNAVAILABLE", "outcome unknown, send the same id again", { cause });
  assert.ok(error instanceof Error);
  assert.doesNotMatch(error.stack ?? "", /\n/);
  assert.equal(error.cause, cause);
  assert.match(new Error("other").stack ?? "", /errors\.test\.ts/);
});

test("what is no refusal becomes INTERNAL and tells a client nothing", () => {
  const bug = new TypeError("password is hunter2");
  const error = asRequestError(bug);
  assert.equal(error.code, "INTERNAL");
  assert.equal(error.cause, bug);
  assert.equal(sent(error).message, "internal error");
  const refusal = new RequestError("NOT_FOUND", "no such order");
  assert.equal(asRequestError(refusal), refusal);
});
