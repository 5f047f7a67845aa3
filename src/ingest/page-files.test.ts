import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

import { createLog } from "../telemetry/log.ts";
import { PageFiles } from "./page-files.ts";

const HTML = `<!doctype html><title>Penstock</title><script src="/assets/app-1a2b.js"></script>`;
const SCRIPT = "console.log('a page');\n".repeat(500);

async function serve(t: TestContext, { isSecure = false, built = true } = {}): Promise<string> {
  const outer = mkdtempSync(join(tmpdir(), "penstock-test-page-"));
  t.after(() => rmSync(outer, { recursive: true }));
  writeFileSync(join(outer, "secret"), "not the page's");
  const folder = join(outer, "dist");
  if (built) {
    mkdirSync(join(folder, "assets"), { recursive: true });
    writeFileSync(join(folder, "index.html"), HTML);
    writeFileSync(join(folder, "assets", "app-1a2b.js"), SCRIPT);
    writeFileSync(join(folder, "icon.svg"), "<svg/>");
  }
  const page = new PageFiles({ isSecure, folder, log: createLog("test", "silent") });
  await page.start();
  const server = createServer((request, response) => {
    if (page.answer(request, response)) return;
    response.statusCode = 418;
    response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Without what fetch does by itself: it asks for codings and unpacks them, and mends paths. */
async function get(url: string, headers: Record<string, string> = {}, method = "GET"): Promise<IncomingMessage> {
  const asked = httpRequest(url, { method, headers, agent: false }).end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return response;
}

test("the page at the root, never kept, with its policy", async (t) => {
  const url = await serve(t);
  const response = await get(`${url}/?a=b`);
  assert.equal(response.statusCode, 200);
  const { headers } = response;
  assert.equal(await text(response), HTML);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  assert.equal(headers["cache-control"], "no-cache");
  assert.equal(headers["content-length"], String(HTML.length));
  const policy = new Map(
    String(headers["content-security-policy"])
      .split("; ")
      .map((rule): [string, string] => [rule.slice(0, rule.indexOf(" ")), rule]),
  );
  assert.equal(policy.get("default-src"), "default-src 'none'");
  assert.equal(policy.get("connect-src"), "connect-src 'self'");
  assert.equal(policy.get("frame-ancestors"), "frame-ancestors 'none'");
  assert.doesNotMatch(String(headers["content-security-policy"]), /unsafe|\*|https?:/);
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "no-referrer");
  assert.equal(headers["cross-origin-opener-policy"], "same-origin");
  assert.equal(headers["strict-transport-security"], undefined);
  const secure = await get(await serve(t, { isSecure: true }));
  assert.equal(secure.headers["strict-transport-security"], "max-age=31536000");
});

test("what has a hash in its name is kept for ever, and packed as the client takes it", async (t) => {
  const url = `${await serve(t)}/assets/app-1a2b.js`;
  const plain = await get(url);
  assert.equal(plain.headers["cache-control"], "public, max-age=31536000, immutable");
  assert.equal(plain.headers["content-encoding"], undefined);
  assert.equal(await text(plain), SCRIPT);

  const br = await get(url, { "accept-encoding": "gzip, deflate, br" });
  assert.equal(br.headers["content-encoding"], "br");
  assert.equal(br.headers["vary"], "Accept-Encoding");
  assert.equal(brotliDecompressSync(await buffer(br)).toString(), SCRIPT);
  const gzip = await get(url, { "accept-encoding": "br;q=0, GZIP;q=0.5" });
  assert.equal(gzip.headers["content-encoding"], "gzip");
  assert.equal(gunzipSync(await buffer(gzip)).toString(), SCRIPT);
  assert.equal(new Set([plain, br, gzip].map(({ headers }) => headers.etag)).size, 3);
});

test("whoever has it already is told so", async (t) => {
  const url = await serve(t);
  const { etag } = (await get(url)).headers;
  const again = await get(url, { "if-none-match": `"other", W/${etag}` });
  assert.equal(again.statusCode, 304);
  assert.equal(again.headers.etag, etag);
  assert.equal(await text(again), "");
  assert.equal((await get(url, { "if-none-match": '"other"' })).statusCode, 200);
});

test("HEAD is GET without the body, and other methods are none", async (t) => {
  const url = await serve(t);
  const head = await get(url, {}, "HEAD");
  assert.equal(head.statusCode, 200);
  assert.equal(head.headers["content-length"], String(HTML.length));
  assert.equal(await text(head), "");
  const post = await get(url, {}, "POST");
  assert.equal(post.statusCode, 405);
  assert.equal(post.headers.allow, "GET, HEAD");
});

test("no path leads out of the folder", async (t) => {
  const url = new URL(await serve(t));
  const paths = [
    "/../secret",
    "/assets/../../secret",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "/assets/..\\..\\secret",
    "//secret",
    "/./index.html",
    "/index.html/",
    "/index.html%00.js",
    "/assets",
    "/assets/",
    "/no-such-thing",
    "*",
    "secret",
  ];
  for (const path of paths) {
    const socket = connect(Number(url.port), url.hostname);
    socket.end(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    const answer = await text(socket);
    // 400 where Node itself takes it for no path.
    assert.match(answer, /^HTTP\/1\.1 (418|400) /, path);
    assert.doesNotMatch(answer, /not the page's/, path);
  }
});

test("a page that is not built says so, and is nothing else", async (t) => {
  const url = await serve(t, { built: false });
  const root = await get(url);
  assert.equal(root.statusCode, 404);
  assert.match(await text(root), /not built/);
  assert.equal((await get(`${url}/index.html`)).statusCode, 418);
});
