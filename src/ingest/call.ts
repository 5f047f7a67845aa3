import type { DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Caller } from "../stream/flush.ts";
import type { Principal } from "./auth/tokens.ts";

/** One call of a client, whichever door it came through. */
export interface Call extends Caller {
  readonly principal: Principal;
}

/** A method as it is implemented once for all doors. It throws a RequestError where it refuses. */
export type UnaryMethod<Method> =
  Method extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageShape<Input>, call: Call) => Promise<MessageInitShape<Output>>
    : never;

/** All methods of a service, by their names in the generated code. */
export type Implementation<Service extends DescService> = {
  readonly [Name in keyof Service["method"]]: UnaryMethod<Service["method"][Name]>;
};
