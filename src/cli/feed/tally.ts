import { status } from "@grpc/grpc-js";

import { describeRefusal, violationsIn } from "../client.ts";
import type { Outcome } from "./order-flow.ts";
import type { Send } from "./step.ts";

/** Reasons that are told apart; more of them are counted together. */
const MAX_REASONS = 50;
const OTHER_REASONS = "other reasons";
/** Lines that are told one by one. */
const MAX_TOLD = 20;

const kinds = ["submit", "cancel", "replace", "cancelAll"] as const;
const kindNames = { submit: "orders", cancel: "cancels", replace: "replaces", cancelAll: "mass cancels" } as const;

/** What became of the lines of a recording, in numbers. */
export class Tally {
  readonly sent = { submit: 0, cancel: 0, replace: 0, cancelAll: 0 };
  accepted = 0;
  /** Answered as the same command was before: it is one command. */
  duplicates = 0;
  readonly #refused = new Map<string, number>();
  readonly #skipped = new Map<string, number>();
  #faults = 0;
  #told = 0;
  readonly #tell: (line: string) => void;

  /** `tell` gets the first of the lines that were refused or could not be read. */
  constructor(tell: (line: string) => void) {
    this.#tell = tell;
  }

  get commands(): number {
    return kinds.reduce((sum, kind) => sum + this.sent[kind], 0);
  }

  get refused(): number {
    return sum(this.#refused);
  }

  get faults(): number {
    return this.#faults;
  }

  skip(why: string): void {
    count(this.#skipped, why);
  }

  fault(line: number, message: string): void {
    this.#faults++;
    this.#say(`line ${line}: ${message}`);
  }

  settled({ line, command }: Send, outcome: Outcome): void {
    this.sent[command.case]++;
    if (outcome.case !== "refused") {
      if (outcome.value.duplicate) this.duplicates++;
      else this.accepted++;
      return;
    }
    const { code, message, details } = outcome.value;
    const violations = violationsIn(details);
    const [first] = violations;
    const name = status[code] ?? String(code);
    count(this.#refused, first === undefined ? name : `${name}: ${first.field} ${first.description}`);
    this.#say(`line ${line}: ${describeRefusal(code, message, violations)}`);
  }

  /** The summary as it is printed. `resent` and `unsettled`: see OrderFlow. */
  text(seconds: number, { resent, unsettled }: { readonly resent: number; readonly unsettled: number }): string {
    const kindsSent = kinds
      .filter((kind) => this.sent[kind] > 0)
      .map((kind) => `${n(this.sent[kind])} ${kindNames[kind]}`);
    const rate = seconds > 0 ? `, ${n(Math.round(this.commands / seconds))}/s` : "";
    return [
      row("sent", this.commands, kindsSent.join(", ")),
      row("accepted", this.accepted),
      row("duplicates", this.duplicates),
      row("refused", this.refused),
      ...reasons(this.#refused),
      row("skipped", sum(this.#skipped)),
      ...reasons(this.#skipped),
      row("unreadable", this.faults),
      ...(unsettled > 0 ? [row("unanswered", unsettled, "may be in the log or not: feed the file again")] : []),
      ...(resent > 0
        ? [row("sent again", resent, "after an overload or a cut; what followed some of them was faster")]
        : []),
      `took        ${seconds.toFixed(1)} s${rate}`,
    ].join("\n");
  }

  json(): object {
    return {
      sent: this.sent,
      accepted: this.accepted,
      duplicates: this.duplicates,
      refused: Object.fromEntries(this.#refused),
      skipped: Object.fromEntries(this.#skipped),
      unreadable: this.faults,
    };
  }

  #say(line: string): void {
    this.#told++;
    if (this.#told <= MAX_TOLD) this.#tell(line);
    else if (this.#told === MAX_TOLD + 1) this.#tell("and more lines, which are counted only");
  }
}

function count(counts: Map<string, number>, key: string): void {
  const known = counts.has(key) || counts.size < MAX_REASONS ? key : OTHER_REASONS;
  counts.set(known, (counts.get(known) ?? 0) + 1);
}

function sum(counts: ReadonlyMap<string, number>): number {
  return counts.values().reduce((sum, count) => sum + count, 0);
}

function row(name: string, count: number, detail = ""): string {
  return `${name.padEnd(11)} ${n(count).padStart(10)}  ${detail}`.trimEnd();
}

function reasons(counts: ReadonlyMap<string, number>): string[] {
  return Array.from(counts, ([why, count]) => `${" ".repeat(11)} ${n(count).padStart(10)}  ${why}`);
}

function n(count: number): string {
  return count.toLocaleString("en");
}
