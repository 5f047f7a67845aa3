import { cors } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "../runtime/http-listener.ts";

/** What a script may send: what the protocols need, its token, and an id to find the call by. */
const ALLOWED = [...cors.allowedHeaders, "Authorization", "X-Request-Id"].join(", ");
const EXPOSED = [...cors.exposedHeaders, "X-Request-Id"].join(", ");
/** No browser remembers a preflight for longer than two hours (Chrome) or a day (Firefox). */
const MAX_AGE_S = 7_200;

/**
 * Lets scripts of the pages of these origins call. Their calls carry a token: the cookie of a session is for our
 * own page alone (`SessionCookie`), so there is nothing that a page of another origin could borrow. What browsers are not told to allow they refuse by themselves.
 */
export class Cors {
  readonly #origins: ReadonlySet<string>;

  /** Origins such as `https://trade.example`; `*` is every one. */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
  }

  /** Says in the response's headers what its script may see. True where the request was a preflight: it is answered. */
  answer(request: HttpRequest, response: HttpResponse): boolean {
    const { origin } = request.headers;
    const preflight = request.method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined;
    const any = this.#origins.has("*");
    if (!any && this.#origins.size > 0) response.setHeader("vary", "Origin");
    const allowed = origin !== undefined && (any || this.#origins.has(origin));
    if (allowed) {
      response.setHeader("access-control-allow-origin", any ? "*" : origin);
      if (preflight) {
        response.setHeader("access-control-allow-methods", "POST");
        response.setHeader("access-control-allow-headers", ALLOWED);
        response.setHeader("access-control-max-age", MAX_AGE_S);
      } else {
        response.setHeader("access-control-expose-headers", EXPOSED);
      }
    }
    if (!preflight) return false;
    response.statusCode = allowed ? 204 : 403;
    response.end();
    return true;
  }
}
