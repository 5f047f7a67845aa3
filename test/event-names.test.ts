import assert from "node:assert/strict";
import { test } from "node:test";

import { EventKind, ExecType, OrderStatus, Reason } from "../src/engine/matching/sets.ts";
import { ExecType as ApiExecType } from "../src/gen/penstock/v1/order_pb.ts";
import { EVENT_KIND, EXEC_TYPE_NAMES, REASON_NAMES, reportTypeOf, STATUS_NAMES } from "../src/stream/event-names.ts";

test("the engine's numbers have their names, and no other number has one", () => {
  const { NONE: _nothing, ...reasons } = Reason;
  for (const [name, number] of Object.entries(reasons)) assert.equal(REASON_NAMES[number], name);
  assert.equal(REASON_NAMES.filter((name) => name !== undefined && name !== "").length, Object.keys(reasons).length);
  assert.equal(REASON_NAMES[Reason.NONE], "");
  for (const [name, number] of Object.entries(ExecType)) assert.equal(EXEC_TYPE_NAMES[number], name);
  for (const [name, number] of Object.entries(OrderStatus)) assert.equal(STATUS_NAMES[number], name);
  assert.equal(STATUS_NAMES[0], undefined);
  assert.deepEqual({ ...EVENT_KIND }, { ...EventKind });
});

test("which report an event is", () => {
  const report = (kind: number, execType: number, account = "demo") => reportTypeOf({ kind, execType, account });
  for (const execType of Object.values(ExecType)) assert.equal(report(EventKind.EXECUTION, execType), execType);
  for (const execType of [0, 9, 11, 12]) assert.equal(report(EventKind.EXECUTION, execType), undefined);
  assert.equal(report(EventKind.CANCEL_REJECT, 0), ApiExecType.CANCEL_REJECTED);
  assert.equal(report(EventKind.REPLACE_REJECT, 0), ApiExecType.REPLACE_REJECTED);
  assert.equal(report(EventKind.COMMAND, 0), ApiExecType.MASS_CANCEL_REPORT);
  assert.equal(report(EventKind.COMMAND, 0, ""), ApiExecType.UNSPECIFIED);
  assert.equal(report(5, 0), undefined);
});
