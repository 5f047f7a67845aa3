import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";

import { EngineStack, failingOf } from "../../test/support/engine-stack.ts";
import { TestAppender } from "../../test/support/log.ts";
import { eventually, tokenOf } from "../../test/support/pipeline.ts";
import { processEnv } from "../../test/support/process-env.ts";
import { prepareRules } from "../stream/prepared-command.ts";
import { parseOrderId } from "../stream/position.ts";
import { AdminService, Role } from "../gen/penstock/v1/admin_service_pb.ts";

const MAIN = join(import.meta.dirname, "..", "main.ts");
const ID = String.raw`\d+-\d+`;

test("operators see what the engine does, and tell it what to do", async (t) => {
  const stack = await EngineStack.open(t);
  const env = { ...processEnv(), PENSTOCK_TOKEN: await tokenOf("root", "admin") };
  const penstock = async (...args: string[]) => {
    const child = spawn(process.execPath, [MAIN, ...args, "--url", stack.ingest.address], { env });
    const [[code], stdout, stderr] = await Promise.all([
      once(child, "close") as Promise<[number]>,
      text(child.stdout),
      text(child.stderr),
    ]);
    return { code, stdout, stderr };
  };
  const absent = await penstock("engine-status");
  assert.deepEqual([absent.code, absent.stderr], [1, ""]);
  assert.match(absent.stdout, new RegExp(String.raw`^0 +NO ANSWER +${ID} +0$`, "m"));

  const engine = await stack.engine();
  await stack.untilMatched();
  await eventually(async () => (await failingOf(engine.http)) === "", "the engine to be ready");
  const well = await eventually(async () => {
    const told = await penstock("engine-status");
    return told.code === 0 && told;
  }, "ingest to find it");
  assert.match(
    well.stdout,
    /^partition +state +position +log_end +behind_ms +unwritten +open_orders +rules +state_hash/,
  );
  assert.match(well.stdout, new RegExp(String.raw`^0 +ACTIVE +(${ID}) +\1 +0 +\d+ +0 +1 +[0-9a-f]{16}`, "m"));

  const halted = await penstock("instruments", "status", "BTC-USD", "halted");
  assert.match(halted.stdout, /^BTC-USD is halted from [0-9a-f-]{36} on\n$/);
  await stack.admin.call(AdminService.method.createAccount, { account: "desk", role: Role.TRADER });
  const limited = await penstock("accounts", "limits", "desk", "--max-open-orders", "5");
  assert.match(limited.stdout, /^desk +5 +default +[0-9a-f-]{36}$/m);

  const log = new TestAppender(stack.servers.redisUrl, stack.sql);
  t.after(() => log.stop());
  const { id } = await log.one(prepareRules("root", "rules-1", 99));
  const { ms, seq } = parseOrderId(id)!;
  const entry = `${ms}-${seq}`;
  await eventually(async () => (await failingOf(engine.http)).includes(entry), "the engine to stand still");
  const stopped = await penstock("engine-status");
  assert.equal(stopped.code, 1);
  assert.match(stopped.stdout, new RegExp(String.raw`^partition 0: .*${entry}.*no rules have the number 99\n$`, "m"));
  const json = JSON.parse((await penstock("engine-status", "--json")).stdout) as { engine: object };
  assert.deepEqual([(json.engine as { unworkable: string }).unworkable], [entry]);
  const voided = await penstock("void", "0", entry, "--reason", "a rule of the future");
  assert.match(voided.stdout, new RegExp(String.raw`^${entry} is passed over, by [0-9a-f-]{36}\n$`));
  assert.match((await penstock("void", "0", entry, "--reason", "a rule of the future")).stdout, / as before\n$/);
  await stack.untilMatched();
  const refused = await penstock("void", "0", "1-0", "--reason", "none");
  assert.deepEqual([refused.code, refused.stderr.split(":")[1]], [1, " FAILED_PRECONDITION"]);
  assert.equal((await penstock("void", "zero", "1-0", "--reason", "none")).code, 2);
});
