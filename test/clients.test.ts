import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { AdminService, Role } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { defineInstrument, startConsumers, startEngine, startIngest } from "./support/pipeline.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

/** The commands of docs/clients.md, as they stand there. */

const ROOT = join(import.meta.dirname, "..");
const TIMEOUT_MS = 60_000;
const run = promisify(execFile);

/** The section's commands, a block of them. */
function commandsOf(section: string): string {
  const [, text = ""] = readFileSync(join(ROOT, "docs", "clients.md"), "utf8").split(`\n## ${section}\n`);
  const commands = /```sh\n([^`]*)```/.exec(text)?.[1];
  assert.ok(commands !== undefined, `docs/clients.md has no commands for ${section}`);
  return commands;
}

/** Why the Python client cannot run on this machine, if so. */
function withoutPython(): string | undefined {
  if (spawnSync("/usr/bin/python3", ["-c", "import grpc, google.protobuf"]).status !== 0)
    return "/usr/bin/python3 has no grpc";
  return spawnSync("protoc", ["--version"]).status === 0 ? undefined : "there is no protoc";
}

test("each client of the docs goes its way, from the token to the list", async (t) => {
  const [redis, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const servers = { redisUrl: redis.url, databaseUrl };
  const engine = await startEngine(t, servers);
  const ofIngest = { ...servers, env: { PENSTOCK_ENGINE_URL: engine.url } };
  const [ingest] = await Promise.all([startIngest(t, ofIngest), startConsumers(t, servers)]);
  await defineInstrument(ingest);
  const admin = await ingest.client("root", "admin");
  const created = await admin.call(AdminService.method.createAccount, { account: "trader", role: Role.TRADER });
  const env = {
    PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
    PENSTOCK_GRPC: `http://${ingest.address}`,
    PENSTOCK_HTTP: ingest.http,
    PENSTOCK_ACCOUNT: created.account,
    PENSTOCK_SECRET: created.secret,
  };

  const clients = [
    ["TypeScript", 2, undefined],
    ["Python", 1, withoutPython()],
    ["curl", 1, spawnSync("curl", ["--version"]).status === 0 ? undefined : "there is no curl"],
    ["buf curl", 1, undefined],
  ] as const;
  for (const [section, runs, missing] of clients) {
    await t.test(section, { skip: missing ?? false }, async () => {
      const { stdout } = await run("sh", ["-ec", commandsOf(section)], { cwd: ROOT, env, timeout: TIMEOUT_MS });
      const steps = Array.from(
        stdout.matchAll(/^(instruments|submitted|duplicate|refused|cancel asked|got|listed) (.+)/gm),
        ([, step, rest]) => ({ step, rest }),
      );
      const named = new Set(steps.map(({ step }) => step));
      assert.equal(named.size, 7, stdout);
      assert.equal(steps.filter(({ step }) => step === "listed").length, runs, stdout);
      // Every client shows both fields that are at fault.
      assert.match(stdout, /refused[\s\S]*quantity[\s\S]*cancel asked/);
      assert.match(stdout, /refused[\s\S]*price[\s\S]*cancel asked/);
      const [submitted, duplicate] = ["submitted", "duplicate"].map((name) => steps.find(({ step }) => step === name));
      assert.match(submitted?.rest ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-7000-8001-[0-9a-f]{12}$/);
      assert.equal(duplicate?.rest, submitted?.rest);
      if (section !== "TypeScript" && section !== "Python") return;
      assert.match(
        stdout,
        /reported (EXEC_TYPE_)?NEW 0.1\nresumed (EXEC_TYPE_)?CANCELED REQUESTED\nproven version \d+/,
      );
    });
  }
});
