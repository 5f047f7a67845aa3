import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Stream, connect } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pino } from "pino";
import { message } from "../../test/support/raw-http2.ts";
import { until } from "../../test/support/until.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { TokenService } from "./auth/tokens.ts";
import { Gate } from "./gate.ts";
import { GrpcDoor } from "./grpc-door.ts";
import { IngestMetrics } from "./metrics.ts";

const REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const ENHANCE_YOUR_CALM = 11;

async function opened(t: TestContext): Promise<GrpcDoor> {
  const metrics = new IngestMetrics(createMetrics("test"), () => 0);
  const log = pino({ level: "silent" });
  const tokens = new TokenService({ key: createSecretKey("k".repeat(32), "utf8"), ttlS: 60 });
  const door = new GrpcDoor({
    bind: "127.0.0.1",
    port: 0,
    maxConnections: 10,
    certificates: undefined,
    services: [],
    gate: new Gate(tokens, metrics, log),
    maxMessageBytes: 1_000_000,
    requestTimeoutMs: 1_000,
    drainTimeoutMs: 100,
    metrics,
    log,
  });
  await door.start();
  t.after(() => door.stop());
  return door;
}

/** A call whose client takes so many bytes of its answers. */
function begun(t: TestContext, door: GrpcDoor, path: string, initialWindowSize = 1_000_000): ClientHttp2Stream {
  const session = connect(`http://${door.address}`, { settings: { initialWindowSize } });
  t.after(() => session.destroy());
  const call = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  call.on("error", () => {});
  return call;
}

/** file_containing_symbol, of 40 bytes in all. */
const question = message(Buffer.concat([Buffer.from([0x22, 33]), Buffer.alloc(33, "x")]));

test("who asks reflection for all that there is, is answered", { timeout: 10_000 }, async (t) => {
  const call = begun(t, await opened(t), REFLECTION).resume();
  for (let i = 0; i < 150; i++) call.write(question);
  call.end();
  const [trailers] = await once(call, "trailers");
  assert.equal(trailers["grpc-status"], "0");
});

test("who asks reflection on and on and reads nothing is ended", { timeout: 10_000 }, async (t) => {
  const call = begun(t, await opened(t), REFLECTION, 0);
  let asked = 0;
  const asking = setInterval(() => {
    if (asked++ < 1_000) call.write(question);
  }, 1);
  t.after(() => clearInterval(asking));
  await until("its end", () => call.closed);
  assert.equal(call.rstCode, ENHANCE_YOUR_CALM);
});
