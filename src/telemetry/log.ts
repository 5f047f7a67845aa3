import { pino, stdSerializers } from "pino";
import type { DestinationStream, LevelWithSilent, Logger } from "pino";

import { redact } from "./redact.ts";

export type Log = Logger;

/**
 * The log of a role: JSON lines on the standard output, written before the call returns, so that the last line of a
 * dying process is not lost. Secrets are taken out of the finished line, wherever in it they stand.
 */
export function createLog(role: string, level: LevelWithSilent, destination?: DestinationStream): Log {
  return pino(
    {
      level,
      base: { role, pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError },
      hooks: { streamWrite: redact },
    },
    destination ?? pino.destination({ fd: 1, sync: true }),
  );
}

/** An error of Redis carries the whole command that failed: a batch of orders, or the password of an AUTH. */
function serializeError(error: Error): unknown {
  const { command: _, ...fields }: Record<string, unknown> = { ...stdSerializers.err(error) };
  return fields;
}
