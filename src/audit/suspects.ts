import { firstOrderId } from "../store/partitions.ts";
import type { Kept } from "./scope.ts";

/** Before every order. */
export const NO_ORDER = firstOrderId(0);
/** Of each question so many answers are told. */
export const REPORTED = 100;
/** Suspects of a page, of some 300 bytes each: where dead letters account for millions, a statement of minutes is not asked often. */
const PAGE = 100_000;

/** Something that Postgres is asked in one statement, which sees transactions as a whole: so what is under way does not matter. */
export interface Question<Row> {
  /** What looks wrong, is not older than that (ms), and comes behind that row in a fixed sequence; the first of it. */
  readonly ask: (range: SuspectRange<Row>) => Promise<readonly Row[]>;
  readonly keyOf: (row: Row) => string;
  /** The moment (ms) from which on all must be kept that the answer was drawn from. */
  readonly timeOf: (row: Row) => number;
  /** Those for which no dead letter accounts, nor anything else. */
  readonly unexplained?: (rows: readonly Row[]) => Promise<readonly Row[]>;
}

export interface SuspectRange<Row> {
  readonly sinceMs: number;
  readonly after: Row | undefined;
  readonly limit: number;
}

type AskedRetention = Pick<Kept, "refresh" | "keeps">;

/**
 * What is wrong: the first hundred of what nothing accounts for, however much there is before it that something does.
 *
 * Each is looked at twice: while a statement runs the retention may drop a day, and a dead letter may become rows.
 */
export async function suspectsOf<Row>(
  kept: AskedRetention,
  question: Question<Row>,
  pageSize = PAGE,
): Promise<readonly Row[]> {
  const { keyOf } = question;
  const found: Row[] = [];
  for (let after: Row | undefined; ;) {
    const { page, suspects } = await look(kept, question, { after, limit: pageSize });
    if (suspects.length > 0) {
      const again = await look(kept, question, { after, limit: pageSize });
      const keys = new Set(again.suspects.map(keyOf));
      found.push(...suspects.filter((row) => keys.has(keyOf(row))));
    }
    after = page.at(-1);
    if (found.length >= REPORTED || page.length < pageSize) return found.slice(0, REPORTED);
  }
}

async function look<Row>(
  kept: AskedRetention,
  { ask, timeOf, unexplained }: Question<Row>,
  range: Omit<SuspectRange<Row>, "sinceMs">,
): Promise<{ readonly page: readonly Row[]; readonly suspects: readonly Row[] }> {
  const page = await ask({ ...range, sinceMs: await kept.refresh() });
  if (page.length === 0) return { page, suspects: [] };
  const suspects = unexplained === undefined ? page : await unexplained(page);
  if (suspects.length > 0) await kept.refresh();
  return { page, suspects: suspects.filter((row) => kept.keeps(timeOf(row))) };
}
