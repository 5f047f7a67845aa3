import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type postgres from "postgres";
import { textArray } from "../../src/store/parameters.ts";

/** Ids that are looked for at once. */
const CHUNK = 10_000;

/** How many orders of a record (record.ts) are rows. Rejects where a line of it is none, and whatever Postgres brings. */
export async function countRows(sql: postgres.Sql, file: string): Promise<number> {
  let rows = 0;
  let ids: string[] = [];
  const count = async (): Promise<void> => {
    const [found] = await sql<{ count: number }[]>`
      SELECT count(*)::int AS count FROM orders WHERE order_id = ANY(${textArray(ids)}::uuid[])`;
    if (found === undefined) throw new Error("Postgres did not count");
    rows += found.count;
    ids = [];
  };
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    const id = line.split("\t")[2];
    if (id === undefined) throw new Error(`not a line of the record: ${line.slice(0, 80)}`);
    if (ids.push(id) === CHUNK) await count();
  }
  await count();
  return rows;
}
