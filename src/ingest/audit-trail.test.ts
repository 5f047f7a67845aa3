import assert from "node:assert/strict";
import { test } from "node:test";

import { pino } from "pino";

import { createTestDatabase } from "../../test/support/servers.ts";
import { listAdminActions } from "../store/admin-actions.ts";
import { connect } from "../store/connection.ts";
import { openSql } from "../store/test-entries.ts";
import { AuditTrail } from "./audit-trail.ts";
import { RequestError } from "./errors.ts";

const ACTION = { actor: "root", action: "UpsertInstrument", subject: "BTC-USD", details: { version: "1" } };

test("what goes to the log is written down as asked first, then as what came of it", async (t) => {
  const { url } = await createTestDatabase(t);
  const [sql, looking] = [connect(url, { max: 1 }), openSql(t, url)];
  t.after(() => sql.end({ timeout: 1 }));
  const trail = new AuditTrail(sql, pino({ level: "silent" }));
  const newest = async () => {
    const [line] = await listAdminActions(looking, { limit: 1 });
    return [line?.outcome, line?.details];
  };
  const refusedBy = (error: Error) =>
    assert.rejects(
      trail.around(ACTION, () => Promise.reject(error)),
      error,
    );

  const work = async () => {
    assert.deepEqual(await newest(), ["asked", { version: "1" }]);
    return "place-1";
  };
  assert.equal(await trail.around(ACTION, work), "place-1");
  assert.deepEqual(await newest(), ["done", { version: "1", command_id: "place-1" }]);
  await refusedBy(new RequestError("ABORTED", "the present version is 2"));
  assert.deepEqual(await newest(), ["refused", { version: "1", reason: "the present version is 2" }]);
  await refusedBy(new RequestError("UNAVAILABLE", "outcome unknown"));
  assert.deepEqual(await newest(), ["asked", { version: "1" }]);

  const gone = async () => {
    await sql.end({ timeout: 1 });
    return "place-2";
  };
  assert.equal(await trail.around(ACTION, gone), "place-2", "what is done is answered");
  assert.deepEqual(await newest(), ["asked", { version: "1" }]);
  let done = false;
  await assert.rejects(
    trail.around(ACTION, async () => {
      done = true;
      return "never";
    }),
  );
  assert.equal(done, false, "what cannot be written down is not done");
});
