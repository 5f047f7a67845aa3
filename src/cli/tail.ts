import { once } from "node:events";

import { fromBinary, toJson } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";

import { CommandBatchSchema, CommandSchema } from "../gen/penstock/v1/log_pb.ts";
import type { Command } from "../gen/penstock/v1/log_pb.ts";
import { messageOf, UsageError } from "../runtime/errors.ts";
import { SCHEMA_VERSION } from "../stream/command.ts";
import { PartitionKeys } from "../stream/keys.ts";
import {
  formatEntryId,
  MAX_PARTITIONS,
  orderIdAt,
  orderIdPrefix,
  orderIdText,
  parseEntryId,
} from "../stream/position.ts";
import { connectRedis } from "../stream/redis.ts";
import { redisOf } from "./stack-file.ts";

export interface TailOptions {
  readonly partition: number;
  readonly from?: string;
  readonly follow?: true;
}

/** Entries of one reply: at most 50 MiB where each is as large as an entry may be. */
const pageEntries = 50;
/** As `tail` shows ten lines. */
const lastEntries = 10;
const blockMs = 1_000;
/** Ten times the wait: a server that is silent for longer is gone. */
const socketTimeoutMs = 10 * blockMs;

/** The names and values of an entry's fields, in turn. */
type Entry = [id: Buffer, fields: Buffer[]];

/**
 * Prints the entries of one partition's log, a line of JSON each: the last ten, or those from an ID on; then, with
 * `follow`, what comes, until the process is ended. Reads only, and joins no group.
 * @throws UsageError where an option is wrong; Error where Redis does not answer.
 */
export async function tail(options: TailOptions): Promise<void> {
  if (!Number.isInteger(options.partition) || options.partition < 0 || options.partition >= MAX_PARTITIONS) {
    throw new UsageError(`a partition is a number from 0 to ${MAX_PARTITIONS - 1}`);
  }
  const from = options.from === undefined ? undefined : startOf(options.from);
  let connectionError: Error | undefined;
  const redis = connectRedis(redisOf(), {
    name: "penstock-tail",
    socketTimeoutMs,
    onError: (error) => (connectionError = error),
  });
  try {
    for await (const entry of readLog(redis, options.partition, from, options.follow ?? false)) {
      const line = JSON.stringify(decodeEntry(options.partition, entry));
      if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
    }
  } catch (error) {
    throw connectionError ? new Error("Redis cannot be reached", { cause: connectionError }) : error;
  } finally {
    redis.disconnect();
  }
}

/** An entry ID, or its milliseconds alone. */
function startOf(from: string): string {
  try {
    return formatEntryId(parseEntryId(from.includes("-") ? from : `${from}-0`));
  } catch {
    throw new UsageError(`not an entry ID such as 1735689600000-0: ${from}`);
  }
}

async function* readLog(redis: Redis, partition: number, from: string | undefined, follow: boolean) {
  const { orders } = new PartitionKeys(partition);
  let next = from;
  if (next === undefined) {
    const newest = await redis.xrevrange(orders, "+", "-", "COUNT", lastEntries);
    next = newest.at(-1)?.[0] ?? "-";
  }
  for (;;) {
    const page: Entry[] = await redis.xrangeBuffer(orders, next, "+", "COUNT", pageEntries);
    yield* page;
    const last = page.at(-1)?.[0].toString();
    if (last !== undefined) next = `(${last}`;
    if (page.length === pageEntries) continue;
    if (!follow) return;
    // Only to be woken: what came is read as all the rest is.
    const seen = next === "-" ? "0-0" : next.replace("(", "");
    await redis.xread("COUNT", 1, "BLOCK", blockMs, "STREAMS", orders, seen);
  }
}

/** What an entry says, as JSON; for one that this program cannot read, why, and its bytes. */
function decodeEntry(partition: number, [idBytes, fields]: Entry): object {
  const id = idBytes.toString();
  const field = (name: string): Buffer => {
    const at = fields.findIndex((text, i) => i % 2 === 0 && text.toString() === name);
    return fields[at + 1] ?? Buffer.alloc(0);
  };
  const epoch = Number(field("e").toString());
  const version = Number(field("v").toString());
  const head = { partition, epoch, id, previous: field("p").toString(), version };
  try {
    if (version > SCHEMA_VERSION) throw new Error(`this program reads versions up to ${SCHEMA_VERSION}`);
    const { commands } = fromBinary(CommandBatchSchema, field("d"));
    const prefix = orderIdPrefix(partition, { epoch, ...parseEntryId(id) });
    return {
      ...head,
      commands: commands.map((command, i) => ({ id: orderIdAt(prefix, i), ...decodeCommand(command) })),
    };
  } catch (error) {
    return { ...head, error: messageOf(error), raw: field("d").toString("base64") };
  }
}

/** As protobuf's JSON has it, but for the target of a cancel or replace, which is text as everywhere else. */
function decodeCommand(command: Command): object {
  const json = toJson(CommandSchema, command) as Record<string, Record<string, unknown>>;
  const { kind } = command;
  if ((kind.case === "cancel" || kind.case === "replace") && kind.value.target.case === "orderId") {
    json[kind.case] = { ...json[kind.case], orderId: orderIdText(kind.value.target.value) };
  }
  return json;
}
