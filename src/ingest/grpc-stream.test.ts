import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import { Metadata } from "@grpc/grpc-js";
import { pino } from "pino";
import { OrderService } from "../gen/penstock/v1/order_service_pb.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { TokenService } from "./auth/tokens.ts";
import type { Inlet } from "./call.ts";
import { CODES, type RequestError } from "./errors.ts";
import { Gate } from "./gate.ts";
import type { CallStatus } from "./grpc-calls.ts";
import { GrpcStream, MALFORMED, type StreamedCall } from "./grpc-stream.ts";
import { IngestMetrics } from "./metrics.ts";

/** The transport's side of a stream, and the method's, by hand: here time is a number. */

const MINUTE = 60_000;
const tokens = new TokenService({ key: createSecretKey("k".repeat(32), "utf8"), ttlS: 86_400 });

class Line implements StreamedCall {
  /** Messages that are there already: each comes as soon as it is asked for. */
  waiting = 0;
  asked = 0;
  readonly taken: (() => void)[] = [];
  readonly statuses: CallStatus[] = [];
  stream: GrpcStream | undefined;

  startRead(): void {
    this.asked++;
    if (this.waiting === 0) return;
    this.waiting--;
    this.stream?.onReceiveMessage({});
  }

  sendMessage(_: unknown, taken: () => void): void {
    this.taken.push(taken);
  }

  sendStatus(status: CallStatus): void {
    this.statuses.push(status);
  }

  getDeadline(): number {
    return Infinity;
  }
}

class Method implements Inlet<object> {
  hungry = true;
  takes = 0;
  readonly finished: (RequestError | undefined)[] = [];
  closes = 0;

  take(): void {
    this.takes++;
  }

  finish(error?: RequestError): void {
    this.finished.push(error);
  }

  closed(): void {
    this.closes++;
  }

  get codes(): (string | undefined)[] {
    return this.finished.map((error) => error?.code);
  }
}

async function opened() {
  const line = new Line();
  const method = new Method();
  const log = pino({ level: "silent" });
  const gate = new Gate(tokens, new IngestMetrics(createMetrics("test"), () => 0), log);
  const options = {
    method: OrderService.method.streamOrders,
    served: { access: "trade", open: () => method },
    gate,
    statusOf: (error: RequestError) => ({ code: CODES[error.code], details: error.message }),
    onEnd: () => {},
    onClose: () => {},
  } as const;
  const stream = new GrpcStream(line, options, 0);
  line.stream = stream;
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${(await tokens.issue("demo", "trader")).token}`);
  stream.onReceiveMetadata(metadata);
  while (line.asked === 0) await turn();
  return { line, method, stream };
}

test("a stream that is idle, or open for long, is ended; one that says something is not idle", async () => {
  const idle = await opened();
  idle.stream.sweep(10 * MINUTE);
  assert.deepEqual(idle.method.codes, []);
  idle.stream.sweep(10 * MINUTE + 1);
  assert.deepEqual(idle.method.codes, ["UNAVAILABLE"]);
  idle.stream.sweep(20 * MINUTE);
  assert.equal(idle.method.codes.length, 1, "once");

  const busy = await opened();
  for (let now = 0; now <= 60 * MINUTE; now += 9 * MINUTE) {
    busy.stream.onReceiveMessage({});
    busy.stream.sweep(now);
  }
  assert.deepEqual(busy.method.codes, []);
  busy.stream.sweep(60 * MINUTE + 1);
  assert.deepEqual(busy.method.codes, ["UNAVAILABLE"]);
});

test("a client that takes no answer for ten seconds is ended; one that takes one now and then is not", async () => {
  const { line, method, stream } = await opened();
  for (let i = 0; i < 4; i++) stream.send({});
  for (const now of [9_000, 18_000, 27_000]) {
    stream.sweep(now);
    line.taken.shift()?.();
  }
  assert.equal(stream.untaken, 1);
  stream.sweep(36_000);
  stream.sweep(46_000);
  assert.deepEqual(method.codes, []);
  stream.sweep(46_001);
  assert.deepEqual(method.codes, ["RESOURCE_EXHAUSTED"]);
});

test("it is read while the method is hungry, however much is there", async () => {
  const { line, method, stream } = await opened();
  line.waiting = 100_000; // of empty messages: with a call in a call the stack would end
  stream.onReceiveMessage({});
  assert.equal(method.takes, 100_001);
  const { asked } = line;
  method.hungry = false;
  stream.onReceiveMessage({});
  stream.readOn();
  assert.equal(line.asked, asked);
  method.hungry = true;
  stream.readOn();
  stream.readOn();
  assert.equal(line.asked, asked + 1, "one at a time");
});

test("what is no message ends it; after its status nothing is sent", async () => {
  const { line, method, stream } = await opened();
  stream.onReceiveMessage(MALFORMED);
  assert.deepEqual([method.takes, method.codes], [0, ["INVALID_ARGUMENT"]]);
  stream.send({});
  stream.end();
  stream.end();
  stream.send({});
  assert.deepEqual([line.taken.length, line.statuses.map(({ code }) => code)], [1, [0]]);
  assert.equal(method.closes, 0);
  stream.onCancel();
  assert.equal(method.closes, 1, "its method is told of the end");
});
