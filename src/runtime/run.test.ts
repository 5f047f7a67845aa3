import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { on } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import type { TestContext } from "node:test";

/** The opening of each child's program: services that tell what happens to them, a line each. */
const opening = `
import { runServices } from "${new URL("./run.ts", import.meta.url).href}";
const say = (text) => console.log(text);
const log = {
  info: (fields, message) => say(message),
  error: (fields, message) => say("error " + message),
  fatal: (fields, message) => say("fatal " + fields.err.message + " (" + fields.origin + ")"),
  flush: () => {},
};
const forever = () => new Promise(() => {});
const service = (name, start = async () => {}, stop = async () => {}) => ({
  name,
  start: async () => { say("start " + name); await start(); },
  stop: async () => { say("stop " + name); await stop(); },
});
const run = (...services) => runServices(services, log, { drainTimeoutMs: 300 }).then(
  () => process.exit(0),
  (error) => { say("rejected " + [error, ...(error.errors ?? [])].map((e) => e.message).join(" | ")); process.exit(1); },
);
`;

/** A child process that runs such a program, and what it says. */
class Child {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;
  readonly #said: AsyncIterator<string[]>;
  readonly #exit: Promise<number | null>;

  constructor(t: TestContext, program: string) {
    this.#process = spawn(process.execPath, ["--input-type=module", "--eval", opening + program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.after(() => this.#process.kill("SIGKILL"));
    assert.ok(this.#process.stdout);
    const reader = createInterface(this.#process.stdout);
    this.#said = on(reader, "line", { close: ["close"] }) as AsyncIterator<string[]>;
    this.#exit = new Promise((resolve) => this.#process.once("close", resolve));
  }

  async until(wanted: string): Promise<void> {
    while (!this.lines.includes(wanted)) {
      const next = await this.#said.next();
      assert.ok(!next.done, `it ended before it said "${wanted}": ${this.lines.join(", ")}`);
      this.lines.push(...next.value);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** The exit code, once all it said is in `lines`. */
  async end(): Promise<number | null> {
    for (;;) {
      const next = await this.#said.next();
      if (next.done) return this.#exit;
      this.lines.push(...next.value);
    }
  }
}

const options = { timeout: 20_000 };

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} stops the services in the reverse order, and ends with 0`, options, async (t) => {
    const child = new Child(t, `run(service("a"), service("b"), service("c"))`);
    await child.until("started");
    child.kill(signal);
    assert.equal(await child.end(), 0);
    const order = "start a, start b, start c, started, draining, stop c, stop b, stop a, stopped";
    assert.equal(child.lines.join(", "), order);
  });
}

test("a drain waits for work that has begun", options, async (t) => {
  const finish = `() => new Promise((resolve) => setTimeout(() => { say("finished"); resolve(); }, 50))`;
  const child = new Child(t, `run(service("a"), service("b", async () => {}, ${finish}))`);
  await child.until("started");
  child.kill("SIGTERM");
  assert.equal(await child.end(), 0);
  assert.deepEqual(child.lines.slice(-4), ["stop b", "finished", "stop a", "stopped"]);
});

for (const [first, signal, code] of [
  ["SIGTERM", "SIGINT", 130],
  ["SIGINT", "SIGTERM", 143],
] as const) {
  test(`a second signal ends it at once, with ${code} for ${signal}`, options, async (t) => {
    const program = `runServices([service("a", async () => {}, forever)], log, { drainTimeoutMs: 60_000 })`;
    const child = new Child(t, program);
    await child.until("started");
    child.kill(first);
    await child.until("stop a");
    child.kill(signal);
    assert.equal(await child.end(), code);
  });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`a ${signal} that comes again at once is an echo of the first`, options, async (t) => {
    const stop = `() => new Promise((resolve) => setTimeout(resolve, 100))`;
    const child = new Child(t, `run(service("a", async () => {}, ${stop}))`);
    await child.until("started");
    child.kill(signal);
    await child.until("stop a");
    child.kill(signal);
    assert.equal(await child.end(), 0);
  });
}

test("a drain is bounded, and the failure names who did not stop", options, async (t) => {
  const child = new Child(t, `run(service("a"), service("b", async () => {}, forever))`);
  await child.until("started");
  child.kill("SIGTERM");
  assert.equal(await child.end(), 1);
  assert.equal(child.lines.at(-1), "rejected b did not stop within the 300 ms that a drain may take");
});

test("a stop that fails does not keep the next from stopping", options, async (t) => {
  const child = new Child(
    t,
    `run(service("a"), service("b", async () => {}, async () => { throw new Error("stuck"); }))`,
  );
  await child.until("started");
  child.kill("SIGTERM");
  assert.equal(await child.end(), 1);
  assert.deepEqual(child.lines.slice(-3), ["stop b", "stop a", "rejected b did not stop cleanly"]);
});

test("where a service cannot start, those before it are stopped and later ones do not start", options, async (t) => {
  const child = new Child(
    t,
    `run(service("a"), service("b", async () => { throw new Error("port in use"); }), service("c"))`,
  );
  assert.equal(await child.end(), 1);
  assert.deepEqual(child.lines, ["start a", "start b", "stop b", "stop a", "rejected port in use"]);
});

test("a signal ends a start that hangs", options, async (t) => {
  const child = new Child(t, `run(service("a"), service("b", forever), service("c"))`);
  await child.until("start b");
  child.kill("SIGTERM");
  assert.equal(await child.end(), 0);
  assert.deepEqual(child.lines, ["start a", "start b", "draining", "stop b", "stop a", "stopped"]);
});

test("an uncaught error is logged and ends it with 1", options, async (t) => {
  const child = new Child(t, `setImmediate(() => { throw new Error("a bug"); }); run(service("a"))`);
  assert.equal(await child.end(), 1);
  assert.equal(child.lines.at(-1), "fatal a bug (uncaughtException)");
});

test("an unhandled rejection is logged and ends it with 1", options, async (t) => {
  const child = new Child(t, `setImmediate(() => Promise.reject(new Error("a bug"))); run(service("a"))`);
  assert.equal(await child.end(), 1);
  assert.equal(child.lines.at(-1), "fatal a bug (unhandledRejection)");
});
