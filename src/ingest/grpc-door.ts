import {
  create,
  type DescMethod,
  type DescFile,
  type DescMethodUnary,
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
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import type { Logger } from "pino";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { delay } from "../runtime/backoff.ts";
import { GrpcHealth } from "../runtime/grpc-health.ts";
import { muteGrpc } from "../runtime/grpc-log.ts";
import type { Service } from "../runtime/service.ts";
import type { Certificates } from "./certificates.ts";
import { RequestError, toStatus } from "./errors.ts";
import type { Gate } from "./gate.ts";
import { type CallListener, type CallStatus, type OpenCall, OpenCalls } from "./grpc-calls.ts";
import { GrpcInjector } from "./grpc-injector.ts";
import { GrpcListener } from "./grpc-listener.ts";
import { GrpcStream, MALFORMED } from "./grpc-stream.ts";
import { dropEndlessTimeouts } from "./grpc-timeouts.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Access, ServedMethod, ServedService, ServedStream } from "./served.ts";
import { type Codec, HAND_CODECS } from "./submit-codec.ts";
import { MAX_OPEN_MS, STOPPING } from "./tenure.ts";

export interface GrpcDoorOptions {
  readonly bind: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly maxConnections: number;
  /** Undefined: in clear. */
  readonly certificates: Certificates | undefined;
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
/**
 * A connection without a call, or with none but streams that need no token: as proxies commonly keep one. A client that
 * has something to say makes another.
 */
const MAX_IDLE_MS = 300_000;
/** After an hour, more or less, clients come to the servers and certificates that there are by then. */
const MAX_AGE_MS = 3_600_000;
/** A stream that was opened at the last moment ends by itself. */
const AGE_GRACE_MS = MAX_OPEN_MS + 60_000;
/** How far beyond its time a call may go on. */
const SWEEP_MS = 250;

/** A method of our own services, and who may call it. */
interface OwnMethod {
  readonly method: DescMethod;
  readonly access: Access;
}

type UnaryCall = ServerUnaryCall<Message | typeof MALFORMED, object>;

/**
 * Native gRPC, with health and reflection. It translates: bytes to messages, tokens to principals, refusals to statuses.
 * What calls do is the services' business, which other doors serve as well.
 */
export class GrpcDoor implements Service {
  readonly name = "grpc";
  readonly #options: GrpcDoorOptions;
  readonly #server: Server;
  readonly #health: GrpcHealth;
  readonly #calls: OpenCalls;
  readonly #listener: GrpcListener;
  /** By their paths. */
  readonly #methods = new Map<string, OwnMethod>();
  readonly #served = new Map<string, ServedStream>();
  readonly #streams = new Set<GrpcStream>();
  #sweeper: NodeJS.Timeout | undefined;
  #port = 0;

  constructor(options: GrpcDoorOptions) {
    this.#options = options;
    this.#calls = new OpenCalls({
      callTimeoutMs: options.requestTimeoutMs,
      streamTimeoutMs: MAX_IDLE_MS,
      maxMessageBytes: options.maxMessageBytes,
      isAnyones: (path) => (this.#methods.get(path)?.access ?? "anyone") === "anyone",
      admit: (path, metadata) => this.#admit(path, metadata),
      listenerOf: (path, call) => this.#open(path, call),
      statusOf: (path, error) => this.#refusal(path, error),
      cut: (peer) => this.#listener.cut(peer),
    });
    this.#server = new Server({
      interceptors: [this.#calls.intercept],
      "grpc.max_receive_message_length": options.maxMessageBytes,
      "grpc.max_concurrent_streams": MAX_CONCURRENT_STREAMS,
      "grpc.keepalive_time_ms": KEEPALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
      "grpc.max_connection_idle_ms": MAX_IDLE_MS,
      "grpc.max_connection_age_ms": MAX_AGE_MS,
      "grpc.max_connection_age_grace_ms": AGE_GRACE_MS,
      // Statistics that nobody reads here: 3 to 26 µs a call (bench, three pairs of runs).
      "grpc.enable_channelz": 0,
    });
    this.#listener = new GrpcListener({
      injector: new GrpcInjector(this.#server),
      maxConnections: options.maxConnections,
      certificates: options.certificates,
      metrics: options.metrics,
      log: options.log,
    });
    dropEndlessTimeouts(this.#server);
    for (const served of options.services) this.#add(served);
    const services = options.services.map(({ service }) => service);
    this.#health = new GrpcHealth(services.map(({ typeName }) => typeName));
    this.#health.addTo(this.#server);
    reflectionOf(services).addToServer(this.#server);
    muteGrpc();
  }

  /** Where it listens, once it has started: `127.0.0.1:50051`. */
  get address(): string {
    return `${this.#options.bind}:${this.#port}`;
  }

  async start(): Promise<void> {
    const { bind, port, log } = this.#options;
    this.#port = await this.#listener.listen(bind, port);
    this.#sweeper = setInterval(() => {
      const now = performance.now();
      this.#calls.sweep(now);
      for (const stream of this.#streams) stream.sweep(now);
    }, SWEEP_MS);
    log.info({ address: this.address }, "gRPC");
  }

  /** No new calls; those under way end, or are cut when the time is up: a client that is gone would keep it open. */
  async stop(): Promise<void> {
    this.#health.stop();
    const closed = this.#listener.close();
    for (const stream of this.#streams) stream.finish(STOPPING);
    this.#calls.stop();
    // Its callback comes at once: it does not know of connections that were handed to it. They close when all is answered.
    this.#server.tryShutdown(() => {});
    const drained = new AbortController();
    const late = delay(this.#options.drainTimeoutMs, drained.signal);
    await Promise.race([closed, late]);
    drained.abort();
    this.#server.forceShutdown();
    this.#listener.end();
    await closed;
    clearInterval(this.#sweeper);
  }

  #add({ service, methods, streams }: ServedService): void {
    const definition: Record<string, object> = {};
    const handlers: UntypedServiceImplementation = {};
    for (const method of service.methods) {
      const { localName } = method;
      const path = `/${service.typeName}/${method.name}`;
      const served = methods[localName];
      const stream = streams[localName];
      definition[localName] = { path, ...definitionOf(method) };
      if (served !== undefined && isUnary(method)) {
        this.#methods.set(path, { method, access: served.access });
        handlers[localName] = this.#handler(method, served);
      } else if (stream !== undefined) {
        this.#methods.set(path, { method, access: stream.access });
        this.#served.set(path, stream);
        handlers[localName] = () => {}; // `#open` listens in its place
      } else throw new TypeError(`${method.name} is not served`);
    }
    this.#server.addService(definition as never, handlers);
  }

  #handler(method: DescMethodUnary, { access, serve }: ServedMethod): UntypedServiceImplementation[string] {
    const { gate, metrics, requestTimeoutMs } = this.#options;
    const latency = metrics.latency.labels(method.name);
    const succeeded = metrics.requests.labels(method.name, "OK");

    const answer = async (call: UnaryCall, callback: sendUnaryData<object>): Promise<void> => {
      const started = performance.now();
      try {
        const principal = await gate.admit(access, call.metadata.get("authorization")[0]?.toString());
        if (call.request === MALFORMED) throw new RequestError("INVALID_ARGUMENT", `not a ${method.input.typeName}`);
        const deadline = Math.min(Number(call.getDeadline()), Date.now() + requestTimeoutMs);
        const response = await serve(call.request as never, {
          principal,
          deadline,
          get cancelled() {
            return call.cancelled;
          },
        });
        // Also where its time was up and it was answered.
        if (!call.cancelled) {
          callback(null, response);
          succeeded.inc();
        }
      } catch (error) {
        if (!call.cancelled) callback(this.#statusOf(method, error, call.metadata.get("x-request-id")[0]?.toString()));
      }
      latency.observe((performance.now() - started) / 1000);
    };
    return (call: UnaryCall, callback: sendUnaryData<object>) => void answer(call, callback);
  }

  /**
   * Before anything of the request is read: it may be large, and whoever sends it may be nobody. What its handler then does
   * once more is a look-up, and tells of what has changed while the request was on its way.
   */
  #admit(path: string, metadata: Metadata): CallStatus | undefined | Promise<CallStatus | undefined> {
    const own = this.#methods.get(path);
    if (own === undefined) return undefined;
    const refused = (error: unknown) => this.#statusOf(own.method, error, metadata.get("x-request-id")[0]?.toString());
    try {
      const admitted = this.#options.gate.admit(own.access, metadata.get("authorization")[0]?.toString());
      return admitted instanceof Promise ? admitted.then(() => undefined, refused) : undefined;
    } catch (error) {
      return refused(error);
    }
  }

  #refusal(path: string, error: RequestError): CallStatus {
    const own = this.#methods.get(path);
    return own === undefined
      ? { code: status[error.code], details: error.message }
      : this.#statusOf(own.method, error, undefined);
  }

  #open(path: string, call: OpenCall): CallListener | undefined {
    const method = this.#methods.get(path)?.method;
    const served = this.#served.get(path);
    if (method === undefined || served === undefined) return undefined;
    const options = {
      method,
      served,
      gate: this.#options.gate,
      statusOf: (error: RequestError, requestId: string | undefined) => this.#statusOf(method, error, requestId),
      onEnd: () => this.#calls.ending(call),
      onClose: () => {
        this.#streams.delete(stream);
        this.#options.metrics.streams.set(this.#streams.size);
      },
    };
    const stream = new GrpcStream(call, options, performance.now());
    this.#streams.add(stream);
    this.#options.metrics.streams.set(this.#streams.size);
    return stream;
  }

  #statusOf(method: DescMethod, thrown: unknown, givenRequestId: string | undefined) {
    const { error, requestId } = this.#options.gate.refuse(method, thrown, givenRequestId);
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, toStatus(error))));
    if (requestId !== undefined) metadata.set("x-request-id", requestId);
    return { code: status[error.code], details: error.message, metadata };
  }
}

function isUnary(method: DescMethod): method is DescMethod & DescMethodUnary {
  return method.methodKind === "unary";
}

function definitionOf(method: DescMethod): object {
  const codec = HAND_CODECS.get(method) ?? generatedCodec(method);
  return {
    requestStream: method.methodKind === "bidi_streaming",
    responseStream: !isUnary(method),
    requestSerialize: (message: Message) => Buffer.from(toBinary(method.input, message)),
    // Bytes that are no such message are the client's fault; thrown here they would be INTERNAL.
    requestDeserialize: (bytes: Buffer) => {
      try {
        return codec.decode(bytes);
      } catch {
        return MALFORMED;
      }
    },
    // What a watch sends is encoded already.
    responseSerialize: (answer: object) => (answer instanceof Uint8Array ? bufferOf(answer) : codec.encode(answer)),
    responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
  };
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function generatedCodec(method: DescMethod): Codec {
  return {
    decode: (bytes) => fromBinary(method.input, bytes, { readUnknownFields: false }),
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
