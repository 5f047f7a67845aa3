import { setTimeout as sleep } from "node:timers/promises";

import { OrderService } from "../../src/gen/penstock/v1/order_service_pb.ts";
import { Caller, KEEPALIVE, Refusal } from "../support/caller.ts";
import { type Command, Flow, idOf } from "./commands.ts";
import type { Complaint } from "./complaint.ts";
import { ConnectCaller } from "./connect-caller.ts";
import type { Random } from "./random.ts";
import type { AcknowledgementRecord } from "./record.ts";
import type { ToldAnswer } from "./told.ts";
import { type Answer, call, callTogether, CommandStream, DEADLINE_MS, type UnaryCaller } from "./ways.ts";

export interface LoadOptions {
  /** Of each ingest `host:port`; for a client that speaks Connect the URL of the HTTP port. */
  readonly doors: readonly string[];
  /** gRPC by default. */
  readonly protocol?: "gRPC" | "Connect";
  readonly account: string;
  readonly token: string;
  readonly symbols: readonly string[];
  /** Begins every id of the client's: two runs against one log need two. */
  readonly run: string;
  readonly random: Random;
  readonly record: Pick<AcknowledgementRecord, "add">;
  /** Handed what the answers to matched commands told. */
  readonly onTold?: (told: ToldAnswer) => void;
  /** How many commands it has under way at most, each kind of call with its share. */
  readonly slots?: number;
  /** How long a slot rests between two commands, ms. */
  readonly restMs?: number;
}

export interface LoadCounts {
  /** Commands whose outcome is known, and those of them that are in the log. */
  settled: number;
  acknowledged: number;
  /** Times that something was sent again, because nobody could tell what had become of it. */
  retries: number;
}

const LEAST_RETRY_MS = 20;
const MOST_RETRY_MS = 250;
const BATCH = 12;
/** Of the newest commands so many can be asked for again. */
const REMEMBERED = 200;
/** Nothing was said of the command, or that it may come again. */
const AGAIN: ReadonlySet<string> = new Set([
  ...["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"],
  // What a connection looks like that was cut.
  ...["CANCELLED", "INTERNAL", "UNKNOWN"],
]);

/**
 * A client that trades, and keeps its own record of what it was answered. It sends by unary calls, batches and streams, to any of the
 * doors, and asks again with the same id until it knows what became of a command.
 *
 * Always true: what is acknowledged is in the record before anything else is done with it; after `pause` resolved nothing is under way
 * and every command that was ever sent is known. What it was told that must not be is in `findings`.
 */
