import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { suite, test } from "node:test";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { pino } from "pino";
import { TestCertificate } from "../../test/support/certificates.ts";
import { OPENING } from "../../test/support/raw.ts";
import { until } from "../../test/support/until.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { Certificates } from "./certificates.ts";
import { GrpcListener } from "./grpc-listener.ts";
import { IngestMetrics } from "./metrics.ts";

test(
  "one port of a client, connected to two addresses: each is known by itself, up to the end",
  { timeout: 10_000 },
  async (t) => {
    const handedOn: Socket[] = [];
    const listener = new GrpcListener({
      injector: {
        injectConnection: (socket) => void handedOn.push(socket as Socket),
        drain: () => {},
        destroy: () => {},
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

suite("an idle connection ends, though its client keeps its side open", { concurrency: true }, () => {
  for (const secure of [false, true]) {
    test(secure ? "under TLS" : "in clear", async (t) => {
      const server = new Server({ "grpc.enable_channelz": 0, "grpc.max_connection_idle_ms": 200 });
      t.after(() => server.forceShutdown());
      const log = pino({ level: "silent" });
      const metrics = new IngestMetrics(createMetrics("test"), () => 0);
      const { certFile, keyFile } = new TestCertificate(t);
      const certificates = new Certificates(certFile, keyFile, log);
      await certificates.start();
      t.after(() => certificates.stop());
      const listener = new GrpcListener({
        injector: server.createConnectionInjector(ServerCredentials.createInsecure()),
        maxConnections: 10,
        certificates: secure ? certificates : undefined,
        metrics,
        log,
      });
      const port = await listener.listen("127.0.0.1", 0);
      t.after(async () => {
        const closed = listener.close();
        listener.end();
        await closed;
      });
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
      await until("the end of the connection", async () => {
        const { values } = await metrics.connections.get();
        return values[0]?.value === 0;
      });
    });
  }
});
