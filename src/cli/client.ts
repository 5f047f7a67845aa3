import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { Any } from "@bufbuild/protobuf/wkt";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";

import { BadRequestSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { UsageError } from "../runtime/errors.ts";

/** As long as the server gives a call by default. */
const callTimeoutMs = 10_000;

export interface Violation {
  readonly field: string;
  readonly description: string;
}

/** The server's refusal of a call. The message is one line, and one more for each field at fault. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: number;

  constructor(code: number, details: string, violations: readonly Violation[]) {
    super(describeRefusal(code, details, violations));
    this.code = code;
  }
}

/** "INVALID_ARGUMENT: …" and a line for each field. */
export function describeRefusal(code: number, message: string, violations: readonly Violation[]): string {
  const lines = violations.map(({ field, description }) => `  ${field}: ${description}`);
  return [`${status[code] ?? `code ${code}`}: ${message}`, ...lines].join("\n");
}

/** The fields at fault that a google.rpc.Status carries. */
export function violationsIn(details: readonly Any[]): Violation[] {
  return details.flatMap((detail) => anyUnpack(detail, BadRequestSchema)?.fieldViolations ?? []);
}

/** A client of any service of penstock.v1: one channel, calls with a token and a time limit. */
export class ApiClient {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** `url` is `http://host:port`, `https://host:port` (TLS) or `host:port`. @throws UsageError where it is not. */
  constructor({ url, token }: { readonly url: string; readonly token: string }) {
    const [, scheme, address] = /^(?:(https?|grpc):\/\/)?([^/\s@]+:\d{1,5})\/?$/.exec(url) ?? [];
    if (address === undefined) throw new UsageError(`not an address such as http://127.0.0.1:50051: ${url}`);
    this.#client = new Client(address, scheme === "https" ? credentials.createSsl() : credentials.createInsecure());
    this.#metadata.set("authorization", `Bearer ${token}`);
  }

  /** @throws CallError */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<O>>();
    this.#client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
      create(method.input, request),
      this.#metadata,
      { deadline: Date.now() + callTimeoutMs },
      (error, response) => {
        if (error) reject(toCallError(error));
        else if (response) resolve(response);
        else reject(new Error("the server gave no answer"));
      },
    );
    return promise;
  }

  close(): void {
    this.#client.close();
  }
}

function toCallError(error: ServiceError): CallError {
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  const details = encoded instanceof Buffer ? fromBinary(StatusSchema, encoded).details : [];
  return new CallError(error.code, error.details, violationsIn(details));
}
