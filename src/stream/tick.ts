import { create, toBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import { CommandBatchSchema } from "../gen/penstock/v1/log_pb.ts";
import { MAX_CLOCK_AHEAD_MS } from "./append.ts";
import { SCHEMA_VERSION } from "./command.ts";
import type { Head } from "./head.ts";
import type { PartitionKeys } from "./keys.ts";
import { type EntryId, formatEntryId } from "./position.ts";
import { Script } from "./script.ts";

const tickScript = new Script("tick");

/** One command, which is nobody's and has no key. */
export const TICK_BATCH = Buffer.from(
  toBinary(CommandBatchSchema, create(CommandBatchSchema, { commands: [{ kind: { case: "tick", value: {} } }] })),
);

export type TickReply =
  | { readonly status: "OK" | "MOVED" | "REOPENED" }
  /** `aheadMs`: how far Redis' clock is ahead of ours. */
  | { readonly status: "EARLY"; readonly aheadMs: number };

/**
 * Appends a tick behind `last`, where that is still the newest entry and Redis' clock has come to `dueMs`. REOPENED: the
 * log is not the one of that head any more. Throws where Redis fails, or has a wrong clock.
 */
export async function appendTick(
  redis: Redis,
  keys: PartitionKeys,
  head: Pick<Head, "run" | "epoch">,
  last: EntryId,
  dueMs: number,
): Promise<TickReply> {
  const now = Date.now();
  const reply = (await tickScript.run(
    redis,
    [keys.orders, keys.head],
    [head.run, head.epoch, formatEntryId(last), dueMs, now, MAX_CLOCK_AHEAD_MS, SCHEMA_VERSION, TICK_BATCH],
  )) as [Buffer, Buffer | undefined];
  const status = reply[0].toString();
  switch (status) {
    case "OK":
    case "MOVED":
      return { status };
    case "RUN":
    case "EPOCH":
      return { status: "REOPENED" };
    case "EARLY":
      return { status, aheadMs: Number(String(reply[1])) - now };
    case "CLOCK":
      throw new Error(`Redis' clock is ahead: ${String(reply[1])} against ${now}`);
    default:
      throw new Error(`the tick script answered ${status}`);
  }
}
