import type postgres from "postgres";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import { findGaps, journalBefore, journalBegin } from "../store/journal.ts";
import { type EntryId, formatEntryId } from "../stream/position.ts";
import type { Findings } from "./findings.ts";
import type { JournalChain } from "./journal-chain.ts";

export interface MissingOptions {
  readonly sql: postgres.Sql;
  readonly partition: number;
  readonly chain: JournalChain;
  /** Both inclusive. */
  readonly from: EntryId;
  readonly to: EntryId;
  readonly findings: Findings;
}

/** So many are told one by one; where there are more, `penstock audit` counts them. */
const TOLD = 100;

/** Now that the journal has all that anybody has: what it lacks is lost. */
export async function reportMissing({ sql, partition, chain, from, to, findings }: MissingOptions): Promise<void> {
  const oldest = await journalBegin(sql, ORDERS_STREAM, partition);
  if (oldest === undefined) return;
  const range = { stream: ORDERS_STREAM, partition, fromMs: from.ms, toMs: to.ms, oldestMs: oldest.ms, limit: TOLD };
  for (const gap of await findGaps(sql, range)) {
    if (!chain.has(gap)) continue; // the log has lost that one as well
    const before = await journalBefore(sql, ORDERS_STREAM, partition, gap);
    const last = formatEntryId({ ms: gap.prevMs, seq: gap.prevSeq });
    const between = `${before === undefined ? "the beginning" : placeText(before)} and ${placeText(gap)}`;
    findings.add(
      "MISSING: neither Redis nor the journal has these entries",
      `partition ${partition}, between ${between}; the last of them is ${last}`,
    );
  }
}

function placeText(id: EntryId): string {
  return `${formatEntryId(id)} (${new Date(id.ms).toISOString()})`;
}
