import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { EngineEventSchema, EventBatchSchema } from "../gen/penstock/v1/event_log_pb.ts";
import type { EventSource, LevelChange } from "./event-batch.ts";
import { decodeEvent, decodeEventBatch, decodeEvents, rawEvent } from "./event-decoder.ts";
import { encodeEventBatch } from "./event-encoder.ts";
import { formatOrderId, orderIdText } from "./position.ts";

const whole = fc.maxSafeNat();
const small = fc.nat({ max: 9 });
const text = fc.oneof(
  fc.constant(""),
  fc.string({ unit: "grapheme-ascii", maxLength: 64 }),
  fc.string({ maxLength: 64 }),
);
const epoch = fc.nat({ max: 2 ** 14 - 1 });
const ms = fc.oneof(fc.constant(0), fc.nat({ max: 2 ** 31 }), fc.constant(2 ** 48 - 1));
const seq = fc.nat({ max: 2 ** 31 });
const index = fc.nat({ max: 2 ** 16 - 1 });

const events: fc.Arbitrary<EventSource> = fc.record(
  {
    ...{ kind: small, command: fc.integer({ min: -1, max: 499 }), account: text, sequence: whole, reason: small },
    ...{ symbol: text, execType: small, status: small, epoch, ms, seq, index, clientOrderId: text, side: small },
    ...{ type: small, timeInForce: small, selfTradePrevention: small, postOnly: fc.boolean(), triggered: fc.boolean() },
    ...{ quantity: whole, price: whole, stopPrice: whole, displayQuantity: whole, expireTime: whole },
    ...{ cumQuantity: whole, leavesQuantity: whole, valueHigh: whole, valueLow: whole, lastQuantity: whole },
    ...{ lastPrice: whole, trade: whole, aggressor: fc.boolean(), otherEpoch: epoch, otherMs: ms, otherSeq: seq },
    ...{ otherIndex: index, affected: small, remaining: small },
  },
  { noNullPrototype: true },
);

const levels: fc.Arbitrary<LevelChange> = fc.record(
  {
    ...{ symbol: text, version: whole, side: small, price: whole, quantityHigh: whole, quantityLow: whole },
    orders: small,
  },
  { noNullPrototype: true },
);

const PARTITION = 4_095;

function listOf<Item>(items: readonly Item[]) {
  return { count: items.length, at: (position: number) => items[position]! };
}

test("an event batch is read as it was written, by its own codec and by the generated code", () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
      fc.array(events, { maxLength: 5 }),
      fc.array(levels, { maxLength: 3 }),
      text,
      (stateHash, written, touched, requestId) => {
        const source = { stateHash, rules: 3, events: listOf(written), levels: listOf(touched) };
        const payload = encodeEventBatch(PARTITION, source, (command) => (command === 7 ? "" : requestId));
        const read = decodeEventBatch(payload);
        assert.equal(read.stateHash, stateHash);
        assert.equal(read.rules, 3);
        assert.deepEqual(read.levels, touched);
        for (const [i, event] of written.entries()) {
          const { epoch, ms, seq, index, otherEpoch, otherMs, otherSeq, otherIndex, ...same } = event;
          const id = (place: { epoch: number; ms: number; seq: number; index: number }) =>
            place.ms === 0 ? "" : formatOrderId({ partition: PARTITION, ...place });
          assert.deepEqual(read.events[i], {
            ...same,
            orderId: id({ epoch, ms, seq, index }),
            otherOrderId: id({ epoch: otherEpoch, ms: otherMs, seq: otherSeq, index: otherIndex }),
            clientRequestId: event.command < 0 || event.command === 7 ? "" : requestId,
          });
          assert.deepEqual(decodeEvent(payload, i), read.events[i], "and one alone");
        }
        assert.equal(decodeEvent(payload, written.length), undefined);

        const generated = fromBinary(EventBatchSchema, payload);
        assert.equal(generated.stateHash, stateHash);
        for (const [i, event] of read.events.entries()) {
          const { orderId, command, valueHigh } = generated.events[i]!;
          assert.equal(orderId.length === 0 ? "" : orderIdText(orderId), event.orderId);
          assert.equal(command, event.command + 1);
          assert.equal(valueHigh, BigInt(event.valueHigh));
          assert.deepEqual(Buffer.from(toBinary(EngineEventSchema, generated.events[i]!)), rawEvent(payload, i));
        }
        assert.equal(rawEvent(payload, read.events.length), undefined);
        assert.deepEqual(decodeEvents(payload), read.events);
        assert.deepEqual(Buffer.from(toBinary(EventBatchSchema, generated)), payload);
      },
    ),
  );
});

test("what is no event batch is said to be none", () => {
  for (const bytes of ["1a05", "1a0242", "0a", "1a0442020102"]) {
    assert.throws(() => decodeEventBatch(Buffer.from(bytes, "hex")), { name: "WireError" });
  }
});
