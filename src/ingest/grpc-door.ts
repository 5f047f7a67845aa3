import {
  create,
  type DescMethod,
  type DescMethodUnary,
  type DescFile,
  type DescService,
  fromBinary,
  type DescMessage,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import type { Logger } from "pino";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import type { Service } from "../runtime/service.ts";
import { CODES, RequestError, toStatus } from "./errors.ts";
import type { Gate } from "./gate.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { ServedMethod, ServedService } from "./served.ts";
import { type Codec, HAND_CODECS } from "./submit-codec.ts";

export interface GrpcDoorOptions {
  readonly bind: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly services: readonly ServedService[];
  readonly gate: Gate;
  readonly maxMessageBytes: number;
  /** The bound of a call whose client gives no deadline, or a later one. */
  readonly requestTimeoutMs: number;
  /** How long calls under way may take to end at a stop; then they are cut. */
  readonly drainTimeoutMs: number;
  readonly metrics: IngestMetrics;
  readonly log: Logger;
}

/** Streams of one connection: 1,000 waiting unary calls are a busy client; more wait at the client's side. */
const MAX_CONCURRENT_STREAMS = 1_000;
/** A client that went silent is noticed within about a minute. */
const KEEPALIVE_MS = 40_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;
/** Headers of a call: a token of some 220 characters and what tracing adds. */
const MAX_METADATA_BYTES = 16 * 1024;

/** In place of a request whose bytes are none. grpc-js takes a falsy one for "no message was sent". */
const MALFORMED = Symbol("malformed");

type UnaryCall = ServerUnaryCall<Message | typeof MALFORMED, object>;

/** A call that is being served. `callback` is undefined once its time was up and it was answered. */
interface UnderWay {
  /** Milliseconds since 1970. */
  readonly latest: number;
  readonly method: DescMethodUnary;
  readonly call: UnaryCall;
  callback: sendUnaryData<object> | undefined;
}

/** How far beyond its time a call may go on where its client gave no deadline. */
const SWEEP_MS = 250;

/**
 * Native gRPC, with health and reflection. It translates: bytes to messages, tokens to principals, refusals to statuses.
 * What calls do is the services' business, which other doors serve as well.
 */
export class GrpcDoor implements Service {
  readonly name = "grpc";
  readonly #options: GrpcDoorOptions;
  readonly #server: Server;
  readonly #health: HealthImplementation;
  /** In the order of their coming, which is that of their `latest`: so only those that are late are looked at. */
  readonly #underWay = new Set<UnderWay>();
  #sweeper: NodeJS.Timeout | undefined;
  #port = 0;

  constructor(options: GrpcDoorOptions) {
    this.#options = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": options.maxMessageBytes,
      "grpc.max_concurrent_streams": MAX_CONCURRENT_STREAMS,
      "grpc.max_metadata_size": MAX_METADATA_BYTES,
      "grpc.keepalive_time_ms": KEEPALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
      // Statistics that nobody reads here: 3 to 26 µs a call (bench, three pairs of runs).
      "grpc.enable_channelz": 0,
    });
    for (const served of options.services) this.#add(served);
    const names = options.services.map(({ service }) => service.typeName);
    this.#health = new HealthImplementation(Object.fromEntries(["", ...names].map((name) => [name, "SERVING"])));
    this.#health.addToServer(this.#server);
    reflectionOf(options.services.map(({ service }) => service)).addToServer(this.#server);
  }

  /** Where it listens, once it has started: `127.0.0.1:50051`. */
  get address(): string {
    return `${this.#options.bind}:${this.#port}`;
  }

  async start(): Promise<void> {
    const { bind, port, log } = this.#options;
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${bind}:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.#sweeper = setInterval(() => this.#endLate(), SWEEP_MS);
    log.info({ address: this.address }, "gRPC");
  }

  /** No new calls; those under way end, or are cut when the time is up: a client that is gone would keep it open. */
  async stop(): Promise<void> {
    for (const { service } of this.#options.services) this.#health.setStatus(service.typeName, "NOT_SERVING");
    this.#health.setStatus("", "NOT_SERVING");
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#server.forceShutdown();
        resolve();
      }, this.#options.drainTimeoutMs);
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    clearInterval(this.#sweeper);
  }

  /** Of a client's own deadline grpc-js takes care. Without one, a server behind us that says nothing would hold the call. */
  #endLate(): void {
    const now = Date.now();
    for (const underWay of this.#underWay) {
      if (underWay.latest > now) return;
      const { method, call, callback } = underWay;
      this.#underWay.delete(underWay);
      underWay.callback = undefined;
      const error = new RequestError(
        "DEADLINE_EXCEEDED",
        "not answered in time: its outcome is unknown, send the same id again",
      );
      callback?.(this.#refusal(method, call, error));
    }
  }

  #add({ service, methods }: ServedService): void {
    const definition: Record<string, object> = {};
    const handlers: UntypedServiceImplementation = {};
    for (const method of service.methods) {
      const served = methods[method.localName];
      if (!isUnary(method) || served === undefined) throw new TypeError(`${method.name} is not served`);
      definition[method.localName] = unaryDefinition(service, method);
      handlers[method.localName] = this.#handler(method, served);
    }
    this.#server.addService(definition as never, handlers);
  }

  #handler(method: DescMethodUnary, { access, serve }: ServedMethod): UntypedServiceImplementation[string] {
    const { gate, metrics, requestTimeoutMs } = this.#options;
    const latency = metrics.latency.labels(method.name);
    const succeeded = metrics.requests.labels(method.name, "OK");

    const answer = async (call: UnaryCall, callback: sendUnaryData<object>): Promise<void> => {
      const started = performance.now();
      const underWay: UnderWay = { latest: Date.now() + requestTimeoutMs, method, call, callback };
      this.#underWay.add(underWay);
      try {
        const principal = await gate.admit(access, call.metadata.get("authorization")[0]?.toString());
        if (call.request === MALFORMED) throw new RequestError("INVALID_ARGUMENT", `not a ${method.input.typeName}`);
        const deadline = Math.min(Number(call.getDeadline()), underWay.latest);
        const response = await serve(call.request as never, {
          principal,
          deadline,
          get cancelled() {
            return call.cancelled;
          },
        });
        if (underWay.callback !== undefined) {
          callback(null, response);
          succeeded.inc();
        }
      } catch (error) {
        underWay.callback?.(this.#refusal(method, call, error));
      }
      this.#underWay.delete(underWay);
      latency.observe((performance.now() - started) / 1000);
    };
    return (call: UnaryCall, callback: sendUnaryData<object>) => void answer(call, callback);
  }

  #refusal(method: DescMethodUnary, call: UnaryCall, thrown: unknown) {
    const given = call.metadata.get("x-request-id")[0]?.toString();
    const { error, requestId } = this.#options.gate.refuse(method, thrown, given);
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, toStatus(error))));
    if (requestId !== undefined) metadata.set("x-request-id", requestId);
    return { code: CODES[error.code], details: error.message, metadata };
  }
}

