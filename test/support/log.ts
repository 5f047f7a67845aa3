import { cp, rm } from "node:fs/promises";
import type { TestContext } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import type postgres from "postgres";

import { ORDER_ROWS } from "../../src/consumers/order-rows.ts";
import { recordOf } from "../../src/consumers/record.ts";
import { InstrumentSchema } from "../../src/gen/penstock/v1/instrument_pb.ts";
import { OrderType, Side, TimeInForce } from "../../src/gen/penstock/v1/order_pb.ts";
import { storeJournal } from "../../src/ingest/store-journal.ts";
import { persist } from "../../src/store/batch.ts";
import { connect } from "../../src/store/connection.ts";
import { Writer } from "../../src/store/writer.ts";
import { Appender, type AppenderOptions } from "../../src/stream/append.ts";
import type { SubmitFields } from "../../src/stream/command.ts";
import { decodeBatch } from "../../src/stream/logged-command.ts";
import { type PreparedCommand, prepareInstrument, prepareSubmit } from "../../src/stream/prepared-command.ts";
import { type Entry, readEntry, type StreamReply } from "../../src/stream/entry.ts";
import type { Caller, Placement } from "../../src/stream/flush.ts";
import { ORDERS_GROUPS } from "../../src/stream/groups.ts";
import { InstrumentBook } from "../../src/stream/instrument-book.ts";
import { PartitionKeys } from "../../src/stream/keys.ts";
import { Partitioning } from "../../src/stream/partition.ts";
import { formatEntryId, orderIdAt, orderIdPrefix } from "../../src/stream/position.ts";
import { connectRedis } from "../../src/stream/redis.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createTestDatabase, startTestRedis, type TestRedis } from "./servers.ts";

const ACCOUNT = "demo";
const ORDER: SubmitFields = {
  clientOrderId: "",
  symbol: "BTC-USD",
  side: Side.BUY,
  type: OrderType.LIMIT,
  timeInForce: TimeInForce.GTC,
  quantity: 1,
  price: 10_025,
  stopPrice: 0,
  displayQuantity: 0,
  expireTime: 0,
  postOnly: false,
  selfTradePrevention: 0,
};
const HOUR_MS = 3_600_000;

export function order(clientOrderId: string, fields: Partial<SubmitFields> = {}): PreparedCommand {
  return prepareSubmit(ACCOUNT, { ...ORDER, clientOrderId, ...fields });
}

/** `<name>-0`, `<name>-1` … */
export function orders(name: string, count: number): PreparedCommand[] {
  return Array.from({ length: count }, (_, i) => order(`${name}-${i}`));
}

/** The command that defines an instrument, and what Redis keeps of it. */
export function instrument(symbol: string, version = 1) {
  const definition = create(InstrumentSchema, { symbol, tickSize: "0.01", lotSize: "1", version });
  return {
    command: prepareInstrument("root", definition),
    encoded: Buffer.from(toBinary(InstrumentSchema, definition)),
  };
}

/** A call that nobody gives up. */
export const patient: Caller = { deadline: Number.MAX_SAFE_INTEGER, cancelled: false };

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface TestAppenderOptions extends Partial<AppenderOptions> {
  readonly partitions?: number;
  /** From when on a worker's transaction is taken to have stalled. */
  readonly stalledMs?: number;
}

/** Where a pool leads to. */
function urlOf(sql: postgres.Sql): string {
  const { host, port, user, pass, database } = sql.options;
  return `postgres://${user}:${String(pass)}@${host[0]}:${port[0]}/${database}`;
}

/** The appender of one ingest process, in this process, with connections of its own and what it said. */
export class TestAppender {
  readonly appender: Appender;
  readonly lines: LogLine[] = [];
  readonly losses: { acknowledged: string; base: string }[] = [];
  readonly flushes: { commands: number; duplicates: number }[] = [];
  readonly #redis: Redis;

  constructor(redisUrl: string, sql: postgres.Sql, options: TestAppenderOptions = {}) {
    const { partitions = 1, stalledMs = 10_000, ...given } = options;
    const partitioning = new Partitioning(partitions);
    const log = createLog("ingest", "info", { write: (line) => this.lines.push(JSON.parse(line) as LogLine) });
    this.#redis = connectRedis(redisUrl, { name: "append", socketTimeoutMs: 4_000 });
    this.appender = new Appender({
      redis: this.#redis,
      keys: new PartitionKeys(0),
      journal: storeJournal({ sql, databaseUrl: urlOf(sql), partitioning, stalledMs }),
      durability: { level: "always", replicas: 0, replicaTimeoutMs: 1_000 },
      groups: ORDERS_GROUPS,
      replayHorizonMs: HOUR_MS,
      idempotencyHorizonMs: HOUR_MS,
      log,
      maxWaiting: 20_000,
      generationMs: HOUR_MS,
      generationKeys: () => 1_000_000,
      settleMs: 0,
      onFlush: (flush) => this.flushes.push(flush),
      onLoss: (loss) => this.losses.push(loss),
      ...given,
    });
  }

  append(...commands: readonly PreparedCommand[]): Promise<readonly Placement[]> {
    return this.appender.append(commands, patient);
  }

