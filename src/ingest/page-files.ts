import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import type { Logger } from "pino";
import { type HttpRequest, type HttpResponse, pathOf } from "../runtime/http-listener.ts";
import type { Service } from "../runtime/service.ts";

/** What Vite makes of web/. */
const DIST = join(import.meta.dirname, "..", "..", "web", "dist");
/** The page is some hundred kilobytes: beyond this, something else lies in its folder. */
const MAX_BYTES = 32 * 1024 * 1024;
/** What fits into one packet comes no sooner for being smaller. */
const COMPRESS_MIN_BYTES = 1_400;
/** Of 11: a tenth of the time of the last, for 5 % more bytes. It is done once, beside the event loop. */
const BROTLI_QUALITY = 9;

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
};
const COMPRESSED: ReadonlySet<string> = new Set([".html", ".js", ".css", ".json", ".webmanifest", ".svg", ".txt"]);

/** Vite puts what has a hash of its content in its name into this folder. */
const HASHED = "/assets/";
const FOR_EVER = "public, max-age=31536000, immutable";
const ASK_AGAIN = "no-cache";

/** Scripts, styles and calls of this origin alone, nothing inline; and no page around ours. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const SECURITY: readonly (readonly [name: string, value: string])[] = [
  ["content-security-policy", POLICY],
  ["x-content-type-options", "nosniff"],
  ["referrer-policy", "no-referrer"],
  ["cross-origin-opener-policy", "same-origin"],
  ["cross-origin-resource-policy", "same-origin"],
  ["permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"],
  ["x-frame-options", "DENY"],
];
/** A year: whoever came by TLS once comes by nothing else. */
const STRICT_TRANSPORT = "max-age=31536000";

const NOT_BUILT =
  "the page is not built: `npx vite build web` builds it; the API is served on this port all the same\n";

interface Variant {
  readonly body: Buffer;
  readonly encoding: "br" | "gzip" | undefined;
  readonly etag: string;
}

interface PageFile {
  readonly type: string;
  readonly cacheControl: string;
  /** The smallest first; the last one is as it is. */
  readonly variants: readonly Variant[];
}

export interface PageFilesOptions {
  /** Whether the port speaks TLS. */
  readonly isSecure: boolean;
  readonly log: Logger;
  /** Another one for tests. */
  readonly folder?: string;
}

/**
 * The web page, as it was built when this process started.
 *
 * Always true: only what lay in the folder at the start is served, out of memory; no path of a request reaches a file system.
 */
export class PageFiles implements Service {
  readonly name = "page";
  readonly #options: PageFilesOptions;
  #files: ReadonlyMap<string, PageFile> = new Map();

  constructor(options: PageFilesOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { folder = DIST, log } = this.#options;
    const found = await filesOf(folder);
    const files = await Promise.all(found.map(async (path) => [path, await load(folder, path)] as const));
    const bytes = files.reduce((sum, [, { variants }]) => sum + variants.at(-1)!.body.length, 0);
    if (bytes > MAX_BYTES) throw new Error(`${folder} holds ${bytes} bytes, which is no page: build it anew`);
    this.#files = new Map(files);
    const index = this.#files.get("/index.html");
    if (index === undefined) log.info({ folder }, "the page is not built: it is not served");
    else this.#files = new Map([...files, ["/", index]]);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  /** False where the path is none of the page's; else it ends the response. */
  answer(request: HttpRequest, response: HttpResponse): boolean {
    const path = pathOf(request);
    const file = this.#files.get(path);
    if (file === undefined && path !== "/") return false;
    for (const [name, value] of SECURITY) response.setHeader(name, value);
    if (this.#options.isSecure) response.setHeader("strict-transport-security", STRICT_TRANSPORT);
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      end(response, 405, "method not allowed\n");
    } else if (file === undefined) end(response, 404, NOT_BUILT);
    else give(file, request, response);
    return true;
  }
}

function end(response: HttpResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader("content-type", "text/plain");
  response.setHeader("cache-control", "no-store");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.end(text);
}

function give({ type, cacheControl, variants }: PageFile, request: HttpRequest, response: HttpResponse): void {
  const accepted = acceptedIn(request.headers["accept-encoding"]);
  const { body, encoding, etag } = variants.find(({ encoding }) => encoding === undefined || accepted.has(encoding))!;
  response.setHeader("content-type", type);
  response.setHeader("cache-control", cacheControl);
  response.setHeader("etag", etag);
  if (variants.length > 1) response.setHeader("vary", "Accept-Encoding");
  if (encoding !== undefined) response.setHeader("content-encoding", encoding);
  if (namesIn(request.headers["if-none-match"]).has(etag)) {
    response.statusCode = 304;
    response.end();
    return;
  }
  response.statusCode = 200;
  response.setHeader("content-length", body.length);
  response.end(request.method === "HEAD" ? undefined : body);
}

/** The codings that a client takes: those that it names, but for what it gives no weight. */
function acceptedIn(header: string | string[] | undefined): ReadonlySet<string> {
  const codings = String(header ?? "").split(",");
  const taken = codings.filter((coding) => !/;\s*q=0(\.0*)?\s*$/.test(coding));
  return new Set(taken.map((coding) => coding.split(";", 1)[0]!.trim().toLowerCase()));
}

/** Weak names are as good as others here: a name is that of the very bytes. */
function namesIn(header: string | undefined): ReadonlySet<string> {
  return new Set((header ?? "").split(",").map((name) => name.trim().replace(/^W\//, "")));
}

/** As paths of URLs. None where there is no such folder. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => `/${relative(folder, join(entry.parentPath, entry.name)).replaceAll(sep, "/")}`);
}

async function load(folder: string, path: string): Promise<PageFile> {
  const body = await readFile(join(folder, path));
  const extension = extname(path);
  const digest = createHash("sha256").update(body).digest("base64url").slice(0, 22);
  const variants: Variant[] = [{ body, encoding: undefined, etag: `"${digest}"` }];
  if (COMPRESSED.has(extension) && body.length > COMPRESS_MIN_BYTES) {
    const params = { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY };
    const [br, gz] = await Promise.all([
      promisify(brotliCompress)(body, { params }),
      promisify(gzip)(body, { level: 9 }),
    ]);
    variants.unshift(
      { body: br, encoding: "br", etag: `"${digest}-br"` },
      { body: gz, encoding: "gzip", etag: `"${digest}-gz"` },
    );
  }
  return {
    type: TYPES[extension] ?? "application/octet-stream",
    cacheControl: path.startsWith(HASHED) ? FOR_EVER : ASK_AGAIN,
    variants,
  };
}
