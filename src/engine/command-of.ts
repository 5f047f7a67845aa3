import type { Command as LogCommand } from "../gen/penstock/v1/log_pb.ts";
import { MAX_ENTRY_COMMANDS, orderKeyOf } from "../stream/command.ts";
import { decodeBatch, type LoggedCommand, type Undecodable } from "../stream/logged-command.ts";
import { prepareInstrument } from "../stream/instrument.ts";
import { readOrderId } from "../stream/position.ts";
import { WireError } from "../stream/wire.ts";
import type { Command, InstrumentCommand, Target } from "./matching/interface.ts";

// What the log says, as the engine takes it. Nothing that stands in the log makes this throw: what cannot be understood
// changes nothing, or is refused by the engine.

/** The commands of an entry, each at its index, and the client's own ids of those that have one. */
export interface EntryCommands {
  readonly commands: readonly Command[];
  /** Of a cancel, replace or mass cancel; "" for the others. */
  readonly requestIdOf: (command: number) => string;
}

/** `isVoided`: none of them has its effect. */
export function commandsOf(partition: number, payload: Buffer, isVoided: boolean): EntryCommands {
  const logged = decoded(payload);
  const commands = logged.map((command) => commandOf(partition, command));
  return {
    commands: isVoided ? commands.map(voided) : commands,
    requestIdOf: (index) => requestIdOf(logged[index]),
  };
}

/** A batch that cannot be taken apart, or that no ingest writes, became a dead letter: for the engine it is empty. */
function decoded(payload: Buffer): readonly (LoggedCommand | Undecodable)[] {
  try {
    const commands = decodeBatch(payload);
    return commands.length > MAX_ENTRY_COMMANDS ? [] : commands;
  } catch (error) {
    if (error instanceof WireError) return [];
    throw error;
  }
}

/** A submit is handed on as it was decoded: it has all that the engine asks for. */
function commandOf(partition: number, logged: LoggedCommand | Undecodable): Command {
  if (logged.kind === "submit") return logged;
  return logged.kind === "other" ? otherOf(partition, logged.account, logged.command) : IDLE;
}

const IDLE: Command = { kind: "idle" };

function otherOf(partition: number, account: string, { kind }: LogCommand): Command {
  switch (kind.case) {
    case "cancel": {
      const { symbol, target } = kind.value;
      return { kind: "cancel", account, symbol, target: targetOf(partition, account, symbol, target) };
    }
    case "replace": {
      const { symbol, target, quantity, price, stopPrice, displayQuantity } = kind.value;
      return {
        kind: "replace",
        account,
        symbol,
        target: targetOf(partition, account, symbol, target),
        quantity: Number(quantity),
        price: Number(price),
        stopPrice: Number(stopPrice),
        displayQuantity: Number(displayQuantity),
      };
    }
    case "massCancel":
      return { kind: "mass-cancel", account, symbol: kind.value.symbol };
    case "instrument":
      return instrumentOf(kind.value);
    case "tradingStatus":
      return { kind: "status", symbol: kind.value.symbol, status: kind.value.status };
    case "accountLimits": {
      const { account, maxOpenOrders, maxQuantity } = kind.value;
      return { kind: "limits", account, maxOpenOrders, maxQuantity: Number(maxQuantity) };
    }
    case "rules":
      return { kind: "rules", rules: kind.value.rules };
    default:
      // Ticks, voids, submits that only the generated code can read (there are none), and what a later version adds.
      return IDLE;
  }
}

/** No order has this place: its entry would be before every entry. */
const NOWHERE: Target = { by: "order", epoch: 0, ms: 0, seq: 0, index: 0 };

type LoggedTarget = Extract<LogCommand["kind"], { case: "cancel" | "replace" }>["value"]["target"];

function targetOf(partition: number, account: string, symbol: string, target: LoggedTarget): Target {
  if (target.case === "clientOrderId") {
    return { by: "client", clientOrderId: target.value, ...orderKeyOf(account, symbol, target.value) };
  }
  const place = target.case === "orderId" ? readOrderId(target.value) : undefined;
  if (place?.partition !== partition) return NOWHERE;
  const { epoch, ms, seq, index } = place;
  return { by: "order", epoch, ms, seq, index };
}

type LoggedInstrument = Extract<LogCommand["kind"], { case: "instrument" }>["value"];

function instrumentOf(definition: LoggedInstrument): InstrumentCommand {
  const { symbol, version } = definition;
  try {
    const { tick, lot, minQuantity, maxQuantity, minPrice, maxPrice, timesInForce } = prepareInstrument(definition);
    const limits = { minQuantity, maxQuantity, minPrice, maxPrice, timesInForce };
    return { kind: "instrument", symbol, version, tickSize: tick.text, lotSize: lot.text, ...limits };
  } catch {
    // The door lets none of these in. Without a tick and a lot it is MALFORMED.
    const limits = { minQuantity: 0, maxQuantity: 0, minPrice: 0, maxPrice: 0, timesInForce: [] };
    return { kind: "instrument", symbol, version, tickSize: "", lotSize: "", ...limits };
  }
}

/** Every command that would have an answer still has one. */
function voided(command: Command): Command {
  switch (command.kind) {
    case "idle":
    case "rules":
      return IDLE;
    case "refused":
      return command;
    default:
      return { kind: "refused", command };
  }
}

function requestIdOf(logged: LoggedCommand | Undecodable | undefined): string {
  if (logged?.kind !== "other") return "";
  const { kind } = logged.command;
  return kind.case === "cancel" || kind.case === "replace" || kind.case === "massCancel"
    ? kind.value.clientRequestId
    : "";
}
