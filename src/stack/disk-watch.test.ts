import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";

import { SmallDisk } from "../../test/support/small-disk.ts";
import { until } from "../../test/support/until.ts";
import { DiskWatch } from "./disk-watch.ts";

const MIB = 1024 * 1024;

test("it says what has become of the room, once", async (t) => {
  const lines: string[] = [];
  const said = () => lines.map((line) => line.replace(tmpdir(), "…").replace(/\d+ MiB/, "n MiB"));
  let free = 5_000 * MIB;
  let looks = 0;
  const watch = new DiskWatch({
    folders: [tmpdir(), tmpdir()],
    say: (line) => lines.push(line),
    intervalMs: 5,
    freeBytes: async () => {
      looks++;
      return free;
    },
  });
  t.after(() => watch.stop());
  const look = async (bytes: number) => {
    free = bytes;
    const before = looks;
    await until("two looks", () => looks >= before + 2);
  };
  await watch.start();
  await look(5_000 * MIB);
  assert.deepEqual(said(), []);
  await look(900 * MIB);
  await look(800 * MIB);
  await look(MIB);
  await look(2_000 * MIB);
  assert.deepEqual(said(), [
    "the disk runs full: n MiB are left for …; without room orders are refused",
    "THE DISK IS FULL: n MiB are left for …; orders are refused until there is room",
    "there is room again for …: n MiB",
  ]);
});

test("a disk that is full", { skip: SmallDisk.hindrance() ?? false }, async (t) => {
  const disk = SmallDisk.mount(40);
  const lines: string[] = [];
  const watch = new DiskWatch({ folders: [disk.folder], say: (line) => lines.push(line) });
  t.after(async () => {
    await watch.stop();
    disk.unmount();
  });
  disk.fill();
  await watch.start();
  assert.deepEqual(lines, [
    `THE DISK IS FULL: 0 MiB are left for ${disk.folder}; orders are refused until there is room`,
  ]);
});
