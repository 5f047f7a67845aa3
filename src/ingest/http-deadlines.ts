import { Code, ConnectError } from "@connectrpc/connect";
import { OUTCOME_UNKNOWN, outOfTime, RequestError } from "./errors.ts";

/** Milliseconds of the units of gRPC's header. */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Gives every call a deadline, its client's or one in `mostMs` milliseconds, whichever is sooner. (connect would refuse a
 * later one, and has no limit for who gives none.) A value that is none is left as it is: connect says so.
 */
export function boundDeadlines(header: Headers, mostMs: number): void {
  const connect = header.get("connect-timeout-ms");
  if (connect === null || Number(connect) > mostMs) header.set("connect-timeout-ms", String(mostMs));
  const grpc = header.get("grpc-timeout");
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(grpc ?? "") ?? [];
  const later = unit !== undefined && Number(amount) * UNITS[unit]! > mostMs;
  if (grpc === null || later) header.set("grpc-timeout", `${mostMs}m`);
}

/** Rejects when the call has no time any more, or nobody waits for it. */
export function cutOff(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => {
      const code = signal.reason instanceof ConnectError ? signal.reason.code : Code.Canceled;
      reject(
        code === Code.DeadlineExceeded
          ? outOfTime()
          : code === Code.Unavailable
            ? new RequestError("UNAVAILABLE", `shutting down: ${OUTCOME_UNKNOWN}`)
            : new RequestError("CANCELLED", "the client has gone"),
      );
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}
