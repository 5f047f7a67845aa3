import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { until } from "../../test/support/until.ts";
import { DetachedProcess } from "./detached-process.ts";
import { identify, isAlive } from "./process-identity.ts";

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-detached-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function start(t: TestContext, script: string, input?: string): Promise<DetachedProcess> {
  const child = await DetachedProcess.spawn({
    command: "sh",
    args: ["-c", script],
    env: { PATH: process.env["PATH"] },
    cwd: tmpdir(),
    input,
    orphan: { signal: "SIGKILL", graceSeconds: 0 },
  });
  t.after(() => child.kill());
  return child;
}

test("a process tells how it ended and what it said last", async (t) => {
  const child = await start(t, "cat; echo oops >&2; exit 3", "its input\n");
  assert.deepEqual(await child.exited, { code: 3, signal: null });
  assert.equal(child.tail, "its input\noops");
});

test("a command that does not exist is an error", async () => {
  const launch = { args: [], env: {}, cwd: "/", orphan: { signal: "SIGTERM", graceSeconds: 0 } } as const;
  await assert.rejects(DetachedProcess.spawn({ command: "/nonexistent", ...launch }), { code: "ENOENT" });
});

test("one that ignores its signal is killed after the grace, with its children", async (t) => {
  const child = await start(t, "trap '' TERM; sleep 600 & echo $!; wait; wait");
  await until("it says its child's pid", () => child.tail !== "");
  const grandchild = identify(Number(child.tail));
  assert.ok(grandchild);
  assert.deepEqual(await child.end("SIGTERM", 50), { code: null, signal: "SIGKILL" });
  await until("its child is gone too", () => !isAlive(grandchild));
});

test("a killed parent leaves neither the process nor its folder", async (t) => {
  const folder = temporaryFolder(t);
  const program = `
    import { DetachedProcess } from ${JSON.stringify(new URL("detached-process.ts", import.meta.url).href)};
    const child = await DetachedProcess.spawn({
      command: "sleep", args: ["600"], env: process.env, cwd: "/",
      orphan: { signal: "SIGTERM", graceSeconds: 5, remove: ${JSON.stringify(folder)} },
    });
    process.stdout.write(String(child.pid));
  `;
  const parent = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => parent.kill("SIGKILL"));
  const [pid] = (await once(parent.stdout, "data")) as [Buffer];
  const child = identify(Number(pid.toString()));
  assert.ok(child);

  parent.kill("SIGKILL");
  await until("the child is gone", () => !isAlive(child));
  await until("the folder is gone", () => !existsSync(folder));
});
