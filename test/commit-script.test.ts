import assert from "node:assert/strict";
import { test } from "node:test";

import type { PreparedCommand } from "../src/stream/prepared-command.ts";
import { Script } from "../src/stream/script.ts";
import { LogScene, order } from "./support/log.ts";

/** The commit script as Redis runs it: what it refuses, and that it then has written nothing. */

/** The commit script as an ingest calls it, with everything in the test's hands. */
class HandFlush {
  readonly #script = new Script("commit");
  readonly #scene: LogScene;

  constructor(scene: LogScene) {
    this.#scene = scene;
  }

  async #run(): Promise<string> {
    return /run_id:(\w+)/.exec(await this.#scene.redis.info("server"))?.[1] ?? "";
  }

  async send(counter: number, commands: readonly PreparedCommand[], given: Record<string, string | number> = {}) {
    const { redis, keys } = this.#scene;
    const head = await redis.hgetall(keys.head);
    const values = {
      generation: 1,
      run: await this.#run(),
      epoch: head["epoch"] ?? 1,
      acknowledged: "0-0",
      clock: Date.now(),
      ...given,
    };
    const lengths = Buffer.alloc(commands.length * 4);
    commands.forEach(({ element }, i) => lengths.writeUInt32BE(element.length, i * 4));
    const reply = await this.#script.run(
      redis,
      [keys.orders, keys.head, keys.instruments, keys.seen(1), keys.seen(0), keys.seen(2), keys.flush("hand")],
      [
        ...[counter, values.generation, values.run, values.epoch, values.acknowledged, values.clock, 5_000],
        ...[1, Buffer.concat(commands.map(({ element }) => element)), lengths],
        ...[Buffer.from(commands.map(({ identity }) => identity).join(""), "latin1"), 3_600_000, 1_000, 60_000],
      ],
    );
    return (reply as unknown[]).map((part) => (Buffer.isBuffer(part) ? part.toString() : part));
  }
}

test("the script refuses, and then has written nothing: another run id, epoch, clock, position, generation, a late flush", async (t) => {
  const scene = await LogScene.set(t);
  const { redis, keys } = scene;
  const hand = new HandFlush(scene);
  assert.deepEqual(await hand.send(1, [order("too early")]), ["RUN"]);
  const log = scene.appender();
  await log.one(order("first"));

  const [ok, , , id] = await hand.send(5, [order("five")]);
  assert.equal(ok, "OK");
  const state = async () =>
    JSON.stringify([await redis.hgetall(keys.head), await redis.xlen(keys.orders), await redis.hlen(keys.seen(1))]);
  const before = await state();
  const last = String(id);
  const beyond = `${last.split("-")[0]}-${Number(last.split("-")[1]) + 1}`;
  assert.deepEqual(await hand.send(4, [order("four")]), ["STALE", "5"], "a flush that came late");
  assert.deepEqual(await hand.send(6, [order("six")], { epoch: 2 }), ["EPOCH"]);
  assert.deepEqual(
    await hand.send(5, [order("five")], { run: "f".repeat(40) }),
    ["RUN"],
    "it was opened again meanwhile",
  );
  assert.deepEqual(await hand.send(6, [order("six")], { acknowledged: beyond }), ["BEHIND", last]);
  assert.equal((await hand.send(6, [order("six")], { clock: Date.now() - 6_000 }))[0], "CLOCK");
  assert.deepEqual(await hand.send(6, [order("six")], { generation: 7 }), ["GENERATION", "1"]);
  assert.equal(await state(), before);

  const again = await hand.send(5, [order("five")], { clock: 0, generation: 9, epoch: 7 });
  assert.deepEqual(
    again.slice(0, 4),
    ["OK", "1", "1", last],
    "a flush that is sent again gets its first answer, whatever else",
  );
  assert.equal(await state(), before);

  await redis.rename(keys.orders, "elsewhere");
  assert.deepEqual(await hand.send(6, [order("six")]), ["MISSING"]);
  await redis.rename("elsewhere", keys.orders);
  const run = await redis.hget(keys.head, "run");
  await redis.hset(keys.head, "run", "f".repeat(40));
  assert.deepEqual(await hand.send(5, [order("five")]), ["RUN"], "it was opened on another server");
  await redis.hset(keys.head, "run", run!);
  assert.equal((await hand.send(6, [order("six")], { acknowledged: last }))[0], "OK");
  await scene.orders();
});
