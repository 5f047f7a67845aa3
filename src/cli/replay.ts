import { replay } from "../replay/replay.ts";
import { exitCodes, UsageError } from "../runtime/errors.ts";
import { type EntryId, parseEntryId } from "../stream/position.ts";
import { interruption } from "./interruption.ts";
import { postgresOf, redisOf } from "./stack-file.ts";

export interface ReplayCommandOptions {
  readonly from: string;
  readonly to?: string;
  readonly partition?: number;
  readonly restart?: true;
  readonly withdraw?: true;
}

/** Feeds Postgres again, and says how the process ends. @throws UsageError where a bound is none. */
export async function replayCommand(options: ReplayCommandOptions): Promise<number> {
  const { from, to, partition, restart = false, withdraw = false } = options;
  const bounds = {
    from: from === "journal" ? ("journal" as const) : placeOf(from, 0),
    to: to === undefined ? undefined : placeOf(to, 0xffff_ffff),
  };
  const { signal, release } = interruption();
  try {
    const servers = { redisUrl: from === "journal" ? "" : redisOf(), databaseUrl: postgresOf() };
    const print = (line: string) => process.stdout.write(`${line}\n`);
    const output = { print, terminal: process.stderr };
    const findings = await replay({ ...servers, ...bounds, partition, restart, withdraw, signal, ...output });
    return findings === 0 ? exitCodes.ok : exitCodes.auditFailed;
  } finally {
    release();
  }
}

/** An entry ID, or the first or last one of a millisecond: `1735689600000-0`, `1735689600000`, `2026-11-22T10:00:00Z`. */
function placeOf(text: string, seq: number): EntryId {
  const ms = /^\d{1,15}$/.test(text) ? Number(text) : /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : undefined;
  try {
    return ms === undefined ? parseEntryId(text) : parseEntryId(`${ms}-${seq}`);
  } catch {
    throw new UsageError(`not an entry's ID, nor a time such as 2026-11-22T10:00:00Z: ${text}`);
  }
}
