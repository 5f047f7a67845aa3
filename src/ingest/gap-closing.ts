import { hash } from "node:crypto";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import type { Logger } from "pino";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import type { LogGap } from "../gen/penstock/v1/engine_service_pb.ts";
import { closeGap, type Closing, ClosingBusyError, ClosingError, findClosing } from "../store/closings.ts";
import { type LogPosition, ORDERS_STREAM } from "../store/entry-record.ts";
import { readJournal } from "../store/journal.ts";
import { keptSince } from "../store/partitions.ts";
import { WriterQueue } from "../store/writer-queue.ts";
import { SCHEMA_VERSION } from "../stream/command.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { findNext } from "../stream/lookup.ts";
import { type EntryId, formatEntryId, parseEntryId } from "../stream/position.ts";
import { TICK_BATCH } from "../stream/tick.ts";
import type { Call, Implementation } from "./call.ts";
import type { EngineClient } from "./engine-client.ts";
import { invalidArgument, RequestError, resourceExhausted } from "./errors.ts";
import { validateCloseGap } from "./validation/engine.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;

export interface GapClosingOptions {
  readonly redis: Redis;
  readonly sql: postgres.Sql;
  readonly databaseUrl: string;
  readonly partitions: readonly PartitionKeys[];
  readonly engines: EngineClient;
  readonly log: Logger;
}

/** Of one step, in ms: it waits for the journal for 2 s, and takes back the events of 100 entries. */
const STEP_TIMEOUT_MS = 5_000;
/** What is left of a call for its answer, ms; a step that is under way goes on. */
const MARGIN_MS = 1_000;
/** It is a matter for one operator. */
const MAX_WAITING = 4;
const RETRY_AFTER_MS = 1_000;
/** Entries behind the gap among which the first is looked for: of older epochs some may be there that the log has lost. */
const BEHIND = 16;

/**
 * Closes gaps of the log that nobody fills, as an operator asks for it. An engine has to wait for it, and nothing may be left of what
 * is missing: in the log, in the journal, with a worker, or in the events.
 */
export class GapClosing implements Pick<AdminMethods, "closeGap"> {
  readonly #options: GapClosingOptions;
  readonly #queue: WriterQueue;

  constructor(options: GapClosingOptions) {
    this.#options = options;
    const busy = () => resourceExhausted("other gaps are being closed", RETRY_AFTER_MS);
    this.#queue = new WriterQueue(options.databaseUrl, { timeoutMs: STEP_TIMEOUT_MS, maxWaiting: MAX_WAITING, busy });
  }

  closeGap: AdminMethods["closeGap"] = async (request, call) => {
    const { sql, partitions, log } = this.#options;
    const fields = validateCloseGap(request, partitions.length);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { partition, missing, reason } = fields;
    const closed = await findClosing(sql, partition, missing);
    if (closed !== undefined) return answerOf(closed, true);

    const after = await this.#waitedFor(partition, missing, call);
    const keys = partitions[partition]!;
    await this.#assertGone(keys, after, missing);
    const epoch = await this.#epochBehind(keys, after, missing);
    const gap = { partition, after, missing, epoch, payload: TICK_BATCH, hash: hash("sha256", TICK_BATCH, "buffer") };
    const details = { entry_id: formatEntryId(missing), after: formatEntryId(after), reason };
    const action = { actor: call.principal.account, action: "CloseGap", subject: `partition ${partition}`, details };
    const until = performance.now() + call.deadline - Date.now() - MARGIN_MS;
    const { closing, before } = await this.#queue
      .run((writer) => closeGap(writer, { ...gap, version: SCHEMA_VERSION }, action, until))
      .catch(refuse);
    const { withdrawn, snapshots } = closing;
    if (!before) log.warn({ ...action, withdrawn, snapshots }, "a gap in the log was closed");
    return answerOf(closing, before);
  };

  /** What still waits is refused. */
  async close(): Promise<void> {
    await this.#queue.close();
  }

  /** The last entry before the gap, where the engine waits for this one. */
  async #waitedFor(partition: number, missing: EntryId, call: Call): Promise<LogPosition> {
    const status = (await this.#options.engines.getStatus(call.deadline)).find((one) => one.partition === partition);
    if (status === undefined) {
      throw new RequestError("UNAVAILABLE", "no engine answers at present", { retryAfterMs: RETRY_AFTER_MS });
    }
    const after = status.gap && positionBefore(status.gap, missing);
    if (after !== undefined) return after;
    const wanted = status.gap === undefined ? "no missing entry" : `entry ${status.gap.missing}`;
    throw refusal(`the engine of partition ${partition} waits for ${wanted}`);
  }

  /** Throws where something is left of it, or of what an engine made of it. */
  async #assertGone({ orders, events }: PartitionKeys, after: EntryId, missing: EntryId): Promise<void> {
    const { redis, sql } = this.#options;
    const [from, to] = [`(${formatEntryId(after)}`, formatEntryId(missing)];
    const [logged] = await redis.xrange(orders, from, to, "COUNT", 1);
    if (logged !== undefined) throw refusal(`the log has entry ${logged[0]} of that gap`);
    const held = (await redis.xpending(orders, PERSIST_GROUP, from, to, 1)) as [id: string, consumer: string][];
    if (held[0] !== undefined) {
      throw refusal(`worker ${held[0][1]} has entry ${held[0][0]} of that gap in hand: it is written, or taken over`);
    }
    const [told] = await redis.xrevrange(events, "+", from, "COUNT", 1);
    if (told !== undefined) {
      throw refusal(
        `the events go on to ${told[0]}: an engine that had what is missing made them, and clients were told`,
      );
    }
    if (missing.ms < (await keptSince(sql))) {
      throw refusal("it is older than what the journal keeps: the engine needs a snapshot that was taken behind it");
    }
  }

  /** Of the first entry behind the gap: in the log or, where that begins later, in the journal. */
  async #epochBehind(keys: PartitionKeys, after: LogPosition, missing: EntryId): Promise<number> {
    const { redis, sql } = this.#options;
    const logged = await findNext(redis, keys, missing);
    if (logged !== undefined) return logged.epoch;
    const place = { epoch: Math.max(1, after.epoch), ...missing };
    const range = { stream: ORDERS_STREAM, partition: keys.partition, after: place, limit: BEHIND };
    const page = await readJournal(sql, range);
    const next = page.find(({ prevMs, prevSeq }) => prevMs === missing.ms && prevSeq === missing.seq);
    if (next !== undefined) return next.epoch;
    throw refusal(`neither the log nor the journal has an entry that follows ${formatEntryId(missing)}`);
  }
}

function positionBefore(gap: LogGap, missing: EntryId): LogPosition | undefined {
  if (gap.missing !== formatEntryId(missing) || gap.after === undefined) return undefined;
  return { epoch: gap.after.epoch, ...parseEntryId(gap.after.entryId) };
}

function answerOf({ after, withdrawn, snapshots }: Closing, duplicate: boolean) {
  return { previousEntryId: formatEntryId(after), withdrawn, snapshots, duplicate };
}

function refusal(message: string): RequestError {
  return new RequestError("FAILED_PRECONDITION", message);
}

function refuse(error: unknown): never {
  if (error instanceof ClosingError) throw refusal(error.message);
  if (error instanceof ClosingBusyError) {
    throw new RequestError("UNAVAILABLE", `${error.message}; the same request goes on`, {
      retryAfterMs: RETRY_AFTER_MS,
    });
  }
  throw error;
}
