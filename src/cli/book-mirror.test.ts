import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";

import { WatchBookResponseSchema } from "../gen/penstock/v1/market_data_service_pb.ts";
import { BookMirror, compareDecimals } from "./book-mirror.ts";
import { ladder } from "./book.ts";

type Update = NonNullable<MessageInitShape<typeof WatchBookResponseSchema>["update"]>;

const apply = (mirror: BookMirror, update: Update): void =>
  mirror.apply(create(WatchBookResponseSchema, { update }).update);

const level = (price: string, quantity: string, orders = 1) => ({ price, quantity, orders });

function started(): BookMirror {
  const mirror = new BookMirror();
  const bids = [level("99.5", "2", 2), level("9", "1")];
  const asks = [level("100", "1"), level("100.25", "3")];
  const checksum = crc32("99.5:2:2|9:1:1|100:1:1|100.25:3:1|");
  apply(mirror, { case: "snapshot", value: { symbol: "X", version: 7n, bids, asks, checksum, tradingStatus: 1 } });
  return mirror;
}

test("a book is kept up with its changes: levels come, change and go, each side with the best first", () => {
  const mirror = started();
  const bids = [level("99.75", "1"), level("9", "0"), level("10", "4")];
  const asks = [level("100", "0"), level("100.3", "2"), level("100.25", "1.5"), level("101", "0")];
  const checksum = crc32("99.75:1:1|99.5:2:2|10:4:1|100.25:1.5:1|100.3:2:1|");
  apply(mirror, { case: "increment", value: { version: 8n, bids, asks, checksum } });
  apply(mirror, { case: "heartbeat", value: { version: 8n, checksum } });
  assert.equal(
    ladder(mirror.book!, 2),
    `X  OPEN  no trade yet  version 8
orders  bid   price  ask  orders
              100.3    2       1
             100.25  1.5       1
     1    1   99.75
     2    2    99.5
`,
  );
});

test("what is not the server's book is noticed: a gap, a change that was not told, a heartbeat of another version", () => {
  const checksum = 1;
  const wrong: [Update, RegExp][] = [
    [{ case: "increment", value: { version: 9n, checksum } }, /version 9 came after 7/],
    [{ case: "increment", value: { version: 8n, checksum } }, /the checksum of version 8/],
    [{ case: "heartbeat", value: { version: 8n, checksum } }, /version 8 was told while 7 is here/],
    [{ case: "snapshot", value: { version: 1n, checksum } }, /the checksum of version 1/],
  ];
  for (const [update, message] of wrong) assert.throws(() => apply(started(), update), message);
});

test("decimals are compared as numbers, however long they are", () => {
  const sorted = ["0.1", "0.25", "2", "9.5", "10", "10.000000000000000001", "10.1", "9007199254740993"];
  assert.deepEqual(sorted.toReversed().sort(compareDecimals), sorted);
  assert.equal(compareDecimals("1.50", "1.5"), 0);
});
