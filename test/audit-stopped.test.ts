/** `penstock audit` beside a stack of `penstock up`: while it runs, and after it was stopped. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";

import { identify } from "../src/stack/process-identity.ts";
import { processEnv } from "./support/process-env.ts";
import { until } from "./support/until.ts";

const MAIN = join(import.meta.dirname, "..", "src", "main.ts");

test("a stack that runs, and one that was stopped, are audited (I4)", async (t) => {
  const temporary = mkdtempSync(join(tmpdir(), "penstock-audit-"));
  chmodSync(temporary, 0o755); // else, as root, the data would lie elsewhere on this machine
  t.after(() => rmSync(temporary, { recursive: true, force: true, maxRetries: 5 }));
  const folder = join(temporary, "state");
  const env: NodeJS.ProcessEnv = { ...processEnv(), PENSTOCK_STATE_DIR: folder };
  for (const name of ["GRPC", "HTTP", "ENGINE", "REDIS", "POSTGRES"]) env[`PENSTOCK_${name}_PORT`] = "0";
  const start = (...args: readonly string[]) => {
    const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    const closed = once(child, "close");
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    const outcome = output.then(async ([stdout, stderr]) => {
      const [code] = (await closed) as [number | null];
      return { stdout, stderr, code };
    });
    t.after(async () => {
      child.kill("SIGTERM");
      await outcome;
    });
    return { child, outcome };
  };
  const penstock = (...args: readonly string[]) => start(...args).outcome;

  const before = await penstock("audit");
  assert.equal(before.code, 2);
  assert.match(before.stderr, /no stack runs here/);

  const up = start("up");
  await until("the stack is up", () => up.child.exitCode !== null || existsSync(join(folder, "stack.json")), 60_000);
  const order = ["--symbol", "BTC-USD", "--quantity", "0.1", "--price", "100", "--ack", "matched"];
  assert.equal((await penstock("submit", "--side", "buy", "--count", "30", ...order)).code, 0);
  assert.equal((await penstock("submit", "--side", "sell", "--count", "10", ...order)).code, 0);
  const running = await penstock("audit");
  assert.equal(running.code, 0, running.stdout + running.stderr);
  assert.equal(running.stderr, "");

  up.child.kill("SIGTERM");
  assert.equal((await up.outcome).code, 0);
  const stopped = await penstock("audit");
  assert.equal(stopped.code, 0, stopped.stdout + stopped.stderr);
  assert.match(stopped.stderr, /^the stack in \S+ is stopped: redis and postgres run for this command\n$/);
  assert.match(stopped.stdout, / 40 orders in them: 40 rows, 0 dead letters$/m);
  assert.match(stopped.stdout, / of them under way$/m);
  assert.match(stopped.stdout, /^all is well$/m);
  for (const file of ["redis/redis.pid", "postgres/postmaster.pid"]) {
    const pid = existsSync(join(folder, file)) ? parseInt(readFileSync(join(folder, file), "utf8"), 10) : 0;
    assert.equal(identify(pid), undefined, `${file}: the servers run on`);
  }

  renameSync(join(folder, "redis"), join(folder, "elsewhere"));
  const without = await penstock("audit");
  assert.equal(without.code, 2);
  assert.match(without.stderr, /has no data of redis \(.*\): give REDIS_URL/);
});
