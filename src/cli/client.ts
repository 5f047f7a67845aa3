import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import type { Any } from "@bufbuild/protobuf/wkt";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";

import { BadRequestSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { UsageError } from "../runtime/errors.ts";

/** As long as the server gives a call by default. */
const callTimeoutMs = 10_000;
/** A server stream has a heartbeat every ten seconds at least: one that is silent for three of them is gone. */
const silenceMs = 30_000;

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

/** When the server says that it is worth coming again, in milliseconds; 0 where it does not say. */
export function retryDelayIn(details: readonly Any[]): number {
  const delays = details.map((detail) => anyUnpack(detail, RetryInfoSchema)?.retryDelay);
  return Math.max(0, ...delays.map((delay) => (delay === undefined ? 0 : durationMs(delay))));
}

const retryable: ReadonlySet<number> = new Set([
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.DEADLINE_EXCEEDED,
]);
/** What a cut connection can look like. */
const cut: ReadonlySet<number> = new Set([...retryable, status.CANCELLED, status.INTERNAL, status.UNKNOWN]);

/** Whether the same request may be taken a moment later. */
export function isRetryable(code: number): boolean {
  return retryable.has(code);
}

/** Whether a stream that ended so may be opened again. */
export function isCut(code: number): boolean {
  return cut.has(code);
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
      pathOf(method),
      ...codecOf(method),
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

  /**
   * The messages of a server stream, which the server sends as fast as they are taken. Ends without an error where the signal
   * is aborted.
   * @throws CallError where the server ends it otherwise, or is silent: CANCELLED.
   */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
  ): AsyncGenerator<MessageShape<O>, void> {
    if (signal.aborted) return;
    const message = create(method.input, request);
    const call = this.#client.makeServerStreamRequest(pathOf(method), ...codecOf(method), message, this.#metadata);
    const cancel = (): void => call.cancel();
    // Nobody else listens once the loop below has ended, and the end of the call is told all the same.
    call.on("error", () => undefined);
    signal.addEventListener("abort", cancel);
    const silent = setTimeout(cancel, silenceMs);
    try {
      for await (const received of call as AsyncIterable<MessageShape<O>>) {
        silent.refresh();
        yield received;
      }
    } catch (error) {
      if (!signal.aborted) throw isServiceError(error) ? toCallError(error) : error;
    } finally {
      clearTimeout(silent);
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  /** A stream both ways, as grpc-js has it. */
  duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
  ): ClientDuplexStream<MessageShape<I>, MessageShape<O>> {
    return this.#client.makeBidiStreamRequest(pathOf(method), ...codecOf(method), this.#metadata);
  }

  close(): void {
    this.#client.close();
  }
}

function pathOf(method: Pick<DescMethod, "parent" | "name">): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function codecOf<I extends DescMessage, O extends DescMessage>(method: {
  readonly input: I;
  readonly output: O;
}): [serialize: (message: MessageShape<I>) => Buffer, deserialize: (bytes: Buffer) => MessageShape<O>] {
  return [(message) => Buffer.from(toBinary(method.input, message)), (bytes) => fromBinary(method.output, bytes)];
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "metadata" in error && "code" in error && "details" in error;
}

export function toCallError(error: ServiceError): CallError {
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  const details = encoded instanceof Buffer ? fromBinary(StatusSchema, encoded).details : [];
  return new CallError(error.code, error.details, violationsIn(details));
}
