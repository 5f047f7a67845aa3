import { AppendError } from "../stream/append-error.ts";
import { type Appender, OVERLOADED } from "../stream/append.ts";
import type { PreparedCommand } from "../stream/prepared-command.ts";
import type { Caller, InstrumentChange, Placement } from "../stream/flush.ts";
import { RequestError, resourceExhausted } from "./errors.ts";

/** As soon as half a second later a flush or two have made room. */
const RETRY_AFTER_MS = 500;

/**
 * The logs of all partitions, as the services see them. What stands here as a refusal was not appended, except for
 * UNAVAILABLE with "outcome unknown".
 */
export class OrderLog {
  readonly #appenders: readonly Appender[];

  /** One appender a partition, in their order. */
  constructor(appenders: readonly Appender[]) {
    this.#appenders = appenders;
  }

  get partitions(): number {
    return this.#appenders.length;
  }

  /** Commands whose answer is awaited. */
  get waiting(): number {
    return this.#appenders.reduce((sum, appender) => sum + appender.waiting, 0);
  }

  /**
   * Throws where a call of so many commands finds no room, before any work is done for it: what is refused must cost little, or
   * under overload the refusals take the machine from those that are taken. The largest of a call's groups has at least
   * its share of the commands.
   */
  admit(commands: number): void {
    const least = Math.ceil(commands / this.#appenders.length);
    if (this.#appenders.every(({ room }) => room < least)) throw resourceExhausted(OVERLOADED, RETRY_AFTER_MS);
  }

  /** Resolves with the places of the commands once they are durable; rejects with a RequestError. */
  async append(
    partition: number,
    commands: readonly PreparedCommand[],
    caller: Caller,
    change?: InstrumentChange,
  ): Promise<readonly Placement[]> {
    const appender = this.#appenders[partition];
    if (appender === undefined) throw new RangeError(`there is no partition ${partition}`);
    try {
      return await appender.append(commands, caller, change);
    } catch (error) {
      throw error instanceof AppendError ? refusalOf(error, caller) : error;
    }
  }

  /** The same command in several partitions: resolves with its places in their order; rejects as `append` does. */
  async appendToEach(
    partitions: readonly number[],
    command: PreparedCommand,
    caller: Caller,
  ): Promise<readonly Placement[]> {
    const outcomes = await Promise.allSettled(partitions.map((partition) => this.append(partition, [command], caller)));
    const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : []));
    if (failures.length > 0) throw failureOf(partitions.length, failures);
    return outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value : []));
  }
}

/**
 * What a command for several partitions failed with, by why some of them, one at least, did not take it. Where others took it, or
 * say another thing, the outcome as a whole is not that of any of them.
 */
export function failureOf(partitions: number, failures: readonly unknown[]): unknown {
  const [first] = failures;
  const bug = failures.find((failure) => !(failure instanceof RequestError));
  if (bug !== undefined) return bug;
  const { message } = first as RequestError;
  if (failures.length === partitions && failures.every((failure) => (failure as Error).message === message))
    return first;
  return new RequestError(
    "UNAVAILABLE",
    `${failures.length} of ${partitions} partitions did not take it: the outcome is unknown in part; send the same id again`,
    { retryAfterMs: RETRY_AFTER_MS },
  );
}

/** Without the cause: a flush that was given up is logged once, and not by each of its calls. */
function refusalOf(error: AppendError, caller: Caller): RequestError {
  switch (error.code) {
    case "overloaded":
      return resourceExhausted(error.message, RETRY_AFTER_MS);
    case "unavailable":
      return new RequestError("UNAVAILABLE", `${error.message}; nothing was done`, { retryAfterMs: RETRY_AFTER_MS });
    case "unknown":
      return new RequestError("UNAVAILABLE", `${error.message}; send the same id again`, {
        retryAfterMs: RETRY_AFTER_MS,
      });
    case "expired":
      return new RequestError(
        caller.cancelled ? "CANCELLED" : "DEADLINE_EXCEEDED",
        `${error.message}; nothing was done`,
      );
    case "changed":
      return new RequestError("ABORTED", error.message);
    default: {
      const never: never = error.code;
      return never;
    }
  }
}
