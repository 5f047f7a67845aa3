import { messageOf } from "../runtime/errors.ts";
import { HttpListener, pathOf } from "../runtime/http-listener.ts";
import type { CertificateSource, HttpLimits, HttpRequest, HttpResponse } from "../runtime/http-listener.ts";
import type { Service } from "../runtime/service.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { redact } from "./redact.ts";

/** Resolves where what it looks at is ready; rejects with the reason where not. The signal ends its time. */
export type Check = (signal: AbortSignal) => Promise<void>;

export interface HttpServerOptions {
  readonly bind: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly log: Log;
  /** Of this process, or of several. */
  readonly metrics: { readonly registry: Pick<Metrics["registry"], "contentType" | "metrics"> };
  /** By name, which `/readyz` gives where a check fails. */
  readonly checks: Readonly<Record<string, Check>>;
  /** What else is served on this port. */
  readonly routes?: HttpRoutes;
}

/** What a role serves beside its health, and to what it holds the clients of the port. */
export interface HttpRoutes {
  readonly limits: HttpLimits;
  readonly certificates: CertificateSource | undefined;
  /** False where the path is none of its own; else it ends the response. Must not throw. */
  answer(request: HttpRequest, response: HttpResponse): boolean;
}

/** Probes commonly wait 1 s or more; a check that needs longer is a failed one. */
const checkTimeoutMs = 800;
/** Of a port for health and metrics alone. */
const PROBES: HttpLimits = {
  // Probes and scrapers are few, and send a dozen short headers each.
  connections: 64,
  headerBytes: 8_192,
  headers: 100,
  receiveMs: 5_000,
  answerMs: 10_000,
  idleMs: 5_000,
  ageMs: 3_600_000,
};

/**
 * The HTTP port that every role has: `/healthz` (the process answers), `/readyz` (what it needs is there), `/metrics`, and
 * what else the role serves. None of the three is logged. Any number of probes at once is one run of the checks, any number
 * of scrapes at once one collection.
 */
export class HttpServer implements Service {
  readonly name = "http";
  readonly #options: HttpServerOptions;
  readonly #listener: HttpListener;
  #running: Promise<Record<string, string>> | undefined;
  #collecting: Promise<string> | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { bind, port, log, routes } = options;
    this.#listener = new HttpListener({
      bind,
      port,
      limits: routes?.limits ?? PROBES,
      certificates: routes?.certificates,
      onRequest: (request, response) => {
        this.#answer(request, response).catch((error: unknown) => {
          log.error({ err: error }, "http request failed");
          if (response.headersSent) response.destroy();
          else send(response, 500, "text/plain", "internal error\n");
        });
      },
      onError: (error) => log.error({ err: error }, "a connection could not be taken"),
    });
  }

  /** Where it listens, once it has started: `http://127.0.0.1:8080`. */
  get url(): string {
    return this.#listener.url;
  }

  async start(): Promise<void> {
    await this.#listener.start();
    this.#options.log.info({ url: this.url }, "health and metrics");
  }

  async stop(): Promise<void> {
    await this.#listener.stop();
  }

  async #answer(request: HttpRequest, response: HttpResponse): Promise<void> {
    const path = pathOf(request);
    if (path !== "/healthz" && path !== "/readyz" && path !== "/metrics") {
      if (this.#options.routes?.answer(request, response)) return;
      return send(response, 404, "text/plain", "not found: /healthz, /readyz and /metrics are here\n");
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      return send(response, 405, "text/plain", "method not allowed\n");
    }
    if (path === "/healthz") return send(response, 200, "text/plain", "ok\n");
    if (path === "/metrics") {
      const { registry } = this.#options.metrics;
      this.#collecting ??= registry.metrics().finally(() => (this.#collecting = undefined));
      return send(response, 200, registry.contentType, await this.#collecting);
    }
    this.#running ??= this.#check().finally(() => (this.#running = undefined));
    const failing = await this.#running;
    const ready = Object.keys(failing).length === 0;
    send(response, ready ? 200 : 503, "application/json", `${JSON.stringify({ ready, failing })}\n`);
  }

  /** The reasons of the checks that fail, by name. */
  async #check(): Promise<Record<string, string>> {
    const failing: Record<string, string> = {};
    const runs = Object.entries(this.#options.checks).map(async ([name, check]) => {
      const signal = AbortSignal.timeout(checkTimeoutMs);
      const late = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => late.reject(new Error(`no answer within ${checkTimeoutMs} ms`)));
      try {
        await Promise.race([check(signal), late.promise]);
      } catch (error) {
        failing[name] = redact(messageOf(error));
      }
    });
    await Promise.all(runs);
    return failing;
  }
}

function send(response: HttpResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}