function isUnary(method: DescMethod): method is DescMethod & DescMethodUnary {
  return method.methodKind === "unary";
}

function unaryDefinition(service: DescService, method: DescMethod & DescMethodUnary): object {
  const codec = HAND_CODECS.get(method) ?? generatedCodec(method);
  return {
    path: `/${service.typeName}/${method.name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: Message) => Buffer.from(toBinary(method.input, message)),
    // Bytes that are no such message are the client's fault; thrown here they would be INTERNAL.
    requestDeserialize: (bytes: Buffer) => {
      try {
        return codec.decode(bytes);
      } catch {
        return MALFORMED;
      }
    },
    responseSerialize: (answer: object) => codec.encode(answer),
    responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
  };
}

function generatedCodec(method: DescMethodUnary): Codec {
  return {
    decode: (bytes) => fromBinary(method.input, bytes),
    encode: (answer: MessageInitShape<DescMessage>) =>
      Buffer.from(toBinary(method.output, create(method.output, answer))),
  };
}

/**
 * What reflection tells: the files of the services and all that they import, just as they are. proto-loader would give it
 * files without their imports, which strict clients (buf) cannot link.
 */
function reflectionOf(services: readonly DescService[]): ReflectionService {
  const files = new Map<string, Buffer>();
  const visit = (file: DescFile) => {
    if (files.has(file.name)) return;
    files.set(file.name, Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)));
    for (const dependency of file.dependencies) visit(dependency);
  };
  for (const { file } of services) visit(file);
  const definition = {
    format: "Protocol Buffer 3 DescriptorProto",
    type: {},
    fileDescriptorProtos: [...files.values()],
  };
  return new ReflectionService({ penstock: definition } as ConstructorParameters<typeof ReflectionService>[0]);
}
