import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { until } from "../../test/support/until.ts";
import { Announcement } from "./announcement.ts";

const URLS = { grpc: "http://127.0.0.1:1", http: "http://127.0.0.1:2", engine: null, redis: "r", postgres: "p" };

test("where it is stopped while it logs in, it writes nothing more and leaves no timer", async (t) => {
  const stateFolder = mkdtempSync(join(tmpdir(), "penstock-announcement-"));
  t.after(() => rmSync(stateFolder, { recursive: true }));
  const login = Promise.withResolvers<{ token: string; adminToken: string }>();
  const lines: string[] = [];
  const announcement = new Announcement({
    ...{ stateFolder, urls: () => URLS, tokenTtlMs: 40, say: (line: string) => void lines.push(line) },
    prepare: async () => () => login.promise,
  });
  const started = announcement.start();
  await announcement.stop();
  login.resolve({ token: "1", adminToken: "admin 1" });
  await started;
  assert.deepEqual([existsSync(join(stateFolder, "stack.json")), lines], [false, []]);
});

test("the file is there while the stack runs, with tokens that are renewed before they end", async (t) => {
  const stateFolder = mkdtempSync(join(tmpdir(), "penstock-announcement-"));
  t.after(() => rmSync(stateFolder, { recursive: true }));
  const file = join(stateFolder, "stack.json");
  const lines: string[] = [];
  let logins = 0;
  const announcement = new Announcement({
    stateFolder,
    urls: () => URLS,
    prepare: async () => async () => {
      if (++logins === 2) throw new Error("ingest is away");
      return { token: `${logins}`, adminToken: `admin ${logins}` };
    },
    tokenTtlMs: 40,
    say: (line) => lines.push(line),
  });
  t.after(() => announcement.stop());
  await announcement.start();
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), { ...URLS, token: "1", adminToken: "admin 1" });
  const newest = () => Number(/"admin (\d+)"/.exec(readFileSync(file, "utf8"))?.[1]);
  await until("a renewal behind one that failed", () => newest() >= 3);
  assert.equal(lines.filter((line) => line.includes("could not be renewed: Error: ingest is away")).length, 1);
  await announcement.stop();
  const { length } = lines;
  assert.ok(!existsSync(file));
  const at = logins;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual([existsSync(file), logins, lines.length], [false, at, length]);
});
