import { execFile } from "node:child_process";
import { join } from "node:path";

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts");
/** Tens of thousands of orders take a second or two. */
const LIMIT_MS = 120_000;
/** The exit code where something was found. */
const FOUND = 3;
const SHOWN = 5;

/** Of one kind what `penstock audit` found (src/audit/kinds.ts). */
export interface AuditFinding {
  readonly invariant: string;
  readonly kind: string;
  readonly count: number;
  /** The first of them. */
  readonly where: readonly string[];
}

/** Where something may be lost: entries are gone, and one behind them had been written. */
export const GAPS: ReadonlySet<string> = new Set(["a gap in the log", "a gap in the journal"]);

/** What `penstock audit` finds, with the clients' record. Rejects where it could not look at all of it. */
export async function audit(servers: {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly record: string;
}): Promise<AuditFinding[]> {
  const { redisUrl, databaseUrl, record } = servers;
  const env = { PATH: process.env["PATH"], REDIS_URL: redisUrl, DATABASE_URL: databaseUrl };
  const args = [MAIN, "audit", "--json", "--acknowledged", record];
  const { promise, resolve, reject } = Promise.withResolvers<AuditFinding[]>();
  execFile(process.execPath, args, { env, timeout: LIMIT_MS, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
    const found = error === null || error.code === FOUND ? findingsIn(stdout) : [];
    if (error === null && found.length === 0) resolve([]);
    else if (error?.code === FOUND && found.length > 0) resolve(found);
    else reject(new Error(`the audit failed: ${error?.message ?? "it contradicts itself"}\n${stdout}\n${stderr}`));
  });
  return await promise;
}

export function wordsOf({ invariant, kind, count, where }: AuditFinding): string {
  const shown = where.slice(0, SHOWN);
  const rest = count > shown.length ? `; ${count - shown.length} more` : "";
  return `audit: ${invariant} ${kind}: ${shown.join("; ")}${rest}`;
}

/** How often it was found. */
export function countOf(findings: readonly AuditFinding[], kind: string): number {
  return findings.reduce((sum, finding) => sum + (finding.kind === kind ? finding.count : 0), 0);
}

/** Of the lines of JSON those that are a verdict, one for each invariant. */
export function findingsIn(output: string): AuditFinding[] {
  return output
    .split("\n")
    .filter(Boolean)
    .flatMap((line) => {
      const { invariant, found } = JSON.parse(line) as Verdict;
      if (invariant === undefined || found === undefined) return [];
      return found.map(({ kind, count, where }) => ({ invariant, kind, count, where }));
    });
}

interface Verdict {
  readonly invariant?: string;
  readonly found?: readonly Pick<AuditFinding, "kind" | "count" | "where">[];
}
