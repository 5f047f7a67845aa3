import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import { SubmitOrdersResponseSchema } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { startServer } from "../child-server.ts";
import { runLoad } from "../load/load.ts";
import { OrderBodies } from "../load/orders.ts";

const options = { host: "127.0.0.1", token: "x", run: "run", symbol: "BTC-USD", warmupSeconds: 0.1, connections: 3 };

test("the generator and a grpc-js client see the same answers", async (t) => {
  const { port, stop } = await startServer("noop/main.ts");
  t.after(stop);
  const orders = new OrderBodies({ run: "run", symbol: "BTC-USD", batch: 10 });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.after(() => client.close());
  const { results } = await new Promise<ReturnType<typeof decode>>((resolve, reject) => {
    const path = "/penstock.v1.OrderService/SubmitOrders";
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      decode,
      orders.body(0).subarray(5),
      (error, answer) => {
        if (answer === undefined) reject(error ?? new Error("no answer"));
        else resolve(answer);
      },
    );
  });
  const seen = results.map(({ result }) => (result.case === "accepted" ? result.value : undefined));

  const folder = await mkdtemp(join(tmpdir(), "penstock-bench-"));
  t.after(() => rm(folder, { recursive: true }));
  for (const batch of [0, 10]) {
    const { report, record } = await runLoad({ ...options, port, batch, matched: false, rate: 500, seconds: 0.2 });
    assert.deepEqual(
      { ...report, rate: 0, latencyMs: 0, latenessMs: 0, cpuSeconds: 0, cpuMicrosPerCall: 0, startedUs: 0, endedUs: 0 },
      {
        sent: 150,
        acknowledged: 150,
        duplicates: 0,
        refused: 0,
        errors: 0,
        problems: {},
        rate: 0,
        latencyMs: 0,
        latenessMs: 0,
        cpuSeconds: 0,
        cpuMicrosPerCall: 0,
        startedUs: 0,
        endedUs: 0,
      },
    );
    assert.ok(report.latencyMs.p50 > 0 && report.startedUs < report.endedUs);

    const file = join(folder, `${batch}.tsv`);
    await record.write(file, "run", "BTC-USD");
    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    const fields = lines.map((line) => line.split("\t"));
    fields.sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
    assert.equal(fields.length, 150);
    seen.forEach((answer, at) => {
      assert.deepEqual(fields[at]?.slice(0, 3), [answer?.clientOrderId, "BTC-USD", answer?.orderId]);
    });
    for (const [, , , time] of fields) {
      assert.ok(Number(time) >= report.startedUs && Number(time) <= report.endedUs);
    }
  }
});

function decode(bytes: Buffer) {
  return fromBinary(SubmitOrdersResponseSchema, bytes);
}
