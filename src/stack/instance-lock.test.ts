import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { UsageError } from "../runtime/errors.ts";
import { InstanceLock } from "./instance-lock.ts";
import { endProcess } from "./process-identity.ts";

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-lock-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A process that takes the lock and says whether it got it; with a child on record. */
function holder(t: TestContext, folder: string): ChildProcess {
  const program = `
    import { spawn } from "node:child_process";
    import { InstanceLock } from ${JSON.stringify(new URL("instance-lock.ts", import.meta.url).href)};
    try {
      const lock = InstanceLock.take(${JSON.stringify(folder)});
      lock.record("child of " + process.pid, spawn("sleep", ["60"], { detached: true, stdio: "ignore" }).pid);
      process.stdout.write("taken");
      setInterval(() => {}, 1000);
    } catch (error) {
      process.stdout.write(error.name);
    }
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

async function answerOf(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout);
  const [answer] = (await once(child.stdout, "data")) as [Buffer];
  return answer.toString();
}

test("a second one is refused while the first lives, and gets the first one's children after its kill", async (t) => {
  const folder = temporaryFolder(t);
  const first = holder(t, folder);
  assert.equal(await answerOf(first), "taken");
  assert.throws(
    () => InstanceLock.take(folder),
    (error) => error instanceof UsageError && /runs already/.test(error.message),
  );

  first.kill("SIGKILL");
  await once(first, "exit");
  const lock = InstanceLock.take(folder);
  t.after(() => Promise.all(lock.orphans.map((orphan) => endProcess(orphan, "SIGKILL", 1_000))));
  assert.equal(lock.orphans.length, 1);
  assert.throws(() => InstanceLock.take(folder), UsageError);
});

test("of many that start at once on the turn of a dead one, one gets it", async (t) => {
  const folder = temporaryFolder(t);
  const dead = holder(t, folder);
  await answerOf(dead);
  dead.kill("SIGKILL");
  await once(dead, "exit");

  const rivals = Array.from({ length: 6 }, () => holder(t, folder));
  const answers = await Promise.all(rivals.map(answerOf));
  assert.deepEqual(answers.toSorted(), [...Array.from({ length: 5 }, () => "UsageError"), "taken"]);
  const ends = rivals.filter((rival) => rival.exitCode === null).map((rival) => once(rival, "exit"));
  for (const rival of rivals) rival.kill("SIGKILL");
  await Promise.all(ends);

  const lock = InstanceLock.take(folder);
  assert.equal(lock.orphans.length, 2, "the child of the dead one and that of the winner");
  await Promise.all(lock.orphans.map((orphan) => endProcess(orphan, "SIGTERM", 5_000)));
  assert.deepEqual(readdirSync(folder), ["up.3.json"], "and no file of the others is left");
});
