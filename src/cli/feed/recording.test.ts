import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { UsageError } from "../../runtime/errors.ts";
import { Recording } from "./recording.ts";

function fileOf(t: TestContext, content: Buffer | string): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-recording-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "recording");
  writeFileSync(path, content);
  return path;
}

async function linesOf(recording: Recording): Promise<string[]> {
  const all: string[] = [];
  for await (const lines of recording.lines()) all.push(...lines);
  return all;
}

const LINES = Array.from({ length: 50_000 }, (_, i) => `line ${i} é`);
const TEXT = `${LINES.join("\n")}\n`;

test("lines of a file, packed or not, whatever its pieces", async (t) => {
  const packed: [string, Buffer | string][] = [
    ["plain", TEXT],
    ["without a last line end", TEXT.slice(0, -1)],
    ["with the line ends of Windows", TEXT.replaceAll("\n", "\r\n")],
    ["gzip", gzipSync(TEXT)],
    ["two in one gzip", Buffer.concat([gzipSync(TEXT.slice(0, 1_000)), gzipSync(TEXT.slice(1_000))])],
    ["zstd", zstdCompressSync(TEXT)],
  ];
  for (const [name, content] of packed) {
    const recording = await Recording.open(fileOf(t, content));
    assert.deepEqual(await linesOf(recording), LINES, name);
    assert.deepEqual([recording.size, recording.bytesRead], [Buffer.byteLength(content), Buffer.byteLength(content)]);
    assert.equal(await recording.hash(), createHash("sha256").update(content).digest("hex"));
  }
  assert.deepEqual(await linesOf(await Recording.open(fileOf(t, ""))), []);
});

const hasXz = (() => {
  try {
    execFileSync("xz", ["--version"]);
    return true;
  } catch {
    return false;
  }
})();

test("lines of a file that is packed with xz", { skip: !hasXz && "there is no command xz" }, async (t) => {
  const packed = execFileSync("xz", ["-c"], { input: TEXT });
  const path = fileOf(t, packed);
  assert.deepEqual(await linesOf(await Recording.open(path)), LINES);
  // Who has enough leaves no process behind.
  for await (const lines of (await Recording.open(path)).lines()) {
    assert.equal(lines[0], LINES[0]);
    break;
  }
  const damaged = fileOf(t, packed.subarray(0, packed.length - 100));
  await assert.rejects(linesOf(await Recording.open(damaged)), ({ message, cause }: Error) => {
    return message.endsWith("cannot be read") && cause instanceof Error && cause.message.includes("xz");
  });
});

test("where there is no command xz, it says what to do", async (t) => {
  const path = fileOf(t, Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00]));
  const before = process.env["PATH"];
  process.env["PATH"] = "/nowhere";
  t.after(() => (process.env["PATH"] = before));
  await assert.rejects(linesOf(await Recording.open(path)), ({ cause }: Error) => {
    return cause instanceof Error && /no command xz here/.test(cause.message);
  });
});

test("what cannot be read is told", async (t) => {
  await assert.rejects(Recording.open("/nowhere/at/all"), UsageError);
  await assert.rejects(Recording.open(tmpdir()), UsageError);
  const damaged = await Recording.open(fileOf(t, gzipSync(TEXT).subarray(0, 5_000)));
  await assert.rejects(linesOf(damaged), /cannot be read/);
  const long = await Recording.open(fileOf(t, `short\n${"x".repeat(200_000)}`));
  await assert.rejects(linesOf(long), /line 2 is longer than 65536/);
});
