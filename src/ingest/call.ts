import type {
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
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
  /** Where the caller may be a browser, whose session the answer can start or end. */
  readonly session?: SessionKeeper | undefined;
}

/** Called before the answer. */
export interface SessionKeeper {
  start(token: string, expiresAtMs: number): void;
  end(): void;
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
  /**
   * Without an error: the client sends no more. With one: no more is wanted of it. Answers what was taken, and then ends the
   * stream, with OK or with the error; the first call counts.
   */
  finish(error?: RequestError): void;
  /** The client has taken an answer that was sent: the oldest of those that it had not. */
  taken?(): void;
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

/**
 * The way of a watch to its client. What is sent is encoded already: many watches send the same bytes.
 *
 * A watch may send whenever something happens. Where its client leaves too much untaken, the watch is ended in its place.
 */
export interface Feed {
  readonly isOver: boolean;
  /** Resolves when it is over, for whatever reason. */
  readonly over: Promise<void>;
  /** Encoded answers, in their order. Nothing where it is over. */
  send(answers: readonly Uint8Array[]): void;
  /** Resolves when the client has taken nearly all that was sent, or it is over: for who reads ahead of a client. */
  room(): Promise<void>;
  end(error: RequestError): void;
}

/**
 * A method that answers with a stream of its own, for all doors. It rejects with a RequestError where it refuses or cannot go on;
 * it ends soon after `feed.over`.
 */
export type WatchMethod<Method> =
  Method extends DescMethodServerStreaming<infer Input>
    ? (request: MessageShape<Input>, call: Call, feed: Feed) => Promise<void>
    : never;

/** All methods of a service, by their names in the generated code. */
export type Implementation<Service extends DescService> = {
  readonly [Name in keyof Service["method"]]: Service["method"][Name] extends DescMethodUnary
    ? UnaryMethod<Service["method"][Name]>
    : Service["method"][Name] extends DescMethodServerStreaming
      ? WatchMethod<Service["method"][Name]>
      : StreamMethod<Service["method"][Name]>;
};
