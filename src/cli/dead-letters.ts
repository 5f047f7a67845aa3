import { connect } from "../store/connection.ts";
import { listDeadLetters } from "../store/dead-letters.ts";
import { postgresOf } from "./stack-file.ts";
import { formatTable } from "./table.ts";

export interface DeadLetterOptions {
  readonly limit: number;
  readonly json?: true;
}

/** Prints the newest dead letters, the newest first. @throws Error where Postgres does not answer. */
export async function printDeadLetters({ limit, json }: DeadLetterOptions): Promise<void> {
  const sql = connect(postgresOf(), { max: 1 });
  try {
    const letters = await listDeadLetters(sql, { limit });
    const rows = letters.map(
      ({ id, createdAt, stream, partition, epoch, ms, seq, index, sqlstate, attempts, reason }) => ({
        id,
        created_at: createdAt.toISOString(),
        stream: stream === 0 ? "orders" : "events",
        partition,
        epoch,
        entry: `${ms}-${seq}`,
        // -1 is the whole entry.
        index,
        sqlstate: sqlstate ?? "",
        attempts,
        reason,
      }),
    );
    if (json) {
      for (const [i, row] of rows.entries()) {
        process.stdout.write(`${JSON.stringify({ ...row, raw: letters[i]?.raw.toString("base64") })}\n`);
      }
    } else {
      process.stdout.write(rows.length === 0 ? "no dead letters\n" : `${formatTable(rows)}\n`);
    }
  } finally {
    await sql.end({ timeout: 1 });
  }
}
