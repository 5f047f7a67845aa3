import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { messageOf } from "../runtime/errors.ts";
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
}

/** Probes commonly wait 1 s or more; a check that needs longer is a failed one. */
const checkTimeoutMs = 800;
/** Probes and scrapers are few. Beyond this a connection is closed at once. */
const maxConnections = 64;
/** A probe sends a dozen short headers. */
const maxHeaderBytes = 8_192;
/** From the first byte to the last of a request; an idle connection is kept as long. */
const openTimeMs = 5_000;

/**
 * The small HTTP port that every role has: `/healthz` (the process answers), `/readyz` (what it needs is there) and
 * `/metrics`. None of them is logged. Any number of probes at once is one run of the checks.
 */
export class HttpServer implements Service {
  readonly name = "http";
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  #running: Promise<Record<string, string>> | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: maxHeaderBytes,
        headersTimeout: openTimeMs,
        requestTimeout: openTimeMs,
        keepAliveTimeout: openTimeMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => {
        this.#answer(request, response).catch((error: unknown) => {
          options.log.error({ err: error }, "http request failed");
          if (response.headersSent) response.destroy();
          else send(response, 500, "text/plain", "internal error\n");
        });
      },
    );
    this.#server.maxConnections = maxConnections;
  }

  /** Where it listens, once it has started: `http://127.0.0.1:8080`. */
  get url(): string {
    const { address, port, family } = this.#server.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  async start(): Promise<void> {
    this.#server.listen(this.#options.port, this.#options.bind);
    await once(this.#server, "listening");
    this.#options.log.info({ url: this.url }, "health and metrics");
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    // Whoever still asks is a probe; it asks again.
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split("?", 1)[0];
    if (path !== "/healthz" && path !== "/readyz" && path !== "/metrics") {
      return send(response, 404, "text/plain", "not found: /healthz, /readyz and /metrics are here\n");
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      // What else it sends is not read.
      response.setHeader("connection", "close");
      return send(response, 405, "text/plain", "method not allowed\n");
    }
    if (path === "/healthz") return send(response, 200, "text/plain", "ok\n");
    if (path === "/metrics") {
      const { registry } = this.#options.metrics;
      return send(response, 200, registry.contentType, await registry.metrics());
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

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}
