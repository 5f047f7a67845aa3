import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";

import { SubmitOrdersRequestSchema } from "../gen/penstock/v1/order_service_pb.ts";
import { RequestError } from "./errors.ts";
import { boundOrders } from "./http-batches.ts";

const MAX_BYTES = 1_048_576;
const PACKINGS = { gzip: gzipSync, br: brotliCompressSync };

function batch(orders: number) {
  // Characters that mean something in JSON, within an id.
  const clientOrderId = '{"{\\"{'.repeat(8);
  return create(SubmitOrdersRequestSchema, {
    orders: Array.from({ length: orders }, () => ({
      clientOrderId,
      symbol: "BTC-USD",
      expireTime: { seconds: 1_800_000_000n },
    })),
  });
}

function envelope(message: Buffer, flags: number): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt8(flags);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

/** A message on each way into the port: its name, the body, the headers. */
function* ways(message: Buffer, format: "json" | "proto"): Generator<[string, Buffer, Headers]> {
  const connect = { "content-type": `Application/${format}` };
  const web = { "content-type": `application/grpc-web+${format}` };
  yield [`Connect ${format}`, message, new Headers(connect)];
  yield [`gRPC-Web ${format}`, envelope(message, 0), new Headers({ ...web, "grpc-encoding": "gzip" })];
  for (const [name, pack] of Object.entries(PACKINGS)) {
    const packed = pack(message);
    yield [`Connect ${format} ${name}`, packed, new Headers({ ...connect, "content-encoding": name })];
    yield [`gRPC-Web ${format} ${name}`, envelope(packed, 1), new Headers({ ...web, "grpc-encoding": name })];
  }
}

function* everyWay(binary: Buffer, json: string): Generator<[string, Buffer, Headers]> {
  yield* ways(binary, "proto");
  yield* ways(Buffer.from(json), "json");
}

function encoded(orders: number): [Buffer, string] {
  const message = batch(orders);
  return [
    Buffer.from(toBinary(SubmitOrdersRequestSchema, message)),
    toJsonString(SubmitOrdersRequestSchema, message, { prettySpaces: 1 }),
  ];
}

const refused = (code: string, field?: string) => (error: unknown) =>
  error instanceof RequestError && error.code === code && error.violations[0]?.field === field;

test("as many orders as there may be pass on every way, and fewer, and none", async () => {
  for (const orders of [0, 1, 1_000]) {
    for (const [, body, header] of everyWay(...encoded(orders))) await boundOrders(body, header, MAX_BYTES);
  }
});

test("one more is refused on every way, as the service refuses it", async () => {
  for (const [way, body, header] of everyWay(...encoded(1_001))) {
    await assert.rejects(boundOrders(body, header, MAX_BYTES), refused("INVALID_ARGUMENT", "orders"), way);
  }
});

test("so is a megabyte of empty ones, whatever wire type they have", async () => {
  const json = `{"orders":[${"{},".repeat(349_000)}{}]}`;
  for (const tag of [0x0a, 0x08, 0x0d]) {
    const binary = Buffer.alloc(MAX_BYTES, Buffer.from([tag, 0]));
    for (const [way, body, header] of everyWay(binary, json)) {
      await assert.rejects(boundOrders(body, header, MAX_BYTES), refused("INVALID_ARGUMENT", "orders"), way);
    }
  }
});

test("a second message is refused before it is read", async () => {
  const header = new Headers({ "content-type": "application/grpc-web+proto" });
  const second = envelope(Buffer.alloc(1_000_000, Buffer.from([0x0a, 0])), 0);
  const body = Buffer.concat([envelope(Buffer.alloc(0), 0), second]);
  await assert.rejects(boundOrders(body, header, MAX_BYTES), refused("INVALID_ARGUMENT"));
});

test("what is no message is refused here or left to connect", async () => {
  const proto = new Headers({ "content-type": "application/proto" });
  // A group, which the generated code steps over.
  await assert.rejects(boundOrders(Buffer.from([0x7b, 0x7c]), proto, MAX_BYTES), refused("INVALID_ARGUMENT"));
  await assert.rejects(boundOrders(Buffer.from([0x0a, 5, 0]), proto, MAX_BYTES), refused("INVALID_ARGUMENT"));
  await boundOrders(Buffer.from("{{{ what?"), new Headers({ "content-type": "application/json" }), MAX_BYTES);
  await boundOrders(Buffer.alloc(4), new Headers({ "content-type": "application/grpc-web+proto" }), MAX_BYTES);
  const packed = new Headers({ "content-type": "application/proto", "content-encoding": "gzip" });
  await assert.rejects(boundOrders(Buffer.from("no gzip"), packed, MAX_BYTES), ConnectError);
  await assert.rejects(boundOrders(gzipSync(Buffer.alloc(MAX_BYTES + 1)), packed, MAX_BYTES), ConnectError);
});
