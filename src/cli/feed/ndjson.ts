import { fromJson } from "@bufbuild/protobuf";
import type { JsonValue } from "@bufbuild/protobuf";

import { StreamOrdersRequestSchema } from "../../gen/penstock/v1/order_service_pb.ts";
import { messageOf } from "../../runtime/errors.ts";
import type { OrderCommand, Parser, Step } from "./step.ts";

/**
 * Newline-delimited JSON: a line is a command as StreamOrders takes it, in protobuf's JSON ({"submit": {…}}, cancel,
 * replace, cancelAll), with "at" for the recorded time in milliseconds, where there is one.
 */
export class NdjsonParser implements Parser {
  readonly unit = undefined;
  readonly #prefix: string;
  readonly #run: string;
  readonly #symbol: string;

  /**
   * `prefix` stands in front of the file's own ids; `run` in front of the ids of commands that have none, which are numbered
   * by their lines; `symbol` is for commands that name an order by its client order id and no symbol.
   */
  constructor({ prefix, run, symbol }: { readonly prefix: string; readonly run: string; readonly symbol: string }) {
    this.#prefix = prefix;
    this.#run = run;
    this.#symbol = symbol;
  }

  read(text: string, line: number): Step[] {
    if (text.trim() === "") return [];
    try {
      const json = JSON.parse(text) as JsonValue;
      if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("not a JSON object");
      const { at, ...request } = json;
      if (at !== undefined && typeof at !== "number") throw new Error("at: must be a number of milliseconds");
      const { command, cancelOnDisconnect } = fromJson(StreamOrdersRequestSchema, request);
      if (command.case === undefined) throw new Error("none of submit, cancel, replace, cancelAll");
      // Where the connection is cut the feed goes on, and its orders are not to be gone by then.
      if (cancelOnDisconnect) throw new Error("cancelOnDisconnect: cannot be fed");
      this.#complete(command, line);
      return [{ kind: "send", line, at, command }];
    } catch (error) {
      return [{ kind: "fault", line, message: messageOf(error) }];
    }
  }

  end(): Step[] {
    return [];
  }

  #complete(command: OrderCommand, line: number): void {
    const { value } = command;
    if (command.case !== "submit") command.value.clientRequestId = this.#id(command.value.clientRequestId, line);
    if (command.case === "submit") command.value.clientOrderId = this.#id(command.value.clientOrderId, line);
    else if (command.case !== "cancelAll" && command.value.clientOrderId !== "") {
      command.value.clientOrderId = this.#prefix + command.value.clientOrderId;
    }
    const named = command.case === "submit" || (command.case !== "cancelAll" && command.value.clientOrderId !== "");
    if (named && value.symbol === "") value.symbol = this.#symbol;
  }

  #id(own: string, line: number): string {
    return own === "" ? `${this.#run}-L${line}` : this.#prefix + own;
  }
}
