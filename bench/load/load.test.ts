import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { SubmitOrderResponseSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { runLoad } from "./load.ts";

const ORDER_ID = "019aab5c-3800-7000-8001-000000000000";

function accept(stream: ServerHttp2Stream): void {
  const message = toBinary(SubmitOrderResponseSchema, create(SubmitOrderResponseSchema, { orderId: ORDER_ID }));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.concat([prefix, message]));
}

function refuse(stream: ServerHttp2Stream, code: number, message: string): void {
  const status = { "grpc-status": String(code), "grpc-message": encodeURIComponent(message) };
  stream.respond({ ":status": 200, "content-type": "application/grpc", ...status }, { endStream: true });
}

test("a call that the server refuses under overload is refused; what fails in another way is an error", async (t) => {
  let calls = 0;
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    stream.on("end", () => {
      const kind = calls++ % 4;
      if (kind === 0) refuse(stream, 8, "too many commands");
      else if (kind === 1) refuse(stream, 14, "away");
      else accept(stream);
    });
    stream.resume();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { report } = await runLoad({
    ...{
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      token: "secret",
      run: "run",
      symbol: "BTC-USD",
    },
    ...{ rate: 200, seconds: 0.2, warmupSeconds: 0, batch: 0, matched: false, connections: 1 },
  });
  const { sent, acknowledged, refused, errors, problems } = report;
  assert.deepEqual({ sent, acknowledged, refused, errors }, { sent: 40, acknowledged: 20, refused: 10, errors: 10 });
  assert.deepEqual(problems, { "refused: too many commands": 10, "code 14: away": 10 });
});
