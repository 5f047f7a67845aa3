import assert from "node:assert/strict";
import { test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { pino } from "pino";

import { startTestRedis } from "../../test/support/servers.ts";
import { InstrumentSchema } from "../gen/penstock/v1/instrument_pb.ts";
import { InstrumentBook } from "./instrument-book.ts";
import { PartitionKeys } from "./keys.ts";
import { connectRedis } from "./redis.ts";

test("the book holds what Redis holds: newer, older after a loss, and what a refresh under way had missed", async (t) => {
  const server = await startTestRedis(t);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
  t.after(() => redis.disconnect());
  const partitions = [new PartitionKeys(0), new PartitionKeys(1)];
  const [keys] = partitions as [PartitionKeys, PartitionKeys];
  const encode = (symbol: string, version: number, tickSize = "1") =>
    Buffer.from(toBinary(InstrumentSchema, create(InstrumentSchema, { symbol, version, tickSize, lotSize: "1" })));
  const put = async (of: PartitionKeys, symbol: string, version: number) => {
    await redis.hset(of.instruments, symbol, encode(symbol, version));
    await redis.hincrby(of.head, "defined", 1);
  };
  const book = new InstrumentBook(redis, partitions, pino({ enabled: false }));
  await book.refresh();
  assert.deepEqual(book.all(), []);

  await put(keys, "B", 1);
  await put(partitions[1]!, "A", 1);
  await book.refresh();
  assert.deepEqual(
    book.all().map(({ traded }) => [traded.symbol, traded.version]),
    [
      ["A", 1],
      ["B", 1],
    ],
  );
  assert.deepEqual(book.defined("B")?.encoded, encode("B", 1));

  // One that begins to read before the change, and one that is asked for behind it.
  const early = book.refresh();
  const changed = put(keys, "B", 2);
  await changed;
  await Promise.all([early, book.refresh()]);
  assert.equal(book.get("B")?.version, 2);

  book.learn(encode("B", 1));
  assert.equal(book.get("B")?.version, 2, "only what is newer is learnt");
  book.learn(encode("C", 1));
  assert.equal(book.get("C")?.version, 1);

  // A server that lost the last change, and counts to the same number again when it is opened.
  await redis.hset(keys.head, "run", "another server");
  await redis.hset(keys.instruments, "B", encode("B", 1));
  await book.refresh();
  assert.equal(book.get("B")?.version, 1);
  assert.equal(book.get("NO-SUCH"), undefined);
});
