import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { connect } from "../../src/store/connection.ts";
import { createTestDatabase, startTestRedis } from "../../test/support/servers.ts";
import { send, withFolder } from "../measure/measure.ts";
import { compareWithRows, countRows } from "../measure/rows.ts";
import { Alternative } from "./alternative.ts";
import type { AlternativeKind } from "./alternative.ts";
import { ALTERNATIVES } from "./kinds.ts";

const LOAD = { rate: 500, seconds: 0.4, warmupSeconds: 0 };
const ORDERS = 200;

describe("every acknowledged order is a row, once", { concurrency: true }, () => {
  for (const kind of ALTERNATIVES) test(kind.name, (t) => tryOut(t, kind));
});

async function tryOut(t: TestContext, kind: AlternativeKind): Promise<void> {
  const { url } = await createTestDatabase(t);
  const alternative = await Alternative.start(kind, {
    databaseUrl: url,
    postgresPid: process.pid, // nothing is measured here
    startRedis: () => startTestRedis(t),
    token: "secret",
  });
  const { target } = alternative;
  try {
    await withFolder(async (folder) => {
      const sent = [0, 50].map((batch) => ({ batch, file: join(folder, `${batch}.tsv`) }));
      for (const { batch, file } of sent) {
        const report = await send(target, { ...LOAD, batch }, file);
        assert.deepEqual(report.problems, {});
        assert.equal(report.acknowledged, ORDERS);
      }
      await target.settled();
      assert.equal(await alternative.waiting(), 0);
      for (const { file } of sent) {
        assert.equal((await compareWithRows(url, file)).written, ORDERS);
        assert.deepEqual(await countRows(url, file), { missing: 0, surplus: 0 });
      }
      const refused = await send({ ...target, token: "guessed" }, { ...LOAD, batch: ORDERS }, join(folder, "refused"));
      assert.equal(refused.errors, ORDERS);
    });
    const sql = connect(url, { max: 1 });
    t.after(() => sql.end());
    const [row] = await sql`
      SELECT min(symbol) AS symbol, min(side) AS side, min(quantity) AS quantity, count(DISTINCT client_key)::int AS keys
      FROM orders`;
    assert.deepEqual({ ...row }, { symbol: "BTC-USD", side: "BUY", quantity: "0.01", keys: 2 * ORDERS });
  } finally {
    // Before its Redis, which goes with the test.
    await alternative.stop();
  }
}
