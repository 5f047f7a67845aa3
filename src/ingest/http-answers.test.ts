import assert from "node:assert/strict";
import { test } from "node:test";

import { TestCertificate } from "../../test/support/certificates.ts";
import { callFrame, RawConnection, WIDE_OPENING } from "../../test/support/raw.ts";
import { until } from "../../test/support/until.ts";
import { HttpListener } from "../runtime/http-listener.ts";
import type { HttpResponse } from "../runtime/http-listener.ts";
import { cut, pour } from "./http-answers.ts";

/** More than the sockets between a client and a server hold. */
const LARGE = new Uint8Array(16 * 1_048_576);

async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield LARGE;
}

test("an answer that is cut is poured no further, though its client has not seen the end yet", async (t) => {
  const certificate = new TestCertificate(t);
  let response: HttpResponse | undefined;
  let poured = false;
  const gone = new AbortController();
  const listener = new HttpListener({
    bind: "127.0.0.1",
    port: 0,
    limits: {
      connections: 10,
      headerBytes: 8_192,
      headers: 50,
      receiveMs: 10_000,
      answerMs: 60_000,
      idleMs: 10_000,
      ageMs: 60_000,
    },
    certificates: { current: certificate.current, onRenewal: () => () => {} },
    onRequest: (request, answer) => {
      response = answer;
      request.once("close", () => gone.abort());
      void pour(answer, { status: 200, body: endless() }, gone.signal).then(() => (poured = true));
    },
    onError: () => {},
  });
  await listener.start();
  t.after(() => listener.stop());
  const client = await RawConnection.open(t, listener.url, "h2");
  client.socket.pause();
  client.write(Buffer.concat([WIDE_OPENING, callFrame(1, "/")]));
  await until("what is not read", () => response?.writableNeedDrain === true);
  cut(response!);
  await until("the end", () => poured);
  assert.equal(gone.signal.aborted, false);
});
