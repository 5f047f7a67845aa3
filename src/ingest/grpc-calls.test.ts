import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type Settings,
} from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { pino } from "pino";
import { message } from "../../test/support/raw-http2.ts";
import { until } from "../../test/support/until.ts";
import { AuthService, type IssueTokenRequest, IssueTokenRequestSchema } from "../gen/penstock/v1/auth_service_pb.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { TokenService } from "./auth/tokens.ts";
import { Gate } from "./gate.ts";
import { GrpcDoor } from "./grpc-door.ts";
import { IngestMetrics } from "./metrics.ts";
import type { ServedService } from "./served.ts";

const REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const SIGN_IN = "/penstock.v1.AuthService/IssueToken";
const ENHANCE_YOUR_CALM = 11;

async function opened(t: TestContext, services: readonly ServedService[] = []): Promise<GrpcDoor> {
  const metrics = new IngestMetrics(createMetrics("test"), () => 0);
  const log = pino({ level: "silent" });
  const tokens = new TokenService({ key: createSecretKey("k".repeat(32), "utf8"), ttlS: 60 });
  const door = new GrpcDoor({
    bind: "127.0.0.1",
    port: 0,
    maxConnections: 10,
    certificates: undefined,
    services,
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

function connected(t: TestContext, door: GrpcDoor, settings: Settings = {}): ClientHttp2Session {
  const session = connect(`http://${door.address}`, { settings });
  t.after(() => session.destroy());
  return session;
}

function begun(session: ClientHttp2Session, path: string, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const grpc = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const call = session.request({ ...grpc, ...headers });
  call.on("error", () => {});
  return call.resume();
}

async function statusOf(call: ClientHttp2Stream, event: "response" | "trailers"): Promise<unknown> {
  const [headers] = (await once(call, event)) as [IncomingHttpHeaders];
  return headers["grpc-status"];
}

/** file_containing_symbol, of 40 bytes in all. */
const question = message(Buffer.concat([Buffer.from([0x22, 33]), Buffer.alloc(33, "x")]));

test("who asks reflection for all that there is, is answered", { timeout: 10_000 }, async (t) => {
  const call = begun(connected(t, await opened(t)), REFLECTION);
  for (let i = 0; i < 150; i++) call.write(question);
  call.end();
  assert.equal(await statusOf(call, "trailers"), "0");
});

test("who asks reflection on and on and reads nothing is ended", { timeout: 10_000 }, async (t) => {
  const call = begun(connected(t, await opened(t), { initialWindowSize: 0 }), REFLECTION);
  let asked = 0;
  const asking = setInterval(() => {
    if (asked++ < 1_000) call.write(question);
  }, 1);
  t.after(() => clearInterval(asking));
  await until("its end", () => call.closed);
  assert.equal(call.rstCode, ENHANCE_YOUR_CALM);
});

test(
  "a call that was answered before its request was whole is not served afterwards",
  { timeout: 10_000 },
  async (t) => {
    const asked: string[] = [];
    const methods = AuthService.methods.map(({ localName }) => {
      const serve = async ({ account }: IssueTokenRequest) => {
        asked.push(account);
        return {};
      };
      return [localName, { access: "anyone", serve }] as const;
    });
    const service = { service: AuthService, methods: Object.fromEntries(methods), streams: {}, watches: {} };
    const session = connected(t, await opened(t, [service]));
    const request = (account: string) => {
      return message(toBinary(IssueTokenRequestSchema, create(IssueTokenRequestSchema, { account })));
    };
    const late = begun(session, SIGN_IN, { "grpc-timeout": "50m" });
    late.write(request("late"));
    assert.equal(await statusOf(late, "response"), "4", "DEADLINE_EXCEEDED");
    late.end();
    const next = begun(session, SIGN_IN);
    next.end(request("next"));
    assert.equal(await statusOf(next, "trailers"), "0");
    assert.deepEqual(asked, ["next"]);
  },
);

test("headers that are not ASCII are written nowhere", { timeout: 10_000 }, async (t) => {
  const written = t.mock.method(console, "error", () => {});
  const session = connected(t, await opened(t));
  const call = begun(session, "/grpc.health.v1.Health/Check", { "x-name": "\xe9".repeat(1_000) });
  call.end(message(Buffer.alloc(0)));
  assert.equal(await statusOf(call, "trailers"), "0");
  assert.equal(written.mock.callCount(), 0);
});
