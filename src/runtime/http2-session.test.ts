import type { Server, Socket } from "node:net";
import { after, suite, test } from "node:test";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

import { FrameType } from "../../bench/load/frames.ts";
import { TestCertificate } from "../../test/support/certificates.ts";
import { callFrame, frame, RawConnection, WIDE_OPENING } from "../../test/support/raw.ts";
import { until } from "../../test/support/until.ts";
import { HttpListener } from "./http-listener.ts";

const CERTIFICATE = new TestCertificate({ after: (end) => after(end) });
/** More than the sockets between a client and a server hold. */
const LARGE = Buffer.alloc(16 * 1_048_576);

const RESET = frame(FrameType.RST_STREAM, 0, 1, Buffer.from([0, 0, 0, 8]));
const GOAWAY = frame(FrameType.GOAWAY, 0, 0, Buffer.alloc(8));

/** A port with short times, whose every answer is large. */
class Port {
  readonly listener: HttpListener;
  asked = 0;
  answered = 0;
  #server: Server | undefined;

  constructor(t: TestContext) {
    this.listener = new HttpListener({
      bind: "127.0.0.1",
      port: 0,
      limits: {
        connections: 20,
        headerBytes: 8_192,
        headers: 50,
        receiveMs: 3_000,
        answerMs: 1_000,
        idleMs: 500,
        ageMs: 2_000,
      },
      certificates: { current: CERTIFICATE.current, onRenewal: () => () => {} },
      onRequest: (request, response) => {
        this.#server = (request.socket as Socket & { readonly server: Server }).server;
        this.asked++;
        response.on("error", () => {});
        response.once("close", () => this.answered++);
        response.end(LARGE);
      },
      onError: () => {},
    });
    t.after(() => this.listener.stop());
  }

  /** A client that asks so often, and reads nothing. */
  async deafClient(t: TestContext, requests: number): Promise<RawConnection> {
    const client = await RawConnection.open(t, this.listener.url, "h2");
    client.socket.pause();
    const calls = Array.from({ length: requests }, (_, n) => callFrame(2 * n + 1, "/"));
    client.write(Buffer.concat([WIDE_OPENING, ...calls]));
    return client;
  }

  async connections(): Promise<number> {
    const server = this.#server!;
    return promisify(server.getConnections.bind(server))();
  }

  /** Nothing of its clients is held. */
  async isEmpty(): Promise<void> {
    await until("the end of all requests", () => this.answered === this.asked);
    await until("the end of all connections", async () => (await this.connections()) === 0);
  }
}

suite("HTTP/2: a client that reads nothing is cut", { concurrency: true }, () => {
  test("with requests under way", async (t) => {
    const port = new Port(t);
    await port.listener.start();
    await Promise.all(Array.from({ length: 3 }, () => port.deafClient(t, 10)));
    await until("the requests", async () => port.asked >= 3 && (await port.connections()) === 3);
    await port.isEmpty();
  });

  test("without one", async (t) => {
    const port = new Port(t);
    await port.listener.start();
    const client = await port.deafClient(t, 1);
    await until("the request", () => port.asked === 1);
    client.write(RESET);
    await port.isEmpty();
  });

  test("that have said goodbye, and stay until they have grown old", async (t) => {
    const port = new Port(t);
    await port.listener.start();
    const client = await port.deafClient(t, 1);
    await until("the request", () => port.asked === 1);
    client.write(Buffer.concat([RESET, GOAWAY]));
    await port.isEmpty();
  });
});
