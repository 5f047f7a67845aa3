import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodServerStreaming, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { ServiceError } from "@grpc/grpc-js";

import { type Caller, Refusal, toRefusal } from "./caller.ts";
import type { HttpCaller } from "./http-caller.ts";
import { eventually } from "./pipeline.ts";

export interface WatchOptions {
  readonly deadlineMs?: number;
  /** In place of the caller's. */
  readonly token?: string;
  /** Sent in place of the request. */
  readonly bytes?: Buffer;
}

/** What a watch told, whichever way it came. Answers are kept in the order in which they came. */
export abstract class Watched<O extends DescMessage> {
  readonly answers: MessageShape<O>[] = [];
  /** Undefined for OK. */
  readonly ended: Promise<Refusal | undefined>;
  over = false;
  protected readonly end: (refusal: Refusal | undefined) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<Refusal | undefined>();
    this.end = resolve;
    this.ended = promise.finally(() => (this.over = true));
  }

  abstract cancel(): void;

  /** Waits until an answer is there for which it holds, and gives the first one. Throws where the watch ends before. */
  async until(holds: (answer: MessageShape<O>) => boolean, what = "an answer"): Promise<MessageShape<O>> {
    return eventually(async () => {
      const found = this.answers.find(holds);
      if (found === undefined && this.over) throw (await this.ended) ?? new Error(`it ended before ${what}`);
      return found;
    }, what);
  }
}

/** A watch by gRPC. */
export class GrpcWatch<I extends DescMessage, O extends DescMessage> extends Watched<O> {
  readonly cancel: () => void;

  constructor(
    caller: Caller,
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    { deadlineMs, token, bytes }: WatchOptions = {},
  ) {
    super();
    const metadata = caller.metadata.clone();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const call = caller.client.makeServerStreamRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => bytes ?? Buffer.from(toBinary(method.input, message)),
      (answer) => fromBinary(method.output, answer),
      create(method.input, request),
      metadata,
      deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
    );
    this.cancel = () => call.cancel();
    call.on("data", (answer: MessageShape<O>) => this.answers.push(answer));
    call.on("error", (error: ServiceError) => this.end(toRefusal(error)));
    call.on("end", () => this.end(undefined));
  }
}

/** A watch by the HTTP port. */
export class HttpWatch<I extends DescMessage, O extends DescMessage> extends Watched<O> {
  readonly #leaving = new AbortController();

  constructor(
    caller: HttpCaller,
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    { deadlineMs }: Pick<WatchOptions, "deadlineMs"> = {},
  ) {
    super();
    void this.#read(caller.watch(method, request, this.#leaving.signal, deadlineMs));
  }

  cancel(): void {
    this.#leaving.abort();
  }

  async #read(answers: AsyncIterable<MessageShape<O>>): Promise<void> {
    try {
      for await (const answer of answers) this.answers.push(answer);
      this.end(undefined);
    } catch (error) {
      this.end(error instanceof Refusal ? error : new Refusal(2, String(error), undefined));
    }
  }
}
