import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerHttp2Session } from "node:http2";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { suite, test, type TestContext } from "node:test";
import { type sendUnaryData, Server } from "@grpc/grpc-js";
import { pino } from "pino";
import { Flag, FrameType } from "../../bench/load/frames.ts";
import { TestCertificate } from "../../test/support/certificates.ts";
import { callFrame, frame, OPENING, RawConnection, WIDE_OPENING } from "../../test/support/raw.ts";
import { until } from "../../test/support/until.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { Certificates } from "./certificates.ts";
import { GrpcInjector } from "./grpc-injector.ts";
import { GrpcListener } from "./grpc-listener.ts";
import { IngestMetrics } from "./metrics.ts";

test(
  "one port of a client, connected to two addresses: each is known by itself, up to the end",
  { timeout: 10_000 },
  async (t) => {
    const handedOn: Socket[] = [];
    const listener = new GrpcListener({
      injector: {
        inject: (socket) => {
          handedOn.push(socket);
          return { destroyed: false } as ServerHttp2Session;
        },
      },
      maxConnections: 10,
      certificates: undefined,
      metrics: new IngestMetrics(createMetrics("test"), () => 0),
      log: pino({ level: "silent" }),
    });
    const port = await listener.listen("0.0.0.0", 0);
    t.after(() => listener.end());
    const open = async (host: string, localPort?: number): Promise<Socket> => {
      const socket = connect({
        host,
        port,
        localAddress: "127.0.0.1",
        ...(localPort === undefined ? {} : { localPort }),
      });
      t.after(() => socket.destroy());
      await once(socket, "connect");
      return socket;
    };
    const one = await open("127.0.0.1");
    const two = await open("127.0.0.2", one.localPort);
    await until("both connections", () => handedOn.length === 2);
    two.resume();
    listener.cut(handedOn[0]!);
    await once(handedOn[0]!, "close");
    assert.equal(handedOn[1]!.destroyed, false);
    const closed = listener.close();
    listener.end();
    await closed;
    assert.equal(handedOn[1]!.destroyed, true);
  },
);

/** Connections that are idle or old are ended soon, and calls of /test answered with more than the sockets of a connection hold. */
class Door {
  readonly listener: GrpcListener;
  called = 0;
  readonly #metrics = new IngestMetrics(createMetrics("test"), () => 0);

  constructor(t: TestContext, certificates: Certificates | undefined) {
    const server = new Server({
      "grpc.enable_channelz": 0,
      "grpc.max_connection_idle_ms": 1_000,
      "grpc.max_connection_age_ms": 3_000,
      "grpc.max_connection_age_grace_ms": 1_000,
    });
    server.register(
      "/test",
      (_call: unknown, answer: sendUnaryData<Buffer>) => {
        this.called++;
        answer(null, Buffer.alloc(16 * 1_048_576));
      },
      (bytes) => bytes,
      (bytes) => bytes,
      "unary",
    );
    this.listener = new GrpcListener({
      injector: new GrpcInjector(server),
      maxConnections: 10,
      certificates,
      metrics: this.#metrics,
      log: pino({ level: "silent" }),
    });
    t.after(async () => {
      const closed = this.listener.close();
      this.listener.end();
      await closed;
      server.forceShutdown();
    });
  }

  async isEmpty(): Promise<void> {
    await until("the end of the connection", async () => {
      const { values } = await this.#metrics.connections.get();
      return values[0]?.value === 0;
    });
  }
}

suite("a connection ends with its session", { concurrency: true }, () => {
  for (const secure of [false, true]) {
    test(`though its client keeps its side open${secure ? ", under TLS" : ""}`, async (t) => {
      const { certFile, keyFile } = new TestCertificate(t);
      const certificates = new Certificates(certFile, keyFile, pino({ level: "silent" }));
      await certificates.start();
      t.after(() => certificates.stop());
      const door = new Door(t, secure ? certificates : undefined);
      const port = await door.listener.listen("127.0.0.1", 0);
      const target = { host: "127.0.0.1", port, allowHalfOpen: true };
      const client = secure
        ? connectTls({ ...target, ALPNProtocols: ["h2"], rejectUnauthorized: false })
        : connect(target);
      t.after(() => client.destroy());
      client.on("error", () => {});
      await once(client, secure ? "secureConnect" : "connect");
      client.write(OPENING);
      client.resume();
      await once(client, "end");
      await door.isEmpty();
    });
  }

  test("though its client does not read what was written", async (t) => {
    const door = new Door(t, undefined);
    const port = await door.listener.listen("127.0.0.1", 0);
    const client = await RawConnection.open(t, `http://127.0.0.1:${port}`);
    client.socket.pause();
    const headers = { "content-type": "application/grpc", te: "trailers" };
    client.write(Buffer.concat([WIDE_OPENING, callFrame(1, "/test", { end: false, headers })]));
    client.write(frame(FrameType.DATA, Flag.END_STREAM, 1, Buffer.alloc(5)));
    await until("the call", () => door.called === 1);
    await door.isEmpty();
  });
});
