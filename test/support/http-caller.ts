import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { TestContext } from "node:test";

import { create, createRegistry, fromJson, toJson } from "@bufbuild/protobuf";
import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  JsonValue,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import type { Transport } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { compressionGzip, createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Http2SessionManager } from "@connectrpc/connect-node";

import { BadRequestSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import { CODES } from "../../src/ingest/errors.ts";
import { Refusal } from "./caller.ts";

/** The ways into the HTTP port: connect-node's clients, and fetch as a browser or a script has it. */
export const WAYS = ["Connect JSON", "Connect", "Connect gzip", "gRPC-Web", "gRPC-Web JSON", "fetch"] as const;
export type Way = (typeof WAYS)[number];

export interface HttpCallerOptions {
  readonly way: Way;
  readonly token?: string | undefined;
  /** HTTP/2 is for TLS only. */
  readonly http2?: boolean;
  /** The certificate that is trusted, where the port speaks TLS. */
  readonly ca?: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A client of the HTTP port with connections of its own, which end with the test. */
export class HttpCaller {
  readonly #transport: Transport | undefined;
  readonly #baseUrl: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(t: TestContext, baseUrl: string, { way, token, http2 = false, ca, headers = {} }: HttpCallerOptions) {
    this.#baseUrl = baseUrl;
    this.#headers = token === undefined ? headers : { authorization: `Bearer ${token}`, ...headers };
    if (way === "fetch") return;
    // Refusals within a batch's answer hold their details as google.protobuf.Any.
    const format = { baseUrl, useBinaryFormat: !way.endsWith("JSON"), jsonOptions: { registry } };
    const packing = way === "Connect gzip" ? { sendCompression: compressionGzip, compressMinBytes: 1 } : {};
    const make = way.startsWith("gRPC-Web") ? createGrpcWebTransport : createConnectTransport;
    if (http2) {
      const sessionManager = new Http2SessionManager(baseUrl, {}, { ...(ca && { ca }) });
      t.after(() => sessionManager.abort());
      this.#transport = make({ ...format, ...packing, httpVersion: "2", sessionManager });
    } else {
      const agent = ca === undefined ? new HttpAgent({ keepAlive: true }) : new HttpsAgent({ keepAlive: true, ca });
      t.after(() => agent.destroy());
      this.#transport = make({ ...format, ...packing, httpVersion: "1.1", nodeOptions: { agent } });
    }
  }

  /** @throws Refusal */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { deadlineMs }: { readonly deadlineMs?: number } = {},
  ): Promise<MessageShape<O>> {
    if (this.#transport === undefined) return this.#fetch(method, request, deadlineMs);
    try {
      const { message } = await this.#transport.unary(method, undefined, deadlineMs, this.#headers, request);
      return message;
    } catch (error) {
      throw refusalOfConnect(error);
    }
  }

  /** Until the signal, or the end. @throws Refusal */
  async *watch<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
    deadlineMs?: number,
  ): AsyncGenerator<MessageShape<O>> {
    try {
      if (this.#transport === undefined) {
        yield* this.#fetchStream(method, request, signal, deadlineMs);
      } else {
        const input = createAsyncIterable([request]);
        const { message } = await this.#transport.stream(method, signal, deadlineMs, this.#headers, input);
        yield* message;
      }
    } catch (error) {
      throw refusalOfConnect(error);
    }
  }

  /** By hand, as a browser has it: JSON in Connect's envelopes. */
  async *#fetchStream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
    deadlineMs: number | undefined,
  ): AsyncGenerator<MessageShape<O>> {
    const json = Buffer.from(JSON.stringify(toJson(method.input, create(method.input, request))));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(json.length, 1);
    const response = await fetch(`${this.#baseUrl}/${method.parent.typeName}/${method.name}`, {
      method: "POST",
      signal,
      headers: {
        "content-type": "application/connect+json",
        ...(deadlineMs !== undefined && { "connect-timeout-ms": String(deadlineMs) }),
        ...this.#headers,
      },
      body: Buffer.concat([head, json]),
    });
    if (!response.ok) throw refusalOfJson((await response.json()) as ErrorJson);
    let rest = Buffer.alloc(0);
    for await (const piece of response.body!) {
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
        const end = 5 + rest.readUInt32BE(1);
        const answer = JSON.parse(rest.toString("utf8", 5, end)) as JsonValue;
        if ((rest[0]! & 2) === 0) yield fromJson(method.output, answer, { registry });
        else if ("error" in (answer as object)) throw refusalOfJson((answer as unknown as { error: ErrorJson }).error);
        rest = rest.subarray(end);
      }
    }
  }

  async #fetch<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadlineMs: number | undefined,
  ): Promise<MessageShape<O>> {
    const response = await fetch(`${this.#baseUrl}/${method.parent.typeName}/${method.name}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(deadlineMs !== undefined && { "connect-timeout-ms": String(deadlineMs) }),
        ...this.#headers,
      },
      body: JSON.stringify(toJson(method.input, create(method.input, request))),
    });
    const json = (await response.json()) as JsonValue;
    if (response.ok) return fromJson(method.output, json, { registry });
    throw refusalOfJson(json as unknown as ErrorJson);
  }
}

function refusalOfConnect(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return error;
  const details = error.details.map((detail) =>
    "desc" in detail ? [] : [create(AnySchema, { typeUrl: `x/${detail.type}`, value: detail.value })],
  );
  return new Refusal(error.code, error.rawMessage, create(StatusSchema, { details: details.flat() }));
}

const registry = createRegistry(BadRequestSchema, RetryInfoSchema);

/** An error as Connect's protocol has it. */
export interface ErrorJson {
  readonly code: string;
  readonly message: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

export function refusalOfJson({ code, message, details = [] }: ErrorJson): Refusal {
  const name = (code === "canceled" ? "CANCELLED" : code.toUpperCase()) as keyof typeof CODES;
  const packed = details.map(({ type, value }) =>
    create(AnySchema, { typeUrl: `x/${type}`, value: Buffer.from(value, "base64") }),
  );
  return new Refusal(CODES[name], message, create(StatusSchema, { details: packed }));
}
