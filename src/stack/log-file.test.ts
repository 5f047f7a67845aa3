import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { SmallDisk } from "../../test/support/small-disk.ts";
import { LogFile } from "./log-file.ts";

test("a file that has grown gives way to the next one, and stays beside it", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "penstock-log-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "role.log");
  const log = new LogFile(path);
  const much = Buffer.alloc(9 * 1024 * 1024, "x");
  for (const chunk of [much, much, Buffer.from("last\n")]) log.write(chunk);
  assert.equal(readFileSync(path, "utf8"), "last\n");
  assert.equal(statSync(`${path}.1`).size, 2 * much.length);
});

test(
  "on a full disk a line is lost, and nothing else; with room it goes on",
  { skip: SmallDisk.hindrance() ?? false },
  (t) => {
    const disk = SmallDisk.mount(24);
    t.after(() => disk.unmount());
    const path = join(disk.folder, "role.log");
    const log = new LogFile(path);
    log.write(Buffer.alloc(17 * 1024 * 1024, "x"));
    disk.fill();
    for (let i = 0; i < 3; i++) log.write(Buffer.alloc(16_384, "no room"));
    disk.relieve();
    log.write(Buffer.from("room\n"));
    assert.ok(readFileSync(path, "utf8").endsWith("room\n"));
  },
);
