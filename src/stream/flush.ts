import { MAX_ENTRY_BYTES, MAX_ENTRY_COMMANDS, SCHEMA_VERSION } from "./command.ts";
import type { PreparedCommand } from "./prepared-command.ts";
import { AppendError } from "./append-error.ts";
import { type EntryId, orderIdAt, orderIdPrefix, parseEntryId } from "./position.ts";
import { decodeSeen } from "./seen.ts";

/** Where a command stands in the log. */
export interface Placement {
  /** The place as an order id. */
  readonly id: string;
  /** Milliseconds since 1970: the time of its entry. */
  readonly ms: number;
  /** `new`; `duplicate` where it stands for this very command from before; `conflict` where for another payload. */
  readonly outcome: "new" | "duplicate" | "conflict";
}

/** The call that a command belongs to. It is looked at just before the command is sent. */
export interface Caller {
  /** Milliseconds since 1970. */
  readonly deadline: number;
  readonly cancelled: boolean;
}

/** The definition of an instrument, written together with its command. */
export interface InstrumentChange {
  readonly symbol: string;
  /** Encoded; empty where there is none. */
  readonly present: Buffer;
  readonly next: Buffer;
}

/**
 * The commands of one call on their way. Invariant: placements.length ≤ sent ≤ commands.length, and the placements are
 * those of the first commands; it is resolved or rejected once.
 */
export class Ticket {
  readonly commands: readonly PreparedCommand[];
  readonly caller: Caller;
  readonly change: InstrumentChange | undefined;
  readonly placements: Placement[] = [];
  sent = 0;
  readonly #resolve: (placements: readonly Placement[]) => void;
  readonly #reject: (error: AppendError) => void;

  constructor(
    commands: readonly PreparedCommand[],
    caller: Caller,
    change: InstrumentChange | undefined,
    resolve: (placements: readonly Placement[]) => void,
    reject: (error: AppendError) => void,
  ) {
    this.commands = commands;
    this.caller = caller;
    this.change = change;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  place(placement: Placement): void {
    if (this.placements.push(placement) === this.commands.length) this.#resolve(this.placements);
  }

  /** Where the first commands stand in the log already, the outcome of the call as a whole is not that nothing was done. */
  fail(error: AppendError): void {
    const { length } = this.placements;
    if (length === 0 || error.code === "unknown") return this.#reject(error);
    const message = `${length} of ${this.commands.length} commands are in the log, the others are not`;
    this.#reject(new AppendError("unknown", message, { cause: error }));
  }
}

/** What the script appends at once, and whose commands these are. */
export class Flush {
  readonly counter: number;
  readonly commands: PreparedCommand[] = [];
  /** The ticket of each command. */
  readonly tickets: Ticket[] = [];
  bytes = 0;
  change: InstrumentChange | undefined;

  constructor(counter: number) {
    this.counter = counter;
  }

  /** Takes as many of the ticket's commands as fit. False where some are left for the next flush. */
  add(ticket: Ticket): boolean {
    // A change of an instrument goes alone, so that its refusal concerns nobody else.
    if (ticket.change !== undefined && this.commands.length > 0) return false;
    while (ticket.sent < ticket.commands.length) {
      const command = ticket.commands[ticket.sent]!;
      const full = this.commands.length === MAX_ENTRY_COMMANDS || this.bytes + command.element.length > MAX_ENTRY_BYTES;
      if (full && this.commands.length > 0) return false;
      this.commands.push(command);
      this.tickets.push(ticket);
      this.bytes += command.element.length;
      ticket.sent++;
    }
    this.change = ticket.change;
    return ticket.change === undefined;
  }

  /** The arguments 8 to 11 of the commit script. */
  payload(): (string | number | Buffer)[] {
    const batch = Buffer.allocUnsafe(this.bytes);
    const lengths = Buffer.allocUnsafe(this.commands.length * 4);
    const identities = Buffer.allocUnsafe(this.commands.length * 24);
    let at = 0;
    for (const [i, { element, identity }] of this.commands.entries()) {
      at += element.copy(batch, at);
      lengths.writeUInt32BE(element.length, i * 4);
      identities.write(identity, i * 24, "latin1");
    }
    return [SCHEMA_VERSION, batch, lengths, identities];
  }

  /** Gives every command its place: `entry` where it was appended, `seen` (index and value in turns) where not. */
  settle(partition: number, epoch: number, entry: EntryId | undefined, seen: readonly unknown[]): void {
    const prefix = entry === undefined ? "" : orderIdPrefix(partition, { epoch, ...entry });
    let index = 0;
    let nextSeen = 0;
    for (const [i, ticket] of this.tickets.entries()) {
      if (seen[nextSeen] === i) {
        const first = decodeSeen(seen[nextSeen + 1] as Buffer);
        const same = this.commands[i]!.identity.endsWith(first.payloadHash);
        const id = orderIdAt(orderIdPrefix(partition, first), first.index);
        ticket.place({ id, ms: first.ms, outcome: same ? "duplicate" : "conflict" });
        nextSeen += 2;
      } else {
        ticket.place({ id: orderIdAt(prefix, index++), ms: entry!.ms, outcome: "new" });
      }
    }
  }

  fail(error: AppendError): void {
    for (const ticket of new Set(this.tickets)) ticket.fail(error);
  }
}

/** The reply of the commit script, taken apart. */
export type CommitReply =
  | {
      readonly status: "OK";
      readonly generation: number;
      readonly epoch: number;
      readonly entry: EntryId | undefined;
      readonly seen: readonly unknown[];
    }
  | { readonly status: "RUN" | "EPOCH" | "BEHIND" | "MISSING" }
  | { readonly status: "CLOCK"; readonly ms: number }
  | { readonly status: "GENERATION"; readonly generation: number }
  | { readonly status: "STALE" }
  | { readonly status: "CHANGED" };

export function readReply(reply: unknown): CommitReply {
  const [status, first, epoch, id, seen] = reply as [Buffer, Buffer, Buffer, Buffer, readonly unknown[]];
  const text = status.toString();
  switch (text) {
    case "OK": {
      const entry = id.length === 0 ? undefined : parseEntryId(id.toString());
      return { status: text, generation: Number(first.toString()), epoch: Number(epoch.toString()), entry, seen };
    }
    case "CLOCK":
      return { status: text, ms: Number(first.toString()) };
    case "GENERATION":
      return { status: text, generation: Number(first.toString()) };
    case "RUN":
    case "EPOCH":
    case "BEHIND":
    case "MISSING":
    case "STALE":
    case "CHANGED":
      return { status: text };
    default:
      throw new AppendError("unknown", `the commit script answered ${text}`);
  }
}
