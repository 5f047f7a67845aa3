import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { crc16, Partitioning } from "./partition.ts";

// The driver's own slot calculation, which it brings along.
const driver = createRequire(createRequire(import.meta.url).resolve("ioredis"));
const slotOf = driver("cluster-key-slot") as (key: string) => number;

test("the hash of a symbol is the one of Redis Cluster", () => {
  assert.equal(crc16("123456789"), 0x31c3); // the check value of CRC-16/XMODEM
  assert.equal(crc16(""), 0);
  const symbols = [
    "BTC-USD",
    "ETH/EUR",
    "A",
    "Z.9_x",
    "ÄÖ€𝄞",
    ...Array.from({ length: 500 }, (_, i) => `SYM-${i * 7919}`),
  ];
  for (const symbol of symbols) assert.equal(crc16(symbol) % 16_384, slotOf(symbol), symbol);
});

test("a symbol belongs to one partition of those there are, and all are used", () => {
  const partitioning = new Partitioning(4);
  assert.deepEqual(partitioning.all(), [0, 1, 2, 3]);
  const used = new Set<number>();
  for (let i = 0; i < 100; i++) {
    const symbol = `S${i}`;
    assert.equal(partitioning.of(symbol), crc16(symbol) % 4);
    assert.equal(partitioning.of(symbol), partitioning.of(symbol));
    used.add(partitioning.of(symbol));
  }
  assert.deepEqual(used, new Set([0, 1, 2, 3]));
});

test("an order id has room for 1 to 4096 partitions", () => {
  for (const count of [0, -1, 1.5, 4097, Number.NaN]) assert.throws(() => new Partitioning(count), RangeError);
  assert.equal(new Partitioning(4096).count, 4096);
});
