import type { Http2Server, IncomingHttpHeaders } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** grpc-js counts the time of a call in 32 bits: of 25 days and more something is left, less than nothing as a rule. */
const MOST_MS = 2 ** 31 - 1;
/** Milliseconds; of the other units eight digits, as many as there may be, are less. */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000 };

/**
 * Takes the header away from calls whose time grpc-js cannot count, before it looks at it: our own bounds come long before.
 * To be called once the server has its connection injector.
 */
export function dropEndlessTimeouts(server: Server): void {
  // Private in grpc-js, and the only place before its own: test/door.test.ts sees that it is there.
  const { http2Servers } = server as unknown as { readonly http2Servers: ReadonlyMap<Http2Server, unknown> };
  for (const http2 of http2Servers.keys()) {
    http2.prependListener("stream", (_: unknown, headers: IncomingHttpHeaders) => {
      const timeout = headers["grpc-timeout"];
      if (typeof timeout === "string" && isEndless(timeout)) delete headers["grpc-timeout"];
    });
  }
}

/** Whether it is a time that grpc-js cannot count. */
export function isEndless(timeout: string): boolean {
  const [, amount, unit] = /(\d{1,8})\s*([HMS])/.exec(timeout) ?? [];
  return unit !== undefined && Number(amount) * UNITS[unit]! > MOST_MS;
}
