import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { Cors } from "./cors.ts";

async function serve(t: TestContext, origins: readonly string[]): Promise<string> {
  const cors = new Cors(origins);
  const server = createServer((request, response) => void (cors.answer(request, response) || response.end("answer")));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const A = "https://a.example";
const CASES: readonly (readonly [readonly string[], string, string | null, string | null])[] = [
  [[A, "http://localhost:5173"], A, A, "Origin"],
  [[A], "https://a.example.evil.example", null, "Origin"],
  [[A], "http://a.example", null, "Origin"],
  [[A], "null", null, "Origin"],
  [["*"], "https://b.example", "*", null],
  [[], A, null, null],
];

test("a preflight and a call of an origin that may, and of one that may not", async (t) => {
  for (const [origins, origin, allowed, vary] of CASES) {
    const url = await serve(t, origins);
    const preflight = await fetch(url, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization" },
    });
    assert.equal(preflight.status, allowed === null ? 403 : 204);
    const call = await fetch(url, { method: "POST", headers: { origin }, body: "x" });
    assert.equal(await call.text(), "answer");
    for (const { headers } of [preflight, call]) {
      assert.equal(headers.get("access-control-allow-origin"), allowed);
      assert.equal(headers.get("vary"), vary);
      assert.equal(headers.get("access-control-allow-credentials"), null);
    }
    const names = (name: string, { headers }: Response) => headers.get(name)?.toLowerCase().split(", ") ?? [];
    const may = names("access-control-allow-headers", preflight);
    for (const name of ["authorization", "content-type", "connect-protocol-version", "x-grpc-web", "grpc-timeout"]) {
      assert.equal(may.includes(name), allowed !== null, name);
    }
    const sees = names("access-control-expose-headers", call);
    for (const name of ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"]) {
      assert.equal(sees.includes(name), allowed !== null, name);
    }
  }
});

test("OPTIONS without a question of CORS is no preflight; without an origin nothing is allowed", async (t) => {
  const url = await serve(t, [A]);
  const options = await fetch(url, { method: "OPTIONS", headers: { origin: A } });
  assert.equal(await options.text(), "answer");
  const call = await fetch(url, { method: "POST" });
  assert.equal(call.headers.get("access-control-allow-origin"), null);
  assert.equal(await call.text(), "answer");
});
