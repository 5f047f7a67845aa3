import assert from "node:assert/strict";
import { mock, test } from "node:test";

import type { NewDeadLetter } from "../store/dead-letters.ts";
import { createLog } from "../telemetry/log.ts";
import { LetterAlarm } from "./letter-alarm.ts";

const letter = (id: number): NewDeadLetter => ({
  ...{ id, stream: 0, partition: 0, entry: "1-0", index: id, kind: "refused", sqlstate: "22003", reason: "too large" },
});

test("a line for each letter, and one for those beyond what anybody reads", (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => mock.timers.reset());
  const lines: { level: string; msg: string; deadLetter?: number; deadLetters?: number }[] = [];
  const log = createLog("test", "info", { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[0]) });
  const alarm = new LetterAlarm(log);
  alarm.tell([1, 2].map(letter));
  assert.deepEqual(lines.map(({ level, deadLetter }) => [level, deadLetter]), [["error", 1], ["error", 2]]); // prettier-ignore
  assert.match(lines[0]!.msg, /^DEAD LETTER: .*penstock dead-letters show 1"$/);

  alarm.tell(Array.from({ length: 500 }, (_, i) => letter(3 + i)));
  assert.equal(lines.length, 20);
  mock.timers.tick(10_000);
  assert.equal(lines.length, 21);
  assert.equal(lines[20]!.deadLetters, 482);

  alarm.tell([letter(600)]);
  assert.equal(lines[21]!.deadLetter, 600, "a new window has lines again");
  alarm.close();
  assert.equal(lines.length, 22, "nothing was left untold");
});
