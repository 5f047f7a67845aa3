import type {
  DescMethodBiDiStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Caller } from "../stream/flush.ts";
import type { Principal } from "./auth/tokens.ts";
import type { RequestError } from "./errors.ts";

/** One call of a client, whichever door it came through. */
export interface Call extends Caller {
  readonly principal: Principal;
}

/** A method as it is implemented once for all doors. It throws a RequestError where it refuses. */
export type UnaryMethod<Method> =
  Method extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageShape<Input>, call: Call) => Promise<MessageInitShape<Output>>
    : never;

/** What a method does with a client's stream of messages. None of it throws. */
export interface Inlet<Request> {
  /** Whether it takes another message. Where it does again after it did not, it says so by `Outlet.readOn`. */
  readonly hungry: boolean;
  take(request: Request): void;
  /** Takes no more, answers what was taken, and then ends the stream: with OK, or with the error. The first call counts. */
  finish(error?: RequestError): void;
  /** The stream is over, whoever ended it: nothing that is sent from now on reaches the client. Once. */
  closed(): void;
}

/** The way back to the client, as a door gives it. */
export interface Outlet<Answer> {
  /** Answers that were sent and that the client has not taken yet. */
  readonly untaken: number;
  send(answer: Answer): void;
  readOn(): void;
  /** Nothing is sent after it. */
  end(error?: RequestError): void;
}

/** A method that is a stream both ways, for all doors that can carry one. */
export type StreamMethod<Method> =
  Method extends DescMethodBiDiStreaming<infer Input, infer Output>
    ? (call: Call, outlet: Outlet<MessageInitShape<Output>>) => Inlet<MessageShape<Input>>
    : never;

/** All methods of a service, by their names in the generated code. */
export type Implementation<Service extends DescService> = {
  readonly [Name in keyof Service["method"]]: Service["method"][Name] extends DescMethodUnary
    ? UnaryMethod<Service["method"][Name]>
    : StreamMethod<Service["method"][Name]>;
};
