import type { Verdict } from "./findings.ts";

/** A verdict for a person: its findings, and a line that sums up. */
export function verdictLines({ invariant, verdict, found, proved, unproved }: Verdict): string[] {
  const lines = found.flatMap(({ kind, count, where }) => {
    const rest = count > where.length ? [`FOUND ${invariant} ${kind}: ${number(count - where.length)} more`] : [];
    return [...where.map((place) => `FOUND ${invariant} ${kind}: ${place}`), ...rest];
  });
  const count = found.reduce((sum, { count }) => sum + count, 0);
  const doubts = unproved.length > 0 ? `; not proved: ${unproved.join("; ")}` : "";
  switch (verdict) {
    case "broken":
      return [...lines, `${invariant}  BROKEN: ${number(count)} findings${doubts}`];
    case "held":
      return [`${invariant}  held: ${proved.join("; ")}${doubts}`];
    case "not provable here":
      return [`${invariant}  not provable here: ${unproved.join("; ")}`];
    default: {
      const never: never = verdict;
      return never;
    }
  }
}

export function number(value: number): string {
  return value.toLocaleString("en");
}
