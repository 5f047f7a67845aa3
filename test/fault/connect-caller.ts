import {
  create,
  createRegistry,
  type DescMessage,
  type DescMethodUnary,
  fromJson,
  type JsonValue,
  type MessageInitShape,
  type MessageShape,
  toJson,
} from "@bufbuild/protobuf";

import { BadRequestSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { Refusal } from "../support/caller.ts";
import { type ErrorJson, refusalOfJson } from "../support/http-caller.ts";

const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;
const DATA_LOSS = 15;

/** What details of a refusal within a batch's answer may be. */
const registry = createRegistry(BadRequestSchema, RetryInfoSchema);

/** A client of the HTTP port that speaks Connect: JSON over HTTP, by fetch, as a script or a page does. */
export class ConnectCaller {
  readonly #url: string;
  readonly #token: string;
  readonly #over = new AbortController();

  /** `url`: of the HTTP port. */
  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  /** @throws Refusal */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { deadlineMs }: { readonly deadlineMs: number },
  ): Promise<MessageShape<O>> {
    const { isOk, text } = await this.#post(`${method.parent.typeName}/${method.name}`, {
      body: JSON.stringify(toJson(method.input, create(method.input, request))),
      deadlineMs,
    });
    const json = parsed(text);
    if (!isOk) throw refusalOfJson(json as unknown as ErrorJson);
    return fromJson(method.output, json, { registry });
  }

  /** Ends what is under way. */
  close(): void {
    this.#over.abort();
  }

  async #post(path: string, { body, deadlineMs }: { readonly body: string; readonly deadlineMs: number }) {
    // A connection whose other end is gone says nothing: it is given up with the call.
    const late = AbortSignal.timeout(deadlineMs);
    try {
      const response = await fetch(`${this.#url}/${path}`, {
        method: "POST",
        signal: AbortSignal.any([late, this.#over.signal]),
        headers: {
          "content-type": "application/json",
          "connect-protocol-version": "1",
          "connect-timeout-ms": String(deadlineMs),
          authorization: `Bearer ${this.#token}`,
        },
        body,
      });
      return { isOk: response.ok, text: await response.text() };
    } catch (error) {
      if (late.aborted) throw new Refusal(DEADLINE_EXCEEDED, "no answer in time", undefined);
      throw new Refusal(UNAVAILABLE, `the connection was lost: ${String(error)}`, undefined);
    }
  }
}

/** A whole answer that is no JSON is worth no second try: something is wrong. */
function parsed(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    throw new Refusal(DATA_LOSS, `an answer that is no JSON: ${text.slice(0, 200)}`, undefined);
  }
}
