import assert from "node:assert/strict";
import { test } from "node:test";

import { createLog } from "./log.ts";

function lineOf(write: (log: ReturnType<typeof createLog>) => void): string {
  const lines: string[] = [];
  write(createLog("test", "info", { write: (line) => void lines.push(line) }));
  assert.equal(lines.length, 1);
  return lines[0] ?? "";
}

test("a line is JSON with role, level and time", () => {
  const line: unknown = JSON.parse(lineOf((log) => log.info({ partition: 3 }, "opened")));
  const { time, ...rest } = line as Record<string, unknown>;
  assert.deepEqual(rest, { level: "info", role: "test", pid: process.pid, partition: 3, msg: "opened" });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
});

test("no secret comes out, wherever it stands", () => {
  const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJlLWh1bnRlcjI";
  const lines = [
    lineOf((log) => log.info({ token: "hunter2" }, "x")),
    lineOf((log) => log.info({ a: { b: [{ adminToken: 'hunter2"\\hunter2', signing_key: "hunter2" }] } }, "x")),
    lineOf((log) => log.info({ metadata: { Authorization: ["Bearer hunter2"] } }, "x")),
    lineOf((log) => log.info(`connecting to postgres://penstock:hunter2@db:5432/penstock and redis://:hunter2@r`)),
    lineOf((log) => log.info(`got ${jwt}`)),
    lineOf((log) => log.error(new Error("connect failed: redis://default:hunter2@r:6379"))),
    lineOf((log) =>
      log.error({ err: Object.assign(new Error("WRONGPASS"), { command: { name: "auth", args: ["hunter2"] } }) }),
    ),
  ];
  for (const line of lines) {
    assert.doesNotMatch(line, /hunter2|aHVudGVy|eyJ/);
    JSON.parse(line);
  }
  assert.match(lines[3] ?? "", /postgres:\/\/penstock:\[redacted\]@db:5432/);
});

test("what is no secret stays", () => {
  const line = lineOf((log) =>
    log.info({ key: "penstock:{0}:orders", tokens: 3, url: "http://127.0.0.1:8080" }, "at 12:30:01"),
  );
  const { key, tokens, url, msg } = JSON.parse(line) as Record<string, unknown>;
  assert.deepEqual([key, tokens, url, msg], ["penstock:{0}:orders", 3, "http://127.0.0.1:8080", "at 12:30:01"]);
});

test("an error keeps its stack and its causes", () => {
  const line = lineOf((log) => log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed"));
  const { err } = JSON.parse(line) as { err: { message: string; stack: string } };
  assert.equal(err.message, "outer: inner");
  assert.match(err.stack, /log\.test\.ts/);
});
