import assert from "node:assert/strict";
import { test } from "node:test";

import { answersThatDiffer, type ExecutionRow, reportsThatDiffer, type ToldReport } from "./told.ts";

const ID = "0193a5b0-0000-7000-8001-000000000000";
const row: ExecutionRow = {
  ...{ account: "ann", partition: 1, sequence: "7", epoch: 1, ms: "1000", seq: "2", exec_type: "TRADE" },
  ...{ status: "PARTIALLY_FILLED", order_id: ID, cum_quantity: "0.50", leaves_quantity: "10" },
};
const report: ToldReport = {
  ...{ account: "ann", partition: 1, sequence: 7, place: { epoch: 1, ms: 1000, seq: 2 } },
  ...{ execType: "TRADE", orderId: ID, cum: "0.5", leaves: "10" },
};

test("a report that was told is the row that stands there", () => {
  assert.deepEqual(reportsThatDiffer([report], [row]), []);
  const none = { ...report, sequence: 8, orderId: "", cum: "", leaves: "" };
  const bare = { ...row, sequence: "8", order_id: null, cum_quantity: null, leaves_quantity: null };
  assert.deepEqual(reportsThatDiffer([none], [bare]), []);
  const others: readonly Partial<ToldReport>[] = [
    ...[{ sequence: 8 }, { account: "bob" }, { cum: "0.51" }, { leaves: "1" }, { execType: "NEW" }, { orderId: "" }],
    { place: { epoch: 2, ms: 1000, seq: 2 } },
  ];
  for (const other of others) assert.equal(reportsThatDiffer([{ ...report, ...other }], [row]).length, 1);
});

test("what an answer told of an order is a state that a report says", () => {
  const answer = { command: ID, orderId: ID, status: "PARTIALLY_FILLED", cum: "0.5", leaves: "10.0" };
  assert.deepEqual(answersThatDiffer([answer], [row]), []);
  for (const other of [{ status: "FILLED" }, { cum: "5" }, { leaves: "1" }, { orderId: "another" }])
    assert.equal(answersThatDiffer([{ ...answer, ...other }], [row]).length, 1);
});