  async one(command: PreparedCommand): Promise<Placement> {
    return (await this.append(command))[0]!;
  }

  /** A new instrument. */
  async define(symbol: string): Promise<void> {
    const { command, encoded } = instrument(symbol);
    await this.appender.append([command], patient, { symbol, present: Buffer.alloc(0), next: encoded });
  }

  /** Answers what was taken, then closes its connections. */
  async stop(): Promise<void> {
    await this.appender.stop();
    this.#redis.disconnect();
  }

  logged(message: string): number {
    return this.lines.filter(({ msg }) => msg.includes(message)).length;
  }
}

/** A Redis and a database of a test's own, and ways to use and to look at them. */
export class LogScene {
  readonly server: TestRedis;
  readonly databaseUrl: string;
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly keys = new PartitionKeys(0);
  readonly #closing: (() => unknown)[];

  private constructor(server: TestRedis, databaseUrl: string, closing: (() => unknown)[]) {
    this.server = server;
    this.databaseUrl = databaseUrl;
    this.redis = connectRedis(server.url, { name: "test", socketTimeoutMs: 10_000 });
    this.sql = connect(databaseUrl, { max: 2 });
    closing.push(
      () => this.redis.disconnect(),
      () => this.sql.end({ timeout: 1 }),
    );
    this.#closing = closing;
  }

  static async set(t: TestContext, redisArguments: readonly string[] = []): Promise<LogScene> {
    const closing: (() => unknown)[] = [];
    // Before the servers' own, so that what uses them ends first.
    t.after(async () => {
      for (const close of closing.toReversed()) await close();
    });
    const [server, { url }] = await Promise.all([startTestRedis(t, redisArguments), createTestDatabase(t)]);
    return new LogScene(server, url, closing);
  }

  /** It ends with the test. `url`: where a proxy stands before Redis. */
  appender({ url, ...options }: TestAppenderOptions & { url?: string } = {}): TestAppender {
    const appender = new TestAppender(url ?? this.server.url, this.sql, options);
    this.#closing.push(() => appender.stop());
    return appender;
  }

  async restartAfterKill(): Promise<void> {
    await this.server.kill();
    await this.server.start();
  }

  /** Redis' files as they are now; what it gives kills the server and starts it with them again. */
  async snapshot(): Promise<() => Promise<void>> {
    const { server } = this;
    const copy = `${server.folder}-copy`;
    await cp(server.folder, copy, { recursive: true });
    this.#closing.push(() => rm(copy, { recursive: true, force: true }));
    return async () => {
      await server.kill();
      await rm(server.folder, { recursive: true });
      await cp(copy, server.folder, { recursive: true });
      await server.start();
    };
  }

  /** An empty Redis in the place of this one; what it gives brings this one back. */
  async putAside(): Promise<() => Promise<void>> {
    await this.server.stop();
    const bringBack = await this.snapshot();
    await this.server.restart({ empty: true });
    return bringBack;
  }

  /** Done before the servers end, the newest first. */
  closing(close: () => unknown): void {
    this.#closing.push(close);
  }

  /** All entries of the stream. */
  async entries(keys = this.keys): Promise<Entry[]> {
    const replies = (await this.redis.callBuffer("XRANGE", keys.orders, "-", "+")) as StreamReply[];
    return replies.map(([id, fields]) => readEntry(id.toString(), fields ?? []));
  }

  /**
   * The client order ids and the order ids of all that stands in the log, in its order. Throws where the chain is broken or
   * does not begin at the beginning.
   */
  async orders(keys = this.keys): Promise<{ clientOrderId: string; id: string }[]> {
    let last = "0-0";
    const found: { clientOrderId: string; id: string }[] = [];
    for (const entry of await this.entries(keys)) {
      if (formatEntryId(entry.previous) !== last)
        throw new Error(`${entry.id} follows ${formatEntryId(entry.previous)}, not ${last}`);
      last = entry.id;
      const prefix = orderIdPrefix(keys.partition, entry);
      for (const [index, command] of decodeBatch(entry.payload).entries()) {
        if (command.kind !== "submit") continue;
        found.push({ clientOrderId: command.submit.clientOrderId, id: orderIdAt(prefix, index) });
      }
    }
    return found;
  }

  /** Writes entries of the stream to Postgres, as a worker would: all of them, or those that are picked. */
  async persist(picks: (entry: Entry) => boolean = () => true, keys = this.keys): Promise<void> {
    const writer = new Writer(this.databaseUrl, { timeoutMs: 10_000 });
    const instruments = new InstrumentBook(this.redis, [keys], createLog("test", "silent"));
    await instruments.refresh();
    try {
      for (const [id, fields] of (await this.redis.callBuffer("XRANGE", keys.orders, "-", "+")) as StreamReply[]) {
        if (fields === null || !picks(readEntry(id.toString(), fields))) continue;
        const delivered = { id: id.toString(), fields, deliveries: 1 };
        const options = { partition: keys.partition, instruments, instrumentsAreFresh: true };
        await persist(writer, [recordOf(ORDER_ROWS, delivered, options)]);
      }
    } finally {
      await writer.close();
    }
  }
}
