import postgres from "postgres";
import { clientOptions } from "../../src/store/client.ts";
import { ensurePartitions } from "../../src/store/partitions.ts";
import { Writer } from "../../src/store/writer.ts";

const DAY_MS = 86_400_000;
const CONNECTIONS = 2;
// Rows of one statement: a few seconds of work, and few enough that two connections end at about the same time.
const CHUNK = 500_000;
const NO_TIMEOUT = 0;
const PARTITIONS_TIMEOUT_MS = 20_000;

/**
 * Puts `rows` orders into an `orders` table as if they had come evenly, one half of them yesterday and the other today up to
 * now (UTC): into the table as it is, with its indexes, so that these look as they would. The ids lie in the past of all
 * that come after them.
 */
export async function seedOrders(databaseUrl: string, rows: number): Promise<void> {
  const now = Date.now();
  const today = now - (now % DAY_MS);
  const writer = new Writer(databaseUrl, { timeoutMs: PARTITIONS_TIMEOUT_MS });
  try {
    await ensurePartitions(writer, [today - DAY_MS]);
  } finally {
    await writer.close();
  }
  const half = Math.ceil(rows / 2);
  const chunks = [
    { first: 0, count: half, from: today - DAY_MS, to: today },
    { first: half, count: rows - half, from: today, to: now },
  ].flatMap(({ first, count, from, to }) =>
    Array.from({ length: Math.ceil(count / CHUNK) }, (_, at) => ({
      start: first + at * CHUNK,
      end: Math.min(first + count, first + (at + 1) * CHUNK),
      // The moment of row n is this plus n times the step.
      origin: from - (first * (to - from)) / count,
      step: (to - from) / count,
    })),
  );
  const sql = postgres(databaseUrl, { ...clientOptions(NO_TIMEOUT), max: CONNECTIONS });
  try {
    await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
          const { start, end, origin, step } = chunk;
          await sql`
            INSERT INTO orders (order_id, client_key, created_at, post_only, account, client_order_id, symbol, side, type,
              time_in_force, quantity, price)
            SELECT (substr(hex, 1, 8) || '-' || substr(hex, 9) || '-7000-8001-' || lpad(to_hex(n), 8, '0') || '0000')::uuid,
              hashint8extended(n, 0), to_timestamp(ms / 1000.0), false, 'demo', 'seed-' || lpad(n::text, 9, '0'), 'BTC-USD',
              CASE WHEN n % 2 = 0 THEN 'BUY' ELSE 'SELL' END, 'LIMIT', 'GTC', 0.01, 50000 + n % 64 / 100.0
            FROM generate_series(${start}::bigint, ${end - 1}::bigint) AS n,
              LATERAL (SELECT floor(${origin}::float8 + n * ${step}::float8)::bigint AS ms) AS moment,
              LATERAL (SELECT lpad(to_hex(ms), 12, '0') AS hex) AS digits`;
        }
      }),
    );
    // As autovacuum and a checkpoint would have done in the meantime.
    await sql`VACUUM (ANALYZE) orders`;
    await sql`CHECKPOINT`;
  } finally {
    await sql.end({ timeout: 5 });
  }
}
