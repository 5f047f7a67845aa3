import type { IncomingHttpHeaders } from "node:http";
import type { SessionKeeper } from "./call.ts";
import { RequestError } from "./errors.ts";

const ELSEWHERE = new RequestError(
  "PERMISSION_DENIED",
  'a session is for pages of this server: others send their token as "authorization: Bearer <token>"',
);

/** Who made a request, as the browser says; what is no browser says nothing. */
type Maker = "own page" | "elsewhere" | "unsaid";

/**
 * The session of a browser: the token that other clients send in "authorization", in a cookie that no script can read. A browser
 * adds it by itself, to what pages of others ask for as well.
 *
 * Always true: the cookie authorises a request only where the browser says that a page of this very origin made it.
 */
export class SessionCookie {
  readonly #isSecure: boolean;
  readonly #name: string;
  readonly #attributes: string;

  /** `isSecure`: behind TLS, where the browser holds it to that, and to this host alone. */
  constructor(isSecure: boolean) {
    this.#isSecure = isSecure;
    this.#name = isSecure ? "__Host-penstock" : "penstock";
    this.#attributes = `Path=/; HttpOnly; SameSite=Strict${isSecure ? "; Secure" : ""}`;
  }

  /** The value that the header "authorization" would have, where a cookie stands in its place. Throws PERMISSION_DENIED. */
  authorizationOf(headers: IncomingHttpHeaders): string | undefined {
    const token = this.#tokenIn(headers.cookie);
    if (token === undefined) return undefined;
    if (this.#makerOf(headers) !== "own page") throw ELSEWHERE;
    return `Bearer ${token}`;
  }

  /** What starts and ends the session of whoever made a request; undefined for a page of another origin. */
  keeperFor(headers: IncomingHttpHeaders, answer: Headers): SessionKeeper | undefined {
    if (this.#makerOf(headers) === "elsewhere") return undefined;
    const set = (value: string, seconds: number) =>
      answer.append("set-cookie", `${this.#name}=${value}; Max-Age=${seconds}; ${this.#attributes}`);
    return {
      start: (token, expiresAtMs) => set(token, Math.max(0, Math.floor((expiresAtMs - Date.now()) / 1000))),
      end: () => set("", 0),
    };
  }

  #tokenIn(cookies: string | undefined): string | undefined {
    for (const cookie of cookies?.split(";") ?? []) {
      const equals = cookie.indexOf("=");
      if (cookie.slice(0, equals).trim() === this.#name) return cookie.slice(equals + 1).trim() || undefined;
    }
    return undefined;
  }

  /** Browsers tell the site over TLS and on the machine itself, and the origin with every POST. */
  #makerOf(headers: IncomingHttpHeaders): Maker {
    const site = headers["sec-fetch-site"];
    if (site !== undefined) return site === "same-origin" ? "own page" : "elsewhere";
    const { origin } = headers;
    if (origin === undefined) return "unsaid";
    const host = headers.host ?? headers[":authority"];
    const { protocol, host: made } = URL.canParse(origin) ? new URL(origin) : { protocol: "", host: undefined };
    return made === host && (!this.#isSecure || protocol === "https:") ? "own page" : "elsewhere";
  }
}
