import { hash } from "node:crypto";
import type { Redis } from "ioredis";
import type postgres from "postgres";
import { EVENTS_STREAM, ORDERS_STREAM } from "../store/entry-record.ts";
import { readEntry as readJournalEntry } from "../store/journal.ts";
import { type Entry, readEntry, type StreamReply } from "../stream/entry.ts";
import { PERSIST_GROUP } from "../stream/groups.ts";
import { readHead } from "../stream/head.ts";
import type { PartitionKeys } from "../stream/keys.ts";
import { compareEntryIds, type EntryId, formatEntryId, parseEntryId } from "../stream/position.ts";
import { readGroups } from "../stream/status.ts";
import type { Findings } from "./findings.ts";

/** Entries of at most 1 MiB each; usually some kilobytes under load and a hundred bytes at rest. */
const PAGE = 100;

export interface LogFigures {
  readonly entries: number;
  /** Entries that the workers have not finished: they are compared with nothing. */
  readonly underWay: number;
  /** Up to here everything is written. */
  readonly finished: EntryId;
}

/** I4, I5: the chain of what Redis holds of a stream is unbroken, and what is finished stands in the journal as it is here. */
export async function auditLog(
  redis: Redis,
  sql: postgres.Sql,
  keys: PartitionKeys,
  name: "orders" | "events",
  findings: Findings,
): Promise<LogFigures> {
  const stream = name === "orders" ? ORDERS_STREAM : EVENTS_STREAM;
  // The state first: what the workers finish meanwhile is not looked for.
  const head = await readHead(redis, keys);
  const groups = await readGroups(redis, keys[name]);
  const finished = parseEntryId(groups.find(({ group }) => group === PERSIST_GROUP)?.finished ?? "0-0");
  const where = (id: string) => `partition ${keys.partition}, ${name} ${id}`;
  let entries = 0;
  let underWay = 0;
  let previous: EntryId | undefined;
  let from = "-";
  for (;;) {
    const page = (await redis.callBuffer("XRANGE", keys[name], from, "+", "COUNT", PAGE)) as StreamReply[];
    for (const [idBytes, fields] of page) {
      const id = idBytes.toString();
      entries++;
      let entry: Entry;
      try {
        entry = readEntry(id, fields ?? []);
      } catch (error) {
        findings.add("not an entry of the log", `${where(id)}: ${String(error)}`);
        continue;
      }
      if (previous !== undefined && compareEntryIds(entry.previous, previous) !== 0) {
        findings.add(
          "chain broken in the log",
          `${where(id)} follows ${formatEntryId(previous)}, names ${formatEntryId(entry.previous)}`,
        );
      }
      previous = entry;
      if (compareEntryIds(entry, finished) > 0) {
        underWay++;
        continue;
      }
      const journaled = await readJournalEntry(sql, stream, keys.partition, entry);
      if (journaled === undefined) findings.add("logged and acknowledged by the workers, but not journaled", where(id));
      else if (!journaled.hash.equals(hash("sha256", entry.payload, "buffer")))
        findings.add("fork: log and journal differ", where(id));
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) break;
    from = `(${last[0].toString()}`;
  }
  if (name === "orders" && previous !== undefined && compareEntryIds(previous, head.last) < 0) {
    findings.add(
      "the log ends before its head",
      `partition ${keys.partition}: ${formatEntryId(previous)} before ${formatEntryId(head.last)}`,
    );
  }
  return { entries, underWay, finished };
}
