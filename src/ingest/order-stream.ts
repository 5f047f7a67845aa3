import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  OrderService,
  type StreamOrdersRequest,
  type StreamOrdersResponseSchema,
} from "../gen/penstock/v1/order_service_pb.ts";
import type { Caller, Placement } from "../stream/flush.ts";
import type { Call, Implementation, Inlet, Outlet } from "./call.ts";
import type { DisconnectCancels } from "./disconnect-cancels.ts";
import { invalidArgument, RequestError, toStatus } from "./errors.ts";
import type { Gate } from "./gate.ts";
import { type MatchedAnswers, wantsMatched } from "./matched-answers.ts";
import type { IngestMetrics } from "./metrics.ts";
import type { Checked, OrderCommands } from "./order-commands.ts";
import { failureOf, type OrderLog } from "./order-log.ts";
import type { RateLimits } from "./rate-limits.ts";
import { REQUIRED } from "./validation/violation.ts";

type Answer = MessageInitShape<typeof StreamOrdersResponseSchema>;
type Result = NonNullable<Answer["result"]>;

/** The answer to a command that is in the log. */
type LoggedResult =
  | { readonly case: "submit"; readonly value: ReturnType<OrderCommands["submitted"]> }
  | { readonly case: "cancel" | "replace"; readonly value: ReturnType<OrderCommands["changed"]> }
  | { readonly case: "cancelAll"; readonly value: ReturnType<OrderCommands["allCancelled"]> };

export interface OrderStreamsOptions {
  readonly commands: OrderCommands;
  readonly log: OrderLog;
  readonly matched: MatchedAnswers;
  readonly disconnects: DisconnectCancels;
  readonly gate: Gate;
  readonly rateLimits: RateLimits;
  readonly metrics: IngestMetrics;
  /** As long as a call may take, a command of a stream may. */
  readonly requestTimeoutMs: number;
}

/**
 * Commands of a stream that were taken and whose answers the client has not taken: two full flushes, so that one fills
 * while the other is on its way. More would only wait here, at some 500 bytes each.
 */
export const MAX_UNDER_WAY = 1_000;

/**
 * Node's HTTP/2 clients half-close what they take back, and reset it a moment later: where that makes a difference, a half-close
 * is believed after so long.
 */
const RESET_MS = 100;

const METHOD = OrderService.method.streamOrders;
const GONE = new RequestError("CANCELLED", "the client has gone");

export class OrderStreams implements Pick<Implementation<typeof OrderService>, "streamOrders"> {
  readonly #options: OrderStreamsOptions;

  constructor(options: OrderStreamsOptions) {
    this.#options = options;
  }

  streamOrders: Implementation<typeof OrderService>["streamOrders"] = (call, outlet) =>
    new OrderStream(this.#options, call, outlet);
}

/** A command between its arrival and its answer. */
interface Pending {
  readonly request: StreamOrdersRequest;
  readonly since: number;
  /** Undefined while the order that it names is looked up. */
  checked: Checked | undefined;
  /** Its places, in the order of its partitions, and why there are none; `missing` is how many are neither yet. */
  readonly placements: Placement[];
  readonly failures: unknown[];
  missing: number;
}

/**
 * The commands of one client, one after the other.
 *
 * Always true:
 * - `#queue` holds, in the order of arrival, what is checked or being looked up and is not handed to the log. It is
 *   handed over from its head only: a command whose order is looked up holds up those behind it. So within a partition
 *   the log has them in the client's order, because it keeps the order of what it is handed.
 * - Each command that was taken is answered once, unless the client is gone; `#pending` counts those that are not, and a
 *   half-close that is not believed yet.
 * - It ends once, and when nothing is pending any more. Unless it ends with OK, the orders of an account that asked for
 *   it are canceled then: behind all that the stream has brought to the log.
 */
class OrderStream implements Inlet<StreamOrdersRequest> {
  readonly #options: OrderStreamsOptions;
  readonly #call: Call;
  readonly #outlet: Outlet<Answer>;
  readonly #succeeded: { inc(): void };
  readonly #latency: { observe(seconds: number): void };
  readonly #queue: Pending[] = [];
  #appending = false;
  #pending = 0;
  #sequence = 0n;
  #ending: { readonly error: RequestError | undefined } | undefined;
  #ended = false;
  #cancelsOnDisconnect = false;

