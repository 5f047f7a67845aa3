import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { writeStandIn } from "../../test/support/stand-in.ts";
import { until } from "../../test/support/until.ts";
import { settlePort } from "./ports.ts";
import { identify } from "./process-identity.ts";
import { RoleProcess } from "./role-process.ts";
import { Supervisor } from "./supervisor.ts";

/** A supervised stand-in of a role, the pids that it has had, and what the supervisor said. */
async function standIn(t: TestContext, environment: NodeJS.ProcessEnv = {}, drainMs = 10_000) {
  const folder = mkdtempSync(join(tmpdir(), "penstock-role-"));
  const port = await settlePort("127.0.0.1", { port: 0, exact: false });
  const pids: number[] = [];
  const lines: string[] = [];
  const role = new RoleProcess({
    name: "ingest",
    args: [writeStandIn(folder), "ingest"],
    cwd: folder,
    env: () => ({ PATH: process.env["PATH"], PENSTOCK_HTTP_PORT: String(port), ...environment }),
    readyUrl: `http://127.0.0.1:${port}/readyz`,
    drainMs,
    onOutput: (chunk) => lines.push(chunk.toString()),
    onSpawn: (pid) => pids.push(pid),
  });
  const supervisor = new Supervisor(role, (line) => lines.push(line));
  t.after(async () => {
    supervisor.kill();
    await supervisor.stop();
    rmSync(folder, { recursive: true });
  });
  return { supervisor, pids, lines };
}

const lastOf = (pids: readonly number[]): number => pids.at(-1) ?? assert.fail("no process");

test("a crash is answered by a new start, again and again", async (t) => {
  const { supervisor, pids, lines } = await standIn(t);
  await supervisor.start();
  for (let crash = 1; crash <= 3; crash++) {
    process.kill(lastOf(pids), "SIGKILL");
    await until("it is back", () => lines.filter((line) => line === "ingest is back").length === crash);
    assert.equal(pids.length, crash + 1);
  }
  await supervisor.stop();
  assert.equal(identify(lastOf(pids)), undefined);
  assert.equal(pids.length, 4, "a stop is no crash");
});

test("stop drains", async (t) => {
  const { supervisor, lines } = await standIn(t);
  await supervisor.start();
  await supervisor.stop();
  assert.match(lines.join(""), /ingest drained/);
});

test("a process that does not drain in time is killed", async (t) => {
  const { supervisor, pids } = await standIn(t, { STAND_IN: "deaf" }, 0);
  await supervisor.start();
  await supervisor.stop();
  assert.equal(identify(lastOf(pids)), undefined);
});

test("a first start that fails is told with the process' own words, and not tried again", async (t) => {
  const { supervisor, pids } = await standIn(t, { STAND_IN: "broken" });
  await assert.rejects(supervisor.start(), /did not get ready:\ningest is broken/);
  assert.equal(pids.length, 1);
});

test("a stop during a wait for the next start ends the wait", async (t) => {
  const environment: NodeJS.ProcessEnv = {};
  const { supervisor, pids, lines } = await standIn(t, environment);
  await supervisor.start();
  environment["STAND_IN"] = "broken";
  process.kill(lastOf(pids), "SIGKILL");
  await until("two starts have failed", () => lines.filter((line) => line.includes("did not get ready")).length >= 2);
  await supervisor.stop();
  assert.equal(identify(lastOf(pids)), undefined);
});
