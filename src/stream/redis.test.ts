import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";

import { Redis } from "ioredis";

import { eventually } from "../../test/support/pipeline.ts";
import { startTestRedis } from "../../test/support/servers.ts";
import { parseInfo } from "./durability.ts";
import { connectRedis } from "./redis.ts";

const KEYS = 20_000;
/** It needs 20 s for its keys, and lets others in meanwhile. */
const SLOW = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
const GUESS_S = 8;

/** A server that will read its file back slowly, and a connection that asks it meanwhile. */
async function fillServer(t: TestContext) {
  const server = await startTestRedis(t, SLOW);
  const own = new Redis(server.url, { enableReadyCheck: false, retryStrategy: () => 50 });
  own.on("error", () => {});
  t.after(() => own.disconnect());
  const fill = own.pipeline();
  for (let i = 0; i < KEYS; i++) fill.set(`key-${i}`, "");
  await fill.exec();
  const persistence = async () => parseInfo(await own.info("persistence"));
  await own.bgrewriteaof();
  await eventually(
    async () => (await persistence()).get("aof_rewrite_in_progress") === "0",
    "the file to be rewritten",
  );
  return { server, own, persistence };
}

test("a server that reads its file back is asked again soon, however long it thinks that it needs", async (t) => {
  const { server, own, persistence } = await fillServer(t);
  await server.stop();
  const started = server.start();
  const guess = async () =>
    Number((await persistence().catch(() => new Map<string, string>())).get("loading_eta_seconds"));
  await eventually(async () => (await guess()) >= GUESS_S, `a guess of ${GUESS_S} s and more`);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
  t.after(() => redis.disconnect());
  const ready = once(redis, "ready");
  // By then it has been told how long that may take.
  await eventually(
    async () => /name=test .*cmd=info/.test(String(await own.client("LIST"))),
    "the question whether it loads",
  );
  await own.config("SET", "key-load-delay", "0");
  await eventually(async () => (await persistence()).get("loading") === "0", "the end of loading");
  const loaded = performance.now();
  await ready;
  assert.ok(performance.now() - loaded < (GUESS_S * 1_000) / 2);
  await started;
});

test("what waits for a server that reads its file back is refused after a while, and taken when it has", async (t) => {
  const { server, own, persistence } = await fillServer(t);
  const redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 1_000 });
  t.after(() => redis.disconnect());
  assert.equal(await redis.get("key-1"), "");
  await server.stop();
  const started = server.start();
  const isLoading = async () => (await persistence().catch(() => undefined))?.get("loading") === "1";
  await eventually(isLoading, "the server to read its file");
  // The first may have been refused because it was away, the second waits for its connection.
  for (let i = 0; i < 3; i++) await assert.rejects(redis.get("key-1"));
  assert.ok(await isLoading());
  await own.config("SET", "key-load-delay", "0");
  await eventually(
    () =>
      redis
        .get("key-1")
        .catch(() => undefined)
        .then((value) => value === ""),
    "an answer",
  );
  await started;
});
