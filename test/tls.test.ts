import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { promisify } from "node:util";

import { AdminService } from "../src/gen/penstock/v1/admin_service_pb.ts";
import { OrderService } from "../src/gen/penstock/v1/order_service_pb.ts";
import { Caller, refusalOf } from "./support/caller.ts";
import { TestCertificate } from "./support/certificates.ts";
import { eventually, tokenOf } from "./support/pipeline.ts";
import { processEnv } from "./support/process-env.ts";
import { TestStream } from "./support/stream.ts";
import { order, Venue } from "./support/venue.ts";

/** The gRPC door over TLS. */

const { submitOrder, getOrder } = OrderService.method;
const MAIN = join(import.meta.dirname, "..", "src", "main.ts");

test("the gRPC door over TLS", async (t) => {
  const files = new TestCertificate(t);
  const venue = await Venue.open(t, {
    PENSTOCK_TLS_CERT_FILE: files.certFile,
    PENSTOCK_TLS_KEY_FILE: files.keyFile,
  });
  const port = Number(venue.ingest.address.split(":").at(-1));
  const first = files.ca;
  const callerOf = async (ca: Buffer | undefined, role: "trader" | "admin" = "trader") => {
    // By name: to an address grpc-js makes no TLS connection.
    const caller = new Caller(`localhost:${port}`, `Bearer ${await tokenOf("demo", role)}`, ca);
    t.after(() => caller.close());
    return caller;
  };
  const shake = async (options: ConnectionOptions = {}): Promise<TLSSocket> => {
    const socket = connect({ port, host: "127.0.0.1", ca: files.ca, ALPNProtocols: ["h2"], ...options });
    t.after(() => socket.destroy());
    await once(socket, "secureConnect");
    return socket;
  };

  // They take ten seconds, so they begin now.
  const began = performance.now();
  const beginners = [connectTcp(port, "127.0.0.1"), await shake()].map((socket) => once(socket.resume(), "close"));

  const admin = await callerOf(first, "admin");
  const instrument = { symbol: "BTC-USD", tickSize: "0.01", lotSize: "0.00000001" };
  await admin.call(AdminService.method.upsertInstrument, { instrument });
  const before = await callerOf(first);

  await t.test("calls and streams; never in clear, nor with an older TLS, nor for another protocol", async () => {
    const { orderId } = await before.call(submitOrder, order("by-tls"));
    const stream = new TestStream(before);
    stream.send({ case: "submit", value: order("streamed") });
    assert.equal(await stream.close(), undefined);
    assert.deepEqual(await venue.logged(), ["by-tls", "streamed"]);
    assert.equal((await before.call(getOrder, { orderId })).order?.clientOrderId, "by-tls");

    const clear = await callerOf(undefined);
    assert.equal(
      (await refusalOf(clear.call(submitOrder, order("in-clear"), { deadlineMs: 1_000 }))).code,
      "UNAVAILABLE",
    );
    const stranger = await callerOf(new TestCertificate(t).ca);
    assert.equal((await refusalOf(stranger.call(submitOrder, order("x"), { deadlineMs: 1_000 }))).code, "UNAVAILABLE");
    await assert.rejects(shake({ ALPNProtocols: ["http/1.1"] }), /no application protocol/);
    const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    await assert.rejects(shake(old), /protocol version/);
    assert.equal((await shake({ minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })).getProtocol(), "TLSv1.2");
    assert.equal((await shake()).alpnProtocol, "h2");
  });

  await t.test("a renewed certificate is used without a restart, and connections go on", async () => {
    files.renew(7);
    const renewed = async () => (await shake({ rejectUnauthorized: false })).getPeerX509Certificate()?.fingerprint256;
    const old = (await shake({ ca: [first, files.ca] })).getPeerX509Certificate()?.fingerprint256;
    await eventually(async () => (await renewed()) !== old, "the renewed certificate");
    const after = await callerOf(files.ca);
    await after.call(submitOrder, order("after-renewal"));
    await before.call(submitOrder, order("on-the-old-connection"));
    // The HTTP port has it too.
    const [, seconds] = /^penstock_certificate_expiry_seconds.* (\d+)/m.exec(await venue.scrape(files.ca)) ?? [];
    assert.ok(Number(seconds) > 6 * 86_400);
    assert.ok(venue.ingest.lines.some((line) => line.includes("certificate renewed")));
  });

  await t.test("a key that is not the certificate's is kept out", async () => {
    const good = files.ca;
    files.renewKey();
    await venue.ingest.logged("THE RENEWED CERTIFICATE IS NOT USED");
    const caller = await callerOf(good);
    await caller.call(submitOrder, order("after-the-wrong-key"));
    files.renew();
    await eventually(async () => {
      const again = await callerOf(files.ca);
      return again.call(submitOrder, order("after-the-right-key"), { deadlineMs: 1_000 }).catch(() => undefined);
    }, "the next good pair");
  });

  await t.test("the command line reaches it", async () => {
    const run = promisify(execFile);
    const args = [MAIN, "instruments", "list", "--url", `https://localhost:${port}`, "--json"];
    const env = { ...processEnv(), PENSTOCK_TOKEN: await tokenOf("demo") };
    await assert.rejects(run(process.execPath, args, { env }), /UNAVAILABLE/);
    const { stdout } = await run(process.execPath, args, { env: { ...env, NODE_EXTRA_CA_CERTS: files.certFile } });
    assert.match(stdout, /BTC-USD/);
  });

  await t.test("who does not begin a handshake, or HTTP/2 after it, is cut; and it stops in time", async () => {
    await Promise.all(beginners);
    assert.ok(performance.now() - began > 9_000);
    const shaking = connectTcp(port, "127.0.0.1");
    await once(shaking, "connect");
    assert.equal(await venue.ingest.stop(), 0);
    assert.doesNotMatch(venue.ingest.lines.join("\n"), /PRIVATE KEY|"level":"fatal"/);
  });
});
