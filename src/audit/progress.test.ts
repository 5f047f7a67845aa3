import assert from "node:assert/strict";
import { test } from "node:test";

import { Progress } from "./progress.ts";

function shown(isTTY: boolean): { progress: Progress; texts: string[] } {
  const texts: string[] = [];
  return { texts, progress: new Progress({ isTTY, write: (text) => texts.push(text) }) };
}

test("on a terminal it shows what is done, and clears the line at the end", () => {
  const { progress, texts } = shown(true);
  progress.begin("partition 0: replay", 1_000_000);
  progress.add(10);
  progress.begin("something else");
  progress.end();
  progress.end();
  const clear = "\r\u001b[K";
  assert.deepEqual(texts, [`${clear}  partition 0: replay, 0 s`, clear, `${clear}  something else, 0 s`, clear]);
});

test("elsewhere it shows nothing", () => {
  const { progress, texts } = shown(false);
  progress.begin("partition 0: replay", 1_000_000);
  progress.add(10);
  progress.end();
  assert.deepEqual(texts, []);
});
