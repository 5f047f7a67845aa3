import { AppendError } from "../stream/append-error.ts";
import type { Appender } from "../stream/append.ts";
import type { PreparedCommand } from "../stream/command.ts";
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
