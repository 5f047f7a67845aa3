/**
 * A short part of the fault matrix (test/fault; all of it: `npm run fault`): processes killed at random and at named points, servers
 * restarted, connections lost, under load from clients who keep their own record.
 */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Kind } from "./fault/fault.ts";
import { KINDS } from "./fault/kinds.ts";
import { Matrix } from "./fault/matrix.ts";
import { eventually } from "./support/pipeline.ts";

const SEED = 5;
/** One of each sort, and quick. */
const SHORT = [
  ...["kill-ingest", "kill-worker", "kill-engine", "kill-redis", "kill-postgres", "client-kill", "group-destroyed"],
  ...["ingest-after-append", "worker-before-commit", "worker-before-ack", "engine-after-append", "terminate-copy"],
];

/** A matrix in a folder that goes where all was well. */
function setMatrix(t: TestContext, kinds: readonly Kind[]): { matrix: Matrix; isWell: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "penstock-fault-"));
  chmodSync(folder, 0o755);
  const matrix = new Matrix({ seed: SEED, kinds, folder });
  let isWell = false;
  t.after(async () => {
    await matrix.close();
    if (isWell) rmSync(folder, { recursive: true, force: true });
  });
  return { matrix, isWell: () => (isWell = true) };
}

test("I1, I2, I3, I4, I5, I6, I7, I8, I9, I10 and I11: what clients were told holds, whatever dies under load", async (t) => {
  const kinds = KINDS.filter(({ name }) => SHORT.includes(name));
  assert.equal(kinds.length, SHORT.length);
  const { matrix, isWell } = setMatrix(t, kinds);
  for (let round = 0; round < kinds.length; round++) {
    const { findings, faults } = await matrix.round(round);
    const what = faults.map(({ kind, where }) => `${kind} (${where})`).join(" and ");
    assert.deepEqual(findings, [], `seed ${SEED}, round ${round}, ${what}; data and logs: ${matrix.folder}`);
  }
  assert.deepEqual((await matrix.close()).findings, []);
  isWell();
});

test("what is lost, doubled, or told otherwise is found", async (t) => {
  const sabotage: Kind = {
    name: "sabotage",
    what: "one row goes, another comes twice, and a report is altered",
    attacks: [],
    inject: async ({ sql }) => {
      const double = () => sql`
        INSERT INTO orders (order_id, client_key, created_at, post_only, account, client_order_id, symbol, side, type,
          time_in_force, quantity, price)
        SELECT overlay(order_id::text placing 'ffff' FROM 33)::uuid, client_key, created_at, post_only, account,
          client_order_id, symbol, side, type, time_in_force, quantity, price
        FROM orders WHERE type = 'LIMIT' AND account <> 'probe' ORDER BY order_id DESC LIMIT 1`;
      await eventually(async () => (await double()).count === 1, "an order to double");
      await sql`
        DELETE FROM orders WHERE order_id = (SELECT order_id FROM orders WHERE account <> 'probe' ORDER BY order_id LIMIT 1)`;
      const alter = () => sql`
        UPDATE executions SET leaves_quantity = leaves_quantity + 1
        WHERE (partition, ms, seq, index) = (
          SELECT partition, ms, seq, index FROM executions
          WHERE account <> 'probe' AND exec_type = 'NEW' ORDER BY ms LIMIT 1)`;
      await eventually(async () => (await alter()).count === 1, "a report to alter");
      return { where: "orders" };
    },
  };
  const { matrix, isWell } = setMatrix(t, [sabotage]);
  const { findings, lost, doubled } = await matrix.round(0);
  assert.deepEqual([lost, doubled], [1, 1], findings.join("\n"));
  for (const found of [/^LOST: /m, /^DOUBLED: /m, /^report \d+ of .* was told as NEW/m])
    assert.match(findings.join("\n"), found);
  isWell();
});

test("what is lost behind a loss that was allowed is found", async (t) => {
  const sabotage: Kind = {
    name: "sabotage",
    what: "FLUSHALL, and then a row of the new epoch goes",
    attacks: [],
    mayLose: { what: "what no worker had written yet", withinMs: 5_000 },
    alone: true,
    inject: async ({ redis, sql }) => {
      await redis.flushall();
      // The epoch stands in the id, behind the bits of its variant.
      const remove = () => sql`
        DELETE FROM orders WHERE order_id = (
          SELECT order_id FROM orders WHERE account <> 'probe' AND substr(order_id::text, 20, 4) > '8001' LIMIT 1)`;
      await eventually(async () => (await remove()).count === 1, "an order of the new epoch");
      return { where: "redis, orders" };
    },
  };
  const { matrix, isWell } = setMatrix(t, [sabotage]);
  const { findings, lost, doubled } = await matrix.round(0);
  assert.deepEqual([lost, doubled], [1, 0], findings.join("\n"));
  assert.match(findings.join("\n"), /^LOST: /m);
  isWell();
});