export class LoadClient {
  readonly account: string;
  readonly counts: LoadCounts = { settled: 0, acknowledged: 0, retries: 0 };
  readonly findings: Complaint[] = [];
  readonly #options: LoadOptions;
  readonly #random: Random;
  readonly #flow: Flow;
  readonly #callers: readonly UnaryCaller[];
  /** None where it speaks Connect: StreamOrders is for gRPC. */
  readonly #streams: readonly CommandStream[];
  readonly #open = new Map<Command, string>();
  readonly #remembered: { readonly command: Command; readonly answer: Answer }[] = [];
  #running: Promise<unknown> | undefined;
  #paused = true;
  #closed = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.account = options.account;
    this.#random = options.random;
    this.#flow = new Flow(options.run, options.symbols, options.random);
    const { doors, token, protocol } = options;
    if (protocol === "Connect") {
      this.#callers = doors.map((door) => new ConnectCaller(door, token));
      this.#streams = [];
      return;
    }
    const callers = doors.map((door) => new Caller(door, `Bearer ${token}`, undefined, KEEPALIVE));
    this.#callers = callers;
    this.#streams = callers.map((caller) => new CommandStream(caller));
  }

  /** Begins, or goes on after a pause. */
  start(): void {
    if (this.#running !== undefined) throw new Error("the load runs already");
    this.#paused = false;
    const { slots = 5 } = this.#options;
    this.#running = Promise.all(Array.from({ length: slots }, (_, slot) => this.#slot(slot)));
  }

  /** Resolves when the outcome of all that was sent is known. What is not by then is a finding, and is given up. */
  async pause(limitMs: number): Promise<void> {
    this.#paused = true;
    const timer = new AbortController();
    const late = sleep(limitMs, true, { signal: timer.signal }).catch(() => false);
    if (await Promise.race([late, this.#running?.then(() => false)])) {
      for (const [command, why] of this.#open) this.#complain(`never answered: ${idOf(command)}: ${why}`);
      this.#closed = true;
      await this.#running;
      this.#closed = false;
    }
    timer.abort();
    this.#running = undefined;
  }

  /**
   * While paused: asks again for some of the newest commands. Each must be answered as it was at first (I2). What is not answered
   * within `limitMs` is a finding, and no more are asked for.
   */
  async askAgain(count: number, limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (let i = 0; i < count && this.#remembered.length > 0; i++) {
      const { command, answer } = this.#random.pick(this.#remembered);
      const again = await this.#settle(command, () => this.#send(command), deadline);
      if (again === undefined) {
        if (performance.now() <= deadline) continue; // it was refused, and that is a finding
        this.#complain(`${idOf(command)} was sent again, and never answered`);
        return;
      }
      if (!again.duplicate || again.places.join() !== answer.places.join()) {
        const first = answer.places.join();
        this.#complain(
          `${idOf(command)} was ${first}, and is ${again.duplicate ? "" : "newly "}${again.places.join()}`,
        );
      }
    }
  }

  /**
   * While paused, after the log has lost something: no longer relies on these orders, nor on commands that are none: a cancel may be
   * gone, and nobody can tell by the rows.
   */
  forget(lost: ReadonlySet<string>): void {
    const kept = this.#remembered.filter(
      ({ command, answer }) => command.case === "submit" && !answer.places.some((id) => lost.has(id)),
    );
    this.#remembered.splice(0, this.#remembered.length, ...kept);
    this.#flow.forget(lost);
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
    for (const caller of this.#callers) caller.close();
  }

  async #slot(slot: number): Promise<void> {
    const { restMs = 60 } = this.#options;
    while (!this.#paused) {
      // The first slot sends batches, the second by streams, the others calls of one command.
      if (slot === 0) await this.#together();
      else await this.#one(slot === 1);
      await sleep(restMs * (0.5 + this.#random.next()) * (slot === 0 ? 4 : 1));
    }
  }

  async #one(byStream: boolean): Promise<void> {
    const command = this.#flow.next();
    const answer = await this.#settle(command, () => (byStream ? this.#stream(command) : this.#call(command)));
    if (answer !== undefined && command.case === "submit" && this.#random.chance(0.05))
      await this.#readBack(command, answer);
  }

  async #together(): Promise<void> {
    const commands = Array.from({ length: this.#random.between(2, BATCH) }, () => this.#flow.submit());
    const sent = callTogether(this.#random.pick(this.#callers), commands);
    sent.catch(() => {}); // each of the orders says it
    await Promise.all(
      commands.map((command, i) =>
        this.#settle(command, async () => {
          const result = (await sent)[i];
          if (result === undefined) throw new Refusal(2, "a batch without a result", undefined);
          if (result instanceof Refusal) throw result;
          return result;
        }),
      ),
    );
  }

  /**
   * Sends again, by any way, until it is known. Undefined where it was refused, or was given up. With a deadline
   * (performance.now) it was answered before, is given up there, and is not noted.
   */
  async #settle(command: Command, first: () => Promise<Answer>, deadline?: number): Promise<Answer | undefined> {
    this.#open.set(command, "not sent");
    try {
      for (let tries = 0; !this.#closed && !(deadline !== undefined && performance.now() > deadline); tries++) {
        try {
          const answer = await (tries === 0 ? first() : this.#send(command));
          if (deadline !== undefined) return answer;
          if (tries === 0 && answer.duplicate) {
            // An ingest sends a flush again whose answer was lost. Where the log has lost it, too, and has it from the journal
            // again, it meets its own first place.
            this.findings.push({ text: `${idOf(command)} was never sent before, and is a duplicate`, ofLoss: true });
          }
          this.#note(command, answer);
          return answer;
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          this.#open.set(command, error.message);
          if (!AGAIN.has(error.code)) {
            // That an order is not found may be said of one that was lost, and of no other.
            const about = error.code === "NOT_FOUND" ? this.#flow.targetOf(command) : undefined;
            this.#complain(`${idOf(command)} was refused: ${error.message}`, about);
            return undefined;
          }
          this.counts.retries++;
          await sleep(Math.min(LEAST_RETRY_MS * 2 ** Math.min(tries, 10), MOST_RETRY_MS) * (0.5 + Math.random()));
        }
      }
      return undefined;
    } finally {
      this.#open.delete(command);
      this.counts.settled++;
    }
  }

  #note(command: Command, answer: Answer): void {
    this.counts.acknowledged++;
    if (answer.told !== undefined) this.#options.onTold?.(answer.told);
    if (command.case === "submit") {
      const { symbol, clientOrderId } = command.value;
      const orderId = answer.places[0]!;
      this.#options.record.add({ account: this.account, clientOrderId, symbol, orderId });
      this.#flow.know({ symbol, clientOrderId, orderId });
    }
    this.#remembered.push({ command, answer });
    if (this.#remembered.length > REMEMBERED) this.#remembered.shift();
  }

  /** I1: an acknowledged order is never NOT_FOUND. */
  async #readBack(command: Command & { readonly case: "submit" }, { places: [orderId = ""] }: Answer): Promise<void> {
    try {
      const { getOrder } = OrderService.method;
      const { order } = await this.#random.pick(this.#callers).call(getOrder, { orderId }, { deadlineMs: DEADLINE_MS });
      if (order?.clientOrderId === command.value.clientOrderId) return;
      this.#complain(`${orderId} is ${order?.clientOrderId}, and was ${command.value.clientOrderId}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (AGAIN.has(error.code)) return;
      const about = error.code === "NOT_FOUND" ? orderId : undefined;
      this.#complain(`${orderId} was acknowledged, and cannot be read: ${error.message}`, about);
    }
  }

  #complain(text: string, orderId?: string): void {
    this.findings.push({ text, orderId });
  }

  #send(command: Command): Promise<Answer> {
    return this.#random.chance(0.3) ? this.#stream(command) : this.#call(command);
  }

  #call(command: Command): Promise<Answer> {
    return call(this.#random.pick(this.#callers), command);
  }

  #stream(command: Command): Promise<Answer> {
    return this.#streams.length === 0 ? this.#call(command) : this.#random.pick(this.#streams).send(command);
  }
}
