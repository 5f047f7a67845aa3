import assert from "node:assert/strict";
import { test } from "node:test";
import { OrderType, SelfTradePrevention, Side, TimeInForce } from "../gen/penstock/v1/order_pb.ts";
import { decodeBatch } from "./logged-command.ts";
import { prepareCancel, prepareMassCancel, prepareSubmit, prepareVoid } from "./prepared-command.ts";
import { voidedBy } from "./voids.ts";

const submit = prepareSubmit("ann", {
  ...{ clientOrderId: "one", symbol: "A-B", side: Side.BUY, type: OrderType.LIMIT, timeInForce: TimeInForce.GTC },
  ...{ quantity: 5, price: 100, stopPrice: 0, displayQuantity: 0, expireTime: 0, postOnly: false },
  selfTradePrevention: SelfTradePrevention.UNSPECIFIED,
}).element;
const cancel = prepareCancel("ann", "b", "A-B", { case: "clientOrderId", value: "one" }).element;
const voids = (id: string) => prepareVoid("root", `void ${id}`, id, "it throws").element;

test("the entries that a batch voids are found among all other commands", () => {
  const batch = Buffer.concat([submit, voids("12-3"), cancel, prepareMassCancel("bb", "b", "").element, voids("9-0")]);
  assert.deepEqual(voidedBy(batch), ["12-3", "9-0"]);
  assert.deepEqual(voidedBy(Buffer.concat([submit, cancel, submit])), []);
  assert.deepEqual(voidedBy(Buffer.alloc(0)), []);
});

test("what cannot be decoded voids nothing, and hides no void beside it", () => {
  const broken = Buffer.from([0x0a, 3, 0x62, 0x09, 0x01]); // a void that is longer than its command
  assert.equal(decodeBatch(broken)[0]?.kind, "undecodable");
  assert.deepEqual(voidedBy(Buffer.concat([broken, voids("12-3")])), ["12-3"]);
  assert.deepEqual(voidedBy(Buffer.concat([voids("12-3"), Buffer.from([0x0a, 99])])), [], "no batch at all");
});
