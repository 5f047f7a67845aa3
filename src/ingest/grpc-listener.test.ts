import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { pino } from "pino";
import { until } from "../../test/support/until.ts";
import { createMetrics } from "../telemetry/metrics.ts";
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