  constructor(options: OrderStreamsOptions, call: Call, outlet: Outlet<Answer>) {
    this.#options = options;
    this.#call = call;
    this.#outlet = outlet;
    this.#succeeded = options.metrics.requests.labels(METHOD.name, "OK");
    this.#latency = options.metrics.latency.labels(METHOD.name);
  }

  get hungry(): boolean {
    return this.#ending === undefined && this.#pending + this.#outlet.untaken < MAX_UNDER_WAY;
  }

  take(request: StreamOrdersRequest): void {
    // It was on its way when the end was decided.
    if (this.#ending !== undefined) return;
    if (request.cancelOnDisconnect) this.#cancelsOnDisconnect = true;
    if (request.sequence <= this.#sequence) {
      const description = `must be more than the one before it, ${this.#sequence}`;
      return this.finish(invalidArgument({ violations: [{ field: "sequence", description }] }));
    }
    this.#sequence = request.sequence;
    this.#pending++;
    const pending: Pending = {
      request,
      since: performance.now(),
      checked: undefined,
      placements: [],
      failures: [],
      missing: 0,
    };
    try {
      const checked = this.#check(request);
      this.#queue.push(pending);
      if (checked instanceof Promise) return void this.#lookedUp(pending, checked);
      pending.checked = checked;
      this.#appendSoon();
    } catch (error) {
      this.#refuse(pending, error);
    }
  }

  finish(error?: RequestError): void {
    if (this.#ending !== undefined) return;
    this.#ending = { error };
    if (error === undefined && this.#cancelsOnDisconnect) {
      this.#pending++;
      setTimeout(() => this.#release(), RESET_MS);
    } else if (this.#pending === 0) this.#end(error);
  }

  closed(): void {
    if (this.#ended) return;
    // Also where the client had sent all: it did not get its answers.
    this.#ending = { error: GONE };
    for (const pending of this.#queue.splice(0)) this.#refuse(pending, GONE);
    if (this.#pending === 0) this.#end(GONE);
  }

  #end(error: RequestError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    if (error !== undefined && this.#cancelsOnDisconnect) {
      this.#options.disconnects.cancelAll(this.#call.principal.account);
    }
    this.#outlet.end(error);
  }

  /** Throws where the command is refused. */
  #check({ command }: StreamOrdersRequest): Checked | Promise<Checked> {
    const { commands, rateLimits } = this.#options;
    rateLimits.take(this.#call.principal, 1);
    const learning = command.value && commands.learn([command.value]);
    return learning === undefined ? this.#checkLearned(command) : learning.then(() => this.#checkLearned(command));
  }

  #checkLearned(command: StreamOrdersRequest["command"]): Checked | Promise<Checked> {
    const { commands } = this.#options;
    const { account } = this.#call.principal;
    switch (command.case) {
      case "submit": {
        commands.admit();
        const checked = commands.submit(command.value, account, Date.now());
        if (checked instanceof RequestError) throw checked;
        return checked;
      }
      case "cancel":
        return commands.cancel(command.value, account);
      case "replace":
        return commands.replace(command.value, account);
      case "cancelAll":
        return commands.cancelAll(command.value, account);
      case undefined:
        throw invalidArgument({ violations: [{ field: "command", description: REQUIRED }] });
      default: {
        const never: never = command;
        return never;
      }
    }
  }

  async #lookedUp(pending: Pending, checked: Promise<Checked>): Promise<void> {
    try {
      pending.checked = await within(checked, this.#options.requestTimeoutMs);
    } catch (error) {
      const at = this.#queue.indexOf(pending);
      if (at === -1) return; // the client has gone meanwhile
      this.#queue.splice(at, 1);
      this.#refuse(pending, error);
    }
    this.#appendSoon();
  }

  /**
   * Handing over in a microtask lets all commands of one read be one group: they were taken in microtasks that were due
   * before.
   */
  #appendSoon(): void {
    if (this.#appending) return;
    this.#appending = true;
    queueMicrotask(() => {
      this.#appending = false;
      this.#append();
    });
  }

  #append(): void {
    const ahead = this.#queue.findIndex(({ checked }) => checked === undefined);
    const ready = this.#queue.splice(0, ahead === -1 ? this.#queue.length : ahead);
    const groups = new Map<number, Pending[]>();
    for (const pending of ready) {
      const { partitions } = pending.checked!;
      pending.missing = partitions.length;
      for (const partition of partitions) {
        const group = groups.get(partition);
        if (group === undefined) groups.set(partition, [pending]);
        else group.push(pending);
      }
    }
    for (const [partition, group] of groups) void this.#appendGroup(partition, group);
  }

  async #appendGroup(partition: number, group: readonly Pending[]): Promise<void> {
    const call = this.#call;
    const caller: Caller = {
      deadline: Math.min(Date.now() + this.#options.requestTimeoutMs, call.deadline),
      get cancelled() {
        return call.cancelled;
      },
    };
    const commands = group.map(({ checked }) => checked!.command);
    let placements: readonly Placement[] | undefined;
    let failure: unknown;
    try {
      placements = await this.#options.log.append(partition, commands, caller);
    } catch (error) {
      failure = error;
    }
    for (const [i, pending] of group.entries()) {
      if (placements === undefined) pending.failures.push(failure);
      else pending.placements[pending.checked!.partitions.indexOf(partition)] = placements[i]!;
      this.#settle(pending, caller.deadline);
    }
    this.#outlet.readOn();
  }

  /** One of its partitions has taken or refused it: it is answered when all have, or when the engine has processed it. */
  #settle(pending: Pending, deadline: number): void {
    if (--pending.missing > 0) return;
    const { checked, failures } = pending;
    const { value } = pending.request.command;
    let result: LoggedResult;
    try {
      if (failures.length > 0) throw failureOf(checked!.partitions.length, failures);
      result = this.#result(pending);
    } catch (error) {
      return this.#refuse(pending, error);
    }
    if (value !== undefined && wantsMatched(value)) void this.#answerMatched(pending, result, deadline);
    else this.#succeed(pending, result);
  }

  async #answerMatched(pending: Pending, result: LoggedResult, deadline: number): Promise<void> {
    // A stream that ends with an error does not wait for the engine.
    const isLeaving = () => this.#ending?.error !== undefined;
    const caller: Caller = {
      deadline,
      get cancelled() {
        return isLeaving();
      },
    };
    try {
      this.#succeed(pending, await this.#matched(result, caller));
    } catch (error) {
      this.#refuse(pending, error);
    }
    this.#outlet.readOn();
  }

  async #matched(result: LoggedResult, caller: Caller): Promise<Result> {
    const { matched } = this.#options;
    switch (result.case) {
      case "submit":
        return { case: result.case, value: await matched.submitted(result.value, caller) };
      case "cancel":
      case "replace":
        return { case: result.case, value: await matched.changed(result.value, caller) };
      case "cancelAll":
        return { case: result.case, value: await matched.allCanceled(result.value, caller) };
      default: {
        const never: never = result;
        return never;
      }
    }
  }

