import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";

import { startScriptedServer } from "../../../test/support/scripted-server.ts";
import type { Duplex } from "../../../test/support/scripted-server.ts";
import { RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import {
  CancelOrderRequestSchema,
  OrderService,
  SubmitOrderRequestSchema,
} from "../../gen/penstock/v1/order_service_pb.ts";
import type {
  StreamOrdersRequest,
  StreamOrdersRequestSchema,
  StreamOrdersResponseSchema,
} from "../../gen/penstock/v1/order_service_pb.ts";
import { ApiClient } from "../client.ts";
import { OrderFlow } from "./order-flow.ts";
import type { Send } from "./step.ts";

type Answer = MessageInitShape<typeof StreamOrdersResponseSchema>;
type Stream = Duplex<typeof StreamOrdersRequestSchema, typeof StreamOrdersResponseSchema>;

const submit = (id: string): Send => {
  const value = create(SubmitOrderRequestSchema, { clientOrderId: id });
  return { kind: "send", line: 1, at: undefined, command: { case: "submit", value } };
};

const cancel = (id: string, clientOrderId: string): Send => {
  const value = create(CancelOrderRequestSchema, { clientRequestId: id, clientOrderId });
  return { kind: "send", line: 1, at: undefined, command: { case: "cancel", value } };
};

const idOf = ({ command }: Pick<StreamOrdersRequest, "command">): string => {
  if (command.case === "submit") return command.value.clientOrderId;
  return command.value?.clientRequestId ?? "";
};

function taken({ sequence, command }: StreamOrdersRequest): Answer {
  return command.case === "submit"
    ? { sequence, result: { case: "submit", value: { clientOrderId: command.value.clientOrderId } } }
    : { sequence, result: { case: "cancel", value: { clientRequestId: idOf({ command }) } } };
}

function refused({ sequence }: StreamOrdersRequest, code: number, retryMs?: number): Answer {
  const details =
    retryMs === undefined
      ? []
      : [anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(retryMs) }))];
  return { sequence, result: { case: "refused", value: { code, message: "no", details } } };
}

/** A flow to a server that serves each stream with `serve`, and what was settled of it: ids, with the code of a refusal. */
async function flowTo(t: TestContext, serve: (stream: Stream, count: number) => void) {
  let streams = 0;
  const url = await startScriptedServer(t, {
    service: OrderService,
    methods: {
      streamOrders: (stream: Stream) => {
        stream.on("error", () => undefined);
        serve(stream, ++streams);
      },
    },
  });
  const api = new ApiClient({ url, token: "x" });
  t.after(() => api.close());
  const settled: string[] = [];
  const flow = new OrderFlow(api, ({ command }, outcome) => {
    settled.push(outcome.case === "refused" ? `${idOf({ command })} ${outcome.value.code}` : idOf({ command }));
  });
  t.after(() => flow.close());
  return { flow, settled };
}

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => `o-${i}`);

test("a thousand are under way, no more, and they are settled in the order of sending", async (t) => {
  let received = 0;
  const waiting: StreamOrdersRequest[] = [];
  const { flow, settled } = await flowTo(t, (stream) => {
    stream.on("data", (request: StreamOrdersRequest) => {
      received++;
      waiting.push(request);
      assert.ok(waiting.length <= 1_000);
      // No answer before there are so many, and then the last one first.
      if (waiting.length < 1_000 && received < 3_500) return;
      for (const request of waiting.splice(0).toReversed()) stream.write(taken(request));
    });
    stream.on("end", () => stream.end());
  });
  for (const id of ids(3_500)) await flow.send(submit(id));
  await flow.finish();
  assert.deepEqual(settled, ids(3_500));
  assert.equal(flow.resent, 0);
});

test("after a cut what has no answer is sent again, in its order, and each is settled once", async (t) => {
  const logged: string[] = [];
  const { flow, settled } = await flowTo(t, (stream, count) => {
    let answered = 0;
    stream.on("data", (request: StreamOrdersRequest) => {
      logged.push(idOf(request));
      if (++answered <= 100 * count) stream.write(taken(request));
      else if (answered === 100 * count + 50) {
        stream.emit("error", Object.assign(new Error("cut"), { code: status.UNAVAILABLE }));
      }
    });
    stream.on("end", () => stream.end());
  });
  for (const id of ids(700)) await flow.send(submit(id));
  await flow.finish();
  assert.deepEqual(settled, ids(700));
  assert.ok(flow.resent >= 100, `${flow.resent} sent again`);
  assert.deepEqual(
    logged.filter((id, i) => logged.indexOf(id) === i),
    ids(700),
    "first sent in their order",
  );
});

test("an overload holds up what follows; what was taken too early is sent again under another id", async (t) => {
  const logged: string[] = [];
  let refusals = 0;
  const { flow, settled } = await flowTo(t, (stream) => {
    stream.on("data", (request: StreamOrdersRequest) => {
      if (idOf(request) === "a" && refusals++ < 2) return stream.write(refused(request, status.RESOURCE_EXHAUSTED, 20));
      logged.push(idOf(request));
      return stream.write(taken(request));
    });
    stream.on("end", () => stream.end());
  });
  for (const send of [submit("a"), submit("b"), cancel("c-a", "a"), cancel("c-b", "b")]) await flow.send(send);
  await flow.finish();
  assert.deepEqual(logged.slice(0, 3), ["b", "c-a", "c-b"]);
  assert.deepEqual(logged.slice(-2), ["a", "c-a~~"], "after the order that it cancels");
  assert.deepEqual([...settled].sort(), ["a", "b", "c-a~~", "c-b"]);
});

test("what is refused for good is settled; a stream that may not be is an error", async (t) => {
  const { flow, settled } = await flowTo(t, (stream) => {
    stream.on("data", (request: StreamOrdersRequest) => {
      const id = idOf(request);
      if (id === "end") {
        stream.emit("error", Object.assign(new Error("no"), { code: status.PERMISSION_DENIED, details: "not you" }));
      } else stream.write(id === "bad" ? refused(request, status.INVALID_ARGUMENT) : taken(request));
    });
  });
  for (const id of ["a", "bad", "b"]) await flow.send(submit(id));
  await flow.send(submit("end"));
  await assert.rejects(flow.finish(), /PERMISSION_DENIED: not you/);
  assert.deepEqual(settled, ["a", "bad 3", "b"]);
  await assert.rejects(flow.send(submit("c")), /PERMISSION_DENIED/);
});

test("a stream that the server ends while nothing is under way is opened again with the next command", async (t) => {
  let opened = 0;
  const { flow, settled } = await flowTo(t, (stream, count) => {
    opened = count;
    stream.on("data", (request: StreamOrdersRequest) => {
      stream.write(taken(request));
      stream.emit("error", Object.assign(new Error("idle"), { code: status.UNAVAILABLE }));
    });
    stream.on("end", () => stream.end());
  });
  await flow.send(submit("a"));
  await flow.finish();
  await flow.send(submit("b"));
  await flow.finish();
  assert.deepEqual([settled, opened], [["a", "b"], 2]);
});
