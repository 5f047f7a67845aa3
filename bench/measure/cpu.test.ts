import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { cpuBetween, descendants, parentOf, sampleCpu } from "./cpu.ts";

// Burns half a second of CPU in a child that ends, then waits for the end of its input.
const PROGRAM = `
  const { spawnSync } = require("node:child_process");
  spawnSync(process.execPath, ["-e", "for (let u; !u || u.user + u.system < 500000;) u = process.cpuUsage();"]);
  console.log("done");
  process.stdin.resume();
`;

test("a tree's CPU holds its children's, also when they have ended", async (t) => {
  const before = sampleCpu({ tree: [] });
  const child = spawn(process.execPath, ["-e", PROGRAM], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(async () => {
    child.stdin.end();
    await once(child, "exit");
  });
  await once(child.stdout, "data");
  const pid = child.pid ?? 0;
  const used = cpuBetween(before, sampleCpu({ tree: [pid] }));
  assert.ok((used.seconds["tree"] ?? 0) >= 0.45, `${used.seconds["tree"]} s`);
  assert.ok(used.machineShare > 0 && used.machineShare <= 1.1, `${used.machineShare}`);
  assert.equal(parentOf(pid), process.pid);
  assert.deepEqual(descendants(process.pid, "-e", PROGRAM), [pid]);
});

test("a process below another with the same arguments belongs to that one's tree", async (t) => {
  const inner = "echo up; read end; exit";
  const child = spawn("sh", ["-c", `sh -c '${inner}' penstock-cpu-test; exit`, "penstock-cpu-test"]);
  t.after(async () => {
    child.stdin.end();
    await once(child, "exit");
  });
  await once(child.stdout, "data");
  assert.deepEqual(descendants(process.pid, "penstock-cpu-test"), [child.pid]);
  assert.equal(descendants(child.pid ?? 0, "penstock-cpu-test").length, 1);
});
