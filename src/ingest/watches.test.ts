import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import type { Call, Feed, Inlet, Outlet } from "./call.ts";
import { RequestError } from "./errors.ts";
import { IngestMetrics } from "./metrics.ts";
import type { ServedWatch } from "./served.ts";
import { Watches } from "./watches.ts";

/** The door's side of a watch by hand: what is sent stays untaken until it is taken. */
class Line implements Outlet<never> {
  readonly sent: Uint8Array[] = [];
  readonly ends: (RequestError | undefined)[] = [];
  untaken = 0;
  inlet: Inlet<never> | undefined;

  send(answer: never): void {
    this.sent.push(answer);
    this.untaken++;
  }

  readOn(): void {}

  end(error?: RequestError): void {
    this.ends.push(error);
  }

  take(answers: number): void {
    for (let i = 0; i < answers; i++) {
      this.untaken--;
      this.inlet!.taken!();
    }
  }
}

const metrics = new IngestMetrics(createMetrics("test"), () => 0);
const callOf = (account: string) => ({ principal: { account } }) as Call;

function opener(watch: ServedWatch["watch"] = async (_request, _call, feed) => feed.over) {
  const watches = new Watches(metrics);
  const served = {
    service: OrderService,
    methods: {},
    streams: {},
    watches: { watchOrders: { access: "read", watch } },
  };
  const { streams } = watches.around(served as Parameters<Watches["around"]>[0]);
  return (account = "alice") => {
    const line = new Line();
    line.inlet = streams["watchOrders"]!.open(callOf(account), line);
    return line;
  };
}

/** An open watch with its feed. */
async function opened(): Promise<{ line: Line; feed: Feed }> {
  const { promise, resolve } = Promise.withResolvers<Feed>();
  const line = opener(async (_request, _call, feed) => {
    resolve(feed);
    await feed.over;
  })();
  line.inlet!.take({} as never);
  line.inlet!.finish();
  return { line, feed: await promise };
}

const answer = (bytes: number) => new Uint8Array(bytes);

test("answers reach the door a few at a time, in their order, as they are taken", async () => {
  const { line, feed } = await opened();
  const answers = Array.from({ length: 5_000 }, (_, i) => answer(1 + (i % 7)));
  feed.send(answers);
  assert.equal(line.untaken, 64);
  for (let taken = 0; taken < 5_000; taken++) line.take(1);
  assert.deepEqual(line.sent, answers);
  assert.equal(line.untaken, 0);
  assert.deepEqual(line.ends, []);
});

test("who leaves too much untaken is ended: by its bytes, by its messages; one entry comes whole", async () => {
  const MIB = 1024 * 1024;
  const bytes = await opened();
  for (let i = 0; i < 8; i++) bytes.feed.send([answer(MIB)]);
  bytes.feed.send([answer(20 * MIB)]);
  assert.deepEqual(bytes.line.ends, []);
  bytes.feed.send([answer(1)]);
  assert.match(String(bytes.line.ends), /too slowly: open another and resume/);
  assert.ok(bytes.feed.isOver);
  bytes.feed.send([answer(1)]);
  bytes.line.take(9);
  assert.equal(bytes.line.sent.length, 9, "nothing after the end");
  assert.deepEqual(
    bytes.line.ends.map((error) => (error as RequestError | undefined)?.code),
    ["RESOURCE_EXHAUSTED"],
  );

  const messages = await opened();
  messages.feed.send(Array.from({ length: 32_768 }, () => answer(1)));
  messages.feed.send([answer(1)]);
  assert.deepEqual(messages.line.ends, []);
  messages.feed.send([answer(1)]);
  assert.match(String(messages.line.ends), /too slowly/);
});

test("there is room again when nearly all was taken, or nobody is there any more", async () => {
  const { line, feed } = await opened();
  await feed.room();
  const KIB = 1024;
  feed.send(Array.from({ length: 10 }, () => answer(100 * KIB)));
  let isThere = false;
  const room = feed.room().then(() => (isThere = true));
  line.take(7);
  await turn();
  assert.ok(!isThere, "300 kB are left");
  line.take(1);
  await room;
  feed.send(Array.from({ length: 10 }, () => answer(100 * KIB)));
  const gone = feed.room();
  line.inlet!.closed();
  await Promise.all([gone, feed.over, feed.room()]);
});

test("a watch has one request; it ends as its method does, and when the door says so", async () => {
  const open = opener(async (_request, { principal }, feed) => {
    if (principal.account === "refused") throw new RequestError("OUT_OF_RANGE", "not there");
    if (principal.account === "broken") throw new TypeError("a bug");
    if (principal.account === "short") return;
    await feed.over;
  });
  const codesOf = async (account: string, ...steps: ((inlet: Inlet<never>) => void)[]) => {
    const line = open(account);
    for (const step of steps) step(line.inlet!);
    await turn();
    return line.ends.map((error) => error?.code);
  };
  const take = (inlet: Inlet<never>) => inlet.take({} as never);
  const finish = (inlet: Inlet<never>) => inlet.finish();
  assert.deepEqual(await codesOf("a", finish), ["INVALID_ARGUMENT"]);
  assert.deepEqual(await codesOf("a", take, take), ["INVALID_ARGUMENT"]);
  assert.deepEqual(await codesOf("a", take, finish), []);
  assert.deepEqual(await codesOf("refused", take, finish), ["OUT_OF_RANGE"]);
  assert.deepEqual(await codesOf("broken", take, finish), ["INTERNAL"]);
  assert.deepEqual(await codesOf("short", take, finish), [undefined]);
  const leave = (inlet: Inlet<never>) => inlet.finish(new RequestError("UNAVAILABLE", "shutting down"));
  assert.deepEqual(await codesOf("a", take, finish, leave, leave), ["UNAVAILABLE"]);
  assert.deepEqual(await codesOf("a", leave, take), ["UNAVAILABLE"]);
  assert.deepEqual(await codesOf("a", take, (inlet) => inlet.closed(), leave), []);
});

test("an account has a hundred watches at most; others are not touched; one that ends makes room", async () => {
  const open = opener();
  const lines = Array.from({ length: 100 }, () => open());
  assert.ok(lines.every(({ ends }) => ends.length === 0));
  assert.equal(open().ends[0]?.code, "RESOURCE_EXHAUSTED");
  assert.deepEqual(open("bob").ends, []);
  lines[0]!.inlet!.closed();
  assert.deepEqual(open().ends, []);
  assert.equal(open().ends[0]?.code, "RESOURCE_EXHAUSTED");
  for (const { inlet } of lines) inlet!.finish(new RequestError("UNAVAILABLE", "over"));
  for (let i = 0; i < 99; i++) assert.deepEqual(open().ends, []);
  assert.equal(open().ends.length, 1, "none is counted twice");
});