  #succeed(pending: Pending, result: Result): void {
    this.#succeeded.inc();
    this.#answer(pending, result);
  }

  #result({ request: { command }, placements }: Pending): LoggedResult {
    const { commands } = this.#options;
    switch (command.case) {
      case "submit":
        return { case: command.case, value: commands.submitted(command.value.clientOrderId, placements[0]!) };
      case "cancel":
      case "replace":
        return { case: command.case, value: commands.changed(command.value.clientRequestId, placements[0]!) };
      case "cancelAll":
        return { case: command.case, value: commands.allCancelled(command.value.clientRequestId, placements) };
      default:
        throw new TypeError("what has a place is a command");
    }
  }

  #refuse(pending: Pending, thrown: unknown): void {
    if (pending.request.command.case === "submit") this.#options.metrics.refused.inc();
    const { error } = this.#options.gate.refuse(METHOD, thrown, undefined);
    this.#answer(pending, { case: "refused", value: toStatus(error) });
  }

  #answer(pending: Pending, result: Result): void {
    this.#latency.observe((performance.now() - pending.since) / 1000);
    this.#outlet.send({ sequence: pending.request.sequence, result });
    this.#release();
  }

  #release(): void {
    if (--this.#pending === 0 && this.#ending !== undefined) this.#end(this.#ending.error);
  }
}

/** What the look-up finds, if it does so in time. */
async function within<T>(lookup: Promise<T>, ms: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new RequestError("DEADLINE_EXCEEDED", "the order was not found in time; nothing was done"));
  }, ms);
  try {
    return await Promise.race([lookup, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
