// gRPC puts a flag and the length before each message.
const MESSAGE_PREFIX_BYTES = 5;

/**
 * gRPC's codes. RESOURCE_EXHAUSTED is the server's refusal of a call; the others are for what the generator finds itself: its queue
 * full (CANCELLED), no answer in time, connection lost, nonsense received.
 */
export const Code = {
  ...{ OK: 0, CANCELLED: 1, UNKNOWN: 2, DEADLINE_EXCEEDED: 4 },
  ...{ RESOURCE_EXHAUSTED: 8, INTERNAL: 13, UNAVAILABLE: 14 },
};

/** How one call ended: with code 0 and the message of the answer, or with another code and why. */
export interface Outcome {
  readonly code: number;
  readonly reason: string;
  readonly message: Buffer | undefined;
}

/** A call on its way. `tag` is the caller's. */
export interface Call<T> {
  readonly tag: T;
  stream: number;
  // What of the body may still be sent on the stream; only looked at while the body is not wholly sent.
  window: number;
  sent: number;
  body: Buffer;
  status: number;
  reason: string;
  message: Buffer | undefined;
}

/** How a call ended by its status and what came as its answer, prefix and all. A code of -1 is none. */
export function outcomeOf(code: number, reason: string, body: Buffer | undefined): Outcome {
  if (code === -1) return { code: Code.UNKNOWN, reason: reason || "ended without a status", message: undefined };
  if (code !== Code.OK) return { code, reason: percentDecoded(reason), message: undefined };
  if (body === undefined || body.length < MESSAGE_PREFIX_BYTES) {
    return { code: Code.INTERNAL, reason: "status OK without a message", message: undefined };
  }
  if (body[0] !== 0 || body.readUInt32BE(1) !== body.length - MESSAGE_PREFIX_BYTES) {
    return { code: Code.INTERNAL, reason: "not one uncompressed message", message: undefined };
  }
  return { code, reason: "", message: body.subarray(MESSAGE_PREFIX_BYTES) };
}

// grpc-message travels percent-encoded.
function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
