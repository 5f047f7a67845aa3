import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { BATCH, print } from "./bencher.ts";
import type { Durations } from "./bencher.ts";
import { auditStack } from "./measure/audited.ts";
import type { Audited } from "./measure/audited.ts";
import { describeMachine } from "./measure/machine.ts";
import { send, withFolder } from "./measure/measure.ts";
import { table } from "./measure/table.ts";
import type { Stack } from "./stack.ts";
import type { Stacks } from "./stacks.ts";

export interface AuditBenchOptions extends Durations {
  /** Orders of the largest log; the others are a twentieth and a quarter of it. */
  readonly rows: number;
}

/** Orders a second: what two cores keep up with, nearly. Of the 20 million of one run they refused half a million. */
const RATE = 12_000;

/** What an audit takes of a log that grows: the sections of the results, each as soon as it is measured. */
export async function* measureAudit(stacks: Stacks, options: AuditBenchOptions): AsyncGenerator<string> {
  const stack = await stacks.start({ engine: true });
  yield "# What an audit takes";
  yield (
    "Written by `penstock bench audit`: `penstock audit --acknowledged`, with the load generator's own record, on a running stack with an " +
    "engine that grows from audit to audit and is at rest meanwhile. All orders are one account's and one symbol's: whatever is " +
    "sorted by these is one piece."
  );
  yield describeMachine(stack.versions);
  const sizes = [options.rows / 20, options.rows / 4, options.rows];
  const rows: (readonly string[])[] = [];
  let last: Audited | undefined;
  await withFolder(async (folder) => {
    const record = join(folder, "acknowledged.tsv");
    let sent = 0;
    for (const size of sizes) {
      sent += await fill(stack, (size - sent) / RATE, folder, record);
      last = await auditStack(stack, record);
      rows.push(rowOf(sent, last));
      print(rows.at(-1)?.join(" | ") ?? "");
    }
  });
  yield table(
    [
      "orders acknowledged",
      "seconds",
      "orders/s",
      "CPU s of the audit",
      "of Postgres",
      "of Redis",
      "most memory of the audit",
      "exit code",
    ],
    rows,
  );
  yield "What the last one said:";
  yield ["```", ...(last?.lines ?? []), "```"].join("\n");
}

/** Sends orders for so long, waits until all of them are written, and adds to the record. Returns how many were acknowledged. */
async function fill(stack: Stack, seconds: number, folder: string, record: string): Promise<number> {
  const file = join(folder, "more.tsv");
  const report = await send(stack.target, { rate: RATE, seconds, warmupSeconds: 0, batch: BATCH }, file);
  await stack.target.settled();
  await pipeline(createReadStream(file), createWriteStream(record, { flags: "a" }));
  print(
    `${report.acknowledged} more acknowledged, at ${Math.round(report.rate)}/s; ${report.refused} refused, ${report.errors} errors`,
  );
  return report.acknowledged;
}

function rowOf(orders: number, { seconds, cpuSeconds, memory, exitCode }: Audited): string[] {
  return [
    orders.toLocaleString("en"),
    seconds.toFixed(0),
    Math.round(orders / seconds).toLocaleString("en"),
    ...[cpuSeconds.audit, cpuSeconds.postgres, cpuSeconds.redis].map((value) => value.toFixed(0)),
    `${Math.round(memory / 2 ** 20)} MiB`,
    String(exitCode),
  ];
}
