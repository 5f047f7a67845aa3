import type { TestContext } from "node:test";

import type { Redis } from "ioredis";

import { parseInfo } from "../../src/stream/durability.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { eventually } from "./pipeline.ts";
import { Proxy } from "./proxy.ts";
import { startTestRedis, type TestRedis } from "./servers.ts";

/** The second one follows the first within a moment, not after the five seconds that Redis gathers replicas for. */
const ARGUMENTS = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "5", "--repl-ping-replica-period", "1"];

/**
 * A Redis and its replica, at one address that can be switched from the one to the other.
 *
 * Always true: `front` leads to the server that was made the master last.
 */
export class ReplicatedRedis {
  readonly front: Proxy;
  /** Between the replica and its master. */
  readonly link: Proxy;
  readonly first: TestRedis;
  readonly second: TestRedis;
  readonly onFirst: Redis;
  readonly onSecond: Redis;

  private constructor(
    servers: readonly [TestRedis, TestRedis],
    clients: readonly [Redis, Redis],
    { front, link }: { front: Proxy; link: Proxy },
  ) {
    [this.first, this.second] = servers;
    [this.onFirst, this.onSecond] = clients;
    this.front = front;
    this.link = link;
  }

  /** `replicas`: how many a master must have to write at all. */
  static async start(t: TestContext, { replicas }: { replicas: 0 | 1 }): Promise<ReplicatedRedis> {
    const closing: (() => unknown)[] = [];
    t.after(async () => {
      for (const close of closing) await close();
    });
    const args = [...ARGUMENTS, "--min-replicas-to-write", String(replicas)];
    const first = await startTestRedis(t, args);
    const link = await Proxy.start(t, first.url);
    const second = await startTestRedis(t, [...args, "--replicaof", link.address.replace(":", " ")]);
    const front = await Proxy.start(t, first.url);
    const open = (url: string): Redis => {
      const redis = connectRedis(url, { name: "test", socketTimeoutMs: 10_000 });
      closing.push(() => redis.disconnect());
      return redis;
    };
    const pair = new ReplicatedRedis([first, second], [open(first.url), open(second.url)], { front, link });
    await pair.untilFollowed(pair.onFirst);
    return pair;
  }

  /** Waits until the master has a replica that has all there was. */
  async untilFollowed(master: Redis): Promise<void> {
    await eventually(
      async () => /connected_slaves:1\r[^]*state=online/.test(await master.info("replication")),
      "the replica",
    );
  }

  /** Nothing is copied any more, and neither side is told. */
  separate(): void {
    this.link.stall();
  }

  /** The first one dies, the second one is made the master, and the address leads to it: as a sentinel does it. */
  async failOver(): Promise<void> {
    await this.first.kill();
    await this.onSecond.replicaof("NO", "ONE");
    this.front.target = this.second.url;
    this.front.cut();
  }

  /** The first one comes back, as the second one's replica: what it had beyond it is dropped. */
  async rejoin(): Promise<void> {
    await this.first.start();
    const follow = () => this.onFirst.replicaof(this.second.host, this.second.port);
    await eventually(
      () =>
        follow().then(
          () => true,
          () => false, // not connected again yet
        ),
      "the first one to follow",
    );
    await this.untilFollowed(this.onSecond);
  }

  /** Whether the second one has all that the first one has written. */
  async isCopied(): Promise<boolean> {
    const offset = async (redis: Redis) => parseInfo(await redis.info("replication")).get("master_repl_offset");
    return (await offset(this.onFirst)) === (await offset(this.onSecond));
  }
}
