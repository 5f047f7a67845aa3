import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Client, credentials, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { service } from "grpc-health-check";
import { GrpcHealth } from "./grpc-health.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const SERVICE = "test.v1.TestService";
const MIB = 1024 * 1024;

async function served(t: TestContext) {
  const health = new GrpcHealth([SERVICE]);
  const server = new Server();
  health.addTo(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.after(() => {
    client.close();
    server.forceShutdown();
  });
  const ask = (method: "Check" | "List", request: object) => {
    const { path, requestSerialize, responseDeserialize } = service[method]!;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, answer) =>
      resolve(error === null ? answer : error.code),
    );
    return promise;
  };
  const watch = (name: string) => {
    const { path, requestSerialize, responseDeserialize } = service["Watch"]!;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service: name });
    call.on("error", ({ code }: ServiceError) => assert.equal(code, status.CANCELLED));
    return call;
  };
  return { health, ask, watch };
}

test("each service is told of, and those who watch learn of the end", { timeout: 10_000 }, async (t) => {
  const { health, ask, watch } = await served(t);
  for (const service of ["", SERVICE]) {
    assert.deepEqual(await ask("Check", { service }), { status: "SERVING" });
  }
  assert.equal(await ask("Check", { service: "nobody" }), status.NOT_FOUND);
  const serving = { status: "SERVING" };
  assert.deepEqual(await ask("List", {}), { statuses: { "": serving, [SERVICE]: serving } });

  const [known, unknown] = [watch(SERVICE), watch("nobody")];
  assert.deepEqual(await once(known, "data"), [serving]);
  assert.deepEqual(await once(unknown, "data"), [{ status: "SERVICE_UNKNOWN" }]);
  health.stop();
  assert.deepEqual(await once(known, "data"), [{ status: "NOT_SERVING" }]);
  assert.deepEqual(await ask("Check", { service: "" }), { status: "NOT_SERVING" });
  for (const call of [known, unknown]) call.cancel();
});

test("names that were watched are not kept", { timeout: 20_000 }, async (t) => {
  const { watch } = await served(t);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 100; i++) {
    const call = watch(String(i).padStart(500_000, "x"));
    await once(call, "data");
    call.cancel();
  }
  collect();
  const left = (process.memoryUsage().heapUsed - before) / MIB;
  assert.ok(left < 20, `${Math.round(left)} MiB are left of 50`);
});
