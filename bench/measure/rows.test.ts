import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connect } from "../../src/store/connection.ts";
import { ensurePartitions } from "../../src/store/partitions.ts";
import { Writer } from "../../src/store/writer.ts";
import { orderIdAt, orderIdPrefix } from "../../src/stream/position.ts";
import { createTestDatabase } from "../../test/support/servers.ts";
import { compareWithRows, countRows } from "./rows.ts";

test("acknowledged orders are found as rows, and those that are none are not", async (t) => {
  const { url } = await createTestDatabase(t);
  const folder = await mkdtemp(join(tmpdir(), "penstock-bench-"));
  t.after(() => rm(folder, { recursive: true }));
  const now = Date.now();
  const writer = new Writer(url, { timeoutMs: 10_000 });
  t.after(() => writer.close());
  await ensurePartitions(writer, [now]);

  const prefix = orderIdPrefix(0, { epoch: 1, ms: now, seq: 0 });
  const ids = [0, 1, 2, 3].map((index) => orderIdAt(prefix, index));
  const sql = connect(url, { max: 1 });
  t.after(() => sql.end());
  const write = (id: string, clientOrderId: string) => sql`
    INSERT INTO orders (order_id, client_key, created_at, post_only, account, client_order_id, symbol, side, type,
      time_in_force, quantity)
    VALUES (${id}, 0, now(), false, 'a', ${clientOrderId}, 'X', 'BUY', 'MARKET', 'IOC', 1)`;
  // The third was never acknowledged; the fourth never written.
  for (const [at, id] of ids.slice(0, 3).entries()) await write(id, `order-${at}`);
  const acknowledged = [
    ["order-0", ids[0], (now - 5_000) * 1000],
    ["order-1", ids[1], (now + 60_000) * 1000],
    ["order-3", ids[3], now * 1000],
    // Another order's id.
    ["order-4", ids[2], now * 1000],
  ] as const;
  const file = join(folder, "acknowledged.tsv");
  await writeFile(file, acknowledged.map(([client, id, us]) => `${client}\tX\t${id}\t${us}\n`).join(""));

  const rows = await compareWithRows(url, file);
  assert.equal(rows.acknowledged, 4);
  assert.equal(rows.written, 2);
  assert.equal(rows.p50, 0);
  assert.ok(rows.max >= 5_000 && rows.max < 60_000, `${rows.max} ms`);
  assert.ok(Math.abs(rows.lastCommitUs / 1000 - now) < 60_000, `${rows.lastCommitUs}`);

  // Of order-3 and order-4 there is no row. One of order-0 comes again under another id.
  assert.deepEqual(await countRows(url, file), { missing: 2, surplus: 0 });
  await write(orderIdAt(prefix, 4), "order-0");
  assert.deepEqual(await countRows(url, file), { missing: 2, surplus: 1 });
});
