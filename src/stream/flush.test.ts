import assert from "node:assert/strict";
import { test } from "node:test";

import { AppendError } from "./append-error.ts";
import { MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS } from "./command.ts";
import type { PreparedCommand } from "./prepared-command.ts";
import { Flush, readReply, Ticket } from "./flush.ts";
import type { InstrumentChange, Placement } from "./flush.ts";
import { formatOrderId } from "./position.ts";
import { encodeSeen } from "./seen.ts";

const caller = { deadline: Infinity, cancelled: false };
const hashOf = (n: number) => String(n).padStart(8, "h");

function command(n: number, size = 10): PreparedCommand {
  return { element: Buffer.alloc(size, n % 256), identity: String(n).padStart(16, "k") + hashOf(n) };
}

/** A ticket and what its call is told. */
class Call {
  readonly ticket: Ticket;
  /** One at most. */
  readonly answers: (readonly Placement[])[] = [];
  readonly errors: AppendError[] = [];

  constructor(commands: readonly PreparedCommand[], change?: InstrumentChange) {
    const { answers, errors } = this;
    this.ticket = new Ticket(
      commands,
      caller,
      change,
      (answer) => answers.push(answer),
      (error) => errors.push(error),
    );
  }
}

const commands = (from: number, count: number) => Array.from({ length: count }, (_, i) => command(from + i));

test("a flush takes whole calls while they fit, and of the last one what fits", () => {
  const flush = new Flush(1);
  assert.equal(flush.add(new Call(commands(0, 300)).ticket), true);
  const large = new Call(commands(300, 600)).ticket;
  assert.equal(flush.add(large), false);
  assert.equal(flush.commands.length, MAX_ENTRY_COMMANDS);
  assert.equal(large.sent, 200);
  const next = new Flush(2);
  assert.equal(next.add(large), true);
  assert.deepEqual([next.commands.length, large.sent], [400, 600]);
});

test("a flush holds at most 1 MiB, but a larger command goes alone rather than never", () => {
  const flush = new Flush(1);
  assert.equal(flush.add(new Call([command(1, MAX_ENTRY_BYTES - 5)]).ticket), true);
  assert.equal(flush.add(new Call([command(2, 5)]).ticket), true);
  assert.equal(flush.bytes, MAX_ENTRY_BYTES);
  const one = new Call([command(3, 1)]).ticket;
  assert.equal(flush.add(one), false);
  assert.equal(one.sent, 0);
  const alone = new Flush(2);
  assert.equal(alone.add(new Call([command(4, MAX_ENTRY_BYTES + 1)]).ticket), true);
  assert.equal(alone.add(one), false);
});

test("a change of an instrument goes alone", () => {
  const change = { symbol: "A", present: Buffer.alloc(0), next: Buffer.from("x") };
  const changing = new Call([command(1)], change).ticket;
  const flush = new Flush(1);
  flush.add(new Call([command(0)]).ticket);
  assert.equal(flush.add(changing), false);
  assert.equal(flush.change, undefined);
  const alone = new Flush(2);
  assert.equal(alone.add(changing), false, "nothing comes behind it");
  assert.equal(changing.sent, 1);
  assert.equal(alone.change, change);
});

test("the payload is the elements one behind the other, their lengths, keys and hashes", () => {
  const flush = new Flush(1);
  flush.add(new Call([command(1, 3), command(2, 300)]).ticket);
  const [version, batch, lengths, identities] = flush.payload();
  assert.equal(version, 1);
  assert.deepEqual(batch, Buffer.concat([Buffer.alloc(3, 1), Buffer.alloc(300, 2)]));
  assert.deepEqual(lengths, Buffer.from([0, 0, 0, 3, 0, 0, 1, 44]));
  assert.equal(identities?.toString(), command(1).identity + command(2).identity);
});

test("I3: each command gets its own place: in the new entry by what was kept, elsewhere by what was seen", () => {
  const [a, b] = [new Call(commands(0, 3)), new Call(commands(3, 2))];
  const flush = new Flush(1);
  flush.add(a.ticket);
  flush.add(b.ticket);
  const first = { epoch: 1, ms: 500, seq: 2, index: 9 };
  const place = { partition: 3, ...first };
  const seen = [1, encodeSeen(hashOf(1), first), 3, encodeSeen(hashOf(999), first)];
  flush.settle(3, 2, { ms: 1_000, seq: 7 }, seen);
  const at = (index: number) => formatOrderId({ partition: 3, epoch: 2, ms: 1_000, seq: 7, index });
  assert.deepEqual(a.answers[0], [
    { id: at(0), ms: 1_000, outcome: "new" },
    { id: formatOrderId(place), ms: 500, outcome: "duplicate" },
    { id: at(1), ms: 1_000, outcome: "new" },
  ]);
  assert.deepEqual(b.answers[0], [
    { id: formatOrderId(place), ms: 500, outcome: "conflict" },
    { id: at(2), ms: 1_000, outcome: "new" },
  ]);
});

test("a call of which a part is in the log never hears that nothing was done (I11)", () => {
  const large = new Call(commands(0, 600));
  const first = new Flush(1);
  first.add(large.ticket);
  first.settle(0, 1, { ms: 5, seq: 0 }, []);
  const second = new Flush(2);
  second.add(large.ticket);
  second.fail(new AppendError("unavailable", "shut"));
  assert.deepEqual(
    large.errors.map(({ code, message }) => [code, message]),
    [["unknown", "500 of 600 commands are in the log, the others are not"]],
  );
});

test("a call over several flushes is answered when the last of them is settled; a failed one tells each call once", () => {
  const call = new Call(commands(0, 501));
  const [first, second] = [new Flush(1), new Flush(2)];
  first.add(call.ticket);
  first.settle(0, 1, { ms: 1, seq: 0 }, []);
  assert.equal(call.answers.length, 0);
  second.add(call.ticket);
  second.settle(0, 1, { ms: 2, seq: 0 }, []);
  assert.equal(call.answers.length, 1);
  const [answer] = call.answers;
  assert.deepEqual([answer?.length, answer?.[499]?.ms, answer?.[500]?.ms], [501, 1, 2]);

  const failing = new Call(commands(0, 3));
  const flush = new Flush(3);
  flush.add(failing.ticket);
  const error = new AppendError("unavailable", "shut");
  flush.fail(error);
  assert.deepEqual([failing.errors, failing.answers], [[error], []]);
});

test("every answer of the script is read, and no other is", () => {
  const reply = (...parts: readonly unknown[]) =>
    readReply(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
  assert.deepEqual(reply("OK", "4", "2", "10-3", []), {
    status: "OK",
    generation: 4,
    epoch: 2,
    entry: { ms: 10, seq: 3 },
    seen: [],
  });
  const duplicates = reply("OK", "4", "2", "", [0, Buffer.alloc(22)]);
  assert.deepEqual(duplicates, {
    status: "OK",
    generation: 4,
    epoch: 2,
    entry: undefined,
    seen: [0, Buffer.alloc(22)],
  });
  assert.deepEqual(reply("CLOCK", "123"), { status: "CLOCK", ms: 123 });
  assert.deepEqual(reply("GENERATION", "7"), { status: "GENERATION", generation: 7 });
  for (const status of ["RUN", "EPOCH", "MISSING"]) assert.deepEqual(reply(status), { status });
  for (const status of ["BEHIND", "STALE", "CHANGED"]) assert.deepEqual(reply(status, "x"), { status });
  assert.throws(
    () => reply("SOMETHING"),
    (error) => error instanceof AppendError && error.code === "unknown",
  );
});
