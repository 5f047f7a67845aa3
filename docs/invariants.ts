import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What always holds. A test that holds one names it in its title, as "I5: …" or "… (I1, I2)". */
const INVARIANTS: readonly (readonly [number: number, statement: string])[] = [
  [1, "An order is acknowledged only when its entry is in the stream as durably as the configured level says."],
  [
    2,
    "Within the idempotency horizon, the same account, symbol, client order id and payload never make a second order; the answer is the first one's. Another payload under the same id is a conflict (ALREADY_EXISTS). The id of an open order is never taken twice, however old it is.",
  ],
  [3, "An order's id is its place in the log: partition, epoch, entry ID, index in the entry. Nothing else makes ids."],
  [
    4,
    "Every entry ends acknowledged or dead-lettered. None is skipped in silence; a gap in the log is always noticed.",
  ],
  [
    5,
    "The rows of an entry and the receipt of that entry commit in one transaction: at-least-once delivery, exactly-once effect.",
  ],
  [6, "Every write to Postgres commutes: any order of delivery, any number of times, gives the same rows."],
  [7, "The engine is a function: the same snapshot and the same entries give the same events, byte for byte."],
  [8, "Command entry X has exactly one event entry, with the ID X, and the event stream has no holes."],
  [9, "Cum + Leaves = OrderQty while working; trades balance; the book is never crossed; price-time priority holds."],
  [10, "Nothing is trimmed that a group, the newest snapshot or the replay horizon still needs."],
  [
    11,
    "Overload and faults give the client a clear, retryable error. What was acknowledged is not lost, up to the level of durability that was configured.",
  ],
  [12, "An account sees and touches its own orders only."],
];

const ROOT = join(import.meta.dirname, "..");
const TITLE = /\btest\(\s*(["'`])((?:\\.|(?!\1).)*)\1/g;

/** docs/invariants.md: each invariant with the tests that hold it, as their titles say. */
export function invariantsPage(): string {
  const files = globSync(["src/**/*.test.ts", "test/**/*.test.ts"], { cwd: ROOT }).sort();
  const tests = files.flatMap((file) => {
    const source = readFileSync(join(ROOT, file), "utf8");
    return Array.from(source.matchAll(TITLE), ([, , title = ""]) => ({ file, title: title.replace(/\\(.)/g, "$1") }));
  });
  const sections = INVARIANTS.flatMap(([number, statement]) => {
    const held = tests.filter(({ title }) => named(title).includes(number));
    const lines = held.map(({ file, title }) => `- [${file}](../${file}): ${title.replaceAll("|", "\\|")}`);
    return [
      `## I${number}`,
      "",
      statement,
      "",
      ...(lines.length > 0 ? lines : ["No test yet: it belongs to the engine."]),
      "",
    ];
  });
  return [
    "# Invariants",
    "",
    "What always holds in Penstock, and the tests that hold it. Made by `npm run docs` from the titles of the tests.",
    "",
    ...sections,
  ].join("\n");
}

/** The invariants that a title names: "I5: …", or at its end "(I1, I2)". */
function named(title: string): number[] {
  const list = /^((?:I\d+(?:, | and )?)+):/.exec(title)?.[1] ?? /\(((?:I\d+(?:, )?)+)\)$/.exec(title)?.[1] ?? "";
  return Array.from(list.matchAll(/I(\d+)/g), ([, number]) => Number(number));
}
