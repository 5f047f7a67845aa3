import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as send } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { RequestError } from "./errors.ts";
import { BodyReader } from "./http-body.ts";

/** A client that has begun a request, and the request as the server has it. */
async function begin(t: TestContext, headers: Record<string, string> = {}): Promise<[ClientRequest, IncomingMessage]> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo;
  const client = send({ port, host: "127.0.0.1", method: "POST", agent: false, headers });
  client.on("error", () => {});
  client.flushHeaders();
  const [request] = (await once(server, "request")) as [IncomingMessage];
  return [client, request];
}

const never = new AbortController().signal;
const refused = (code: string) => (error: unknown) => error instanceof RequestError && error.code === code;

test("a body in many pieces comes whole", async (t) => {
  const reader = new BodyReader(10_000);
  const [client, request] = await begin(t);
  const body = reader.read(request, 10_000, never);
  const pieces = Array.from({ length: 500 }, (_, i) => `piece ${i}, `);
  for (const piece of pieces) client.write(piece);
  client.end();
  assert.equal((await body).toString(), pieces.join(""));
  const [, empty] = await begin(t, { "content-length": "0" });
  assert.equal((await reader.read(empty, 10_000, never)).length, 0);
});

test("a body may be as large as allowed, and not larger", async (t) => {
  const reader = new BodyReader(10_000);
  // Besides a message, gRPC-Web sends five bytes.
  const [client, request] = await begin(t);
  client.end("x".repeat(1_005));
  assert.equal((await reader.read(request, 1_000, never)).length, 1_005);
  const [other, larger] = await begin(t);
  other.end("x".repeat(1_006));
  await assert.rejects(reader.read(larger, 1_000, never), refused("RESOURCE_EXHAUSTED"));
  const [, promised] = await begin(t, { "content-length": "1006" });
  await assert.rejects(reader.read(promised, 1_000, never), refused("RESOURCE_EXHAUSTED"));
});

test("all bodies together have a bound, and what ends in any way makes room", async (t) => {
  const reader = new BodyReader(5_000);
  const out = new AbortController();
  const [first, firstRequest] = await begin(t);
  const [second, secondRequest] = await begin(t);
  const firstBody = reader.read(firstRequest, 4_000, out.signal);
  const secondBody = reader.read(secondRequest, 4_000, never);
  first.write("x".repeat(4_000));
  await once(firstRequest, "data");
  second.write("x".repeat(4_000));
  await assert.rejects(
    secondBody,
    (error) => refused("RESOURCE_EXHAUSTED")(error) && (error as RequestError).retryAfterMs! > 0,
  );
  out.abort(new Error("out of time"));
  await assert.rejects(firstBody, /out of time/);

  const [third, thirdRequest] = await begin(t);
  const thirdBody = reader.read(thirdRequest, 4_000, never);
  third.write("x".repeat(4_000));
  await once(thirdRequest, "data");
  third.destroy();
  await assert.rejects(thirdBody, refused("CANCELLED"));

  const [fourth, fourthRequest] = await begin(t);
  fourth.end("x".repeat(4_000));
  assert.equal((await reader.read(fourthRequest, 4_000, never)).length, 4_000);
});

test("out of time before it began", async (t) => {
  const [, request] = await begin(t);
  await assert.rejects(new BodyReader(1_000).read(request, 1_000, AbortSignal.abort(new Error("late"))), /late/);
});
