import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { test } from "node:test";

import { RequestError } from "./errors.ts";
import { SessionCookie } from "./session-cookie.ts";

const OWN = { host: "venue.example:8080", origin: "http://venue.example:8080" };

/** What a request with a cookie is authorised by, or the code of its refusal. */
function authorised(headers: IncomingHttpHeaders, isSecure = false): string | undefined {
  const name = isSecure ? "__Host-penstock" : "penstock";
  try {
    return new SessionCookie(isSecure).authorizationOf({ cookie: `a=b; ${name}=t.o=k; c=d`, ...headers });
  } catch (error) {
    assert.ok(error instanceof RequestError);
    return error.code;
  }
}

test("the cookie authorises what a page of this origin asks for", () => {
  assert.equal(authorised(OWN), "Bearer t.o=k");
  assert.equal(authorised({ "sec-fetch-site": "same-origin" }), "Bearer t.o=k");
  // Behind a proxy that changes the host the browser's word counts.
  assert.equal(authorised({ ...OWN, host: "10.0.0.7", "sec-fetch-site": "same-origin" }), "Bearer t.o=k");
  const secure = { ":authority": "venue.example", origin: "https://venue.example" } as IncomingHttpHeaders;
  assert.equal(authorised(secure, true), "Bearer t.o=k");
});

test("and nothing else", () => {
  const cases: IncomingHttpHeaders[] = [
    {},
    { host: OWN.host },
    { ...OWN, origin: "null" },
    { ...OWN, origin: "http://venue.example" },
    { ...OWN, origin: "http://venue.example:8081" },
    { ...OWN, origin: "http://evil.example" },
    { ...OWN, "sec-fetch-site": "same-site" },
    { ...OWN, "sec-fetch-site": "cross-site" },
    { ...OWN, "sec-fetch-site": "none" },
  ];
  for (const headers of cases) assert.equal(authorised(headers), "PERMISSION_DENIED", JSON.stringify(headers));
  // A page in clear is not the one behind TLS.
  assert.equal(authorised({ host: "venue.example", origin: "http://venue.example" }, true), "PERMISSION_DENIED");
});

test("no cookie, no word: the request may have a token, or is nobody's", () => {
  assert.equal(authorised({ cookie: undefined }), undefined);
  assert.equal(authorised({ cookie: "penstock=" }), undefined);
  assert.equal(authorised({ cookie: "xpenstock=t; penstockx=t" }), undefined);
  assert.equal(authorised({ ...OWN, cookie: "penstock=t" }, true), undefined);
});

test("a session is started and ended by the cookie's own attributes, and for no page of another origin", () => {
  for (const isSecure of [false, true]) {
    const cookie = new SessionCookie(isSecure);
    const answer = new Headers();
    cookie.keeperFor({}, answer)?.start("token", Date.now() + 60_500);
    const attributes = `Path=/; HttpOnly; SameSite=Strict${isSecure ? "; Secure" : ""}`;
    const name = isSecure ? "__Host-penstock" : "penstock";
    assert.deepEqual(answer.getSetCookie(), [`${name}=token; Max-Age=60; ${attributes}`]);
    const last = new Headers();
    cookie.keeperFor({ "sec-fetch-site": "same-origin" }, last)?.end();
    assert.deepEqual(last.getSetCookie(), [`${name}=; Max-Age=0; ${attributes}`]);
    assert.equal(cookie.keeperFor({ "sec-fetch-site": "cross-site" }, answer), undefined);
    assert.equal(cookie.keeperFor({ ...OWN, origin: "https://evil.example" }, answer), undefined);
  }
});
