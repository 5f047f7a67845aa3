import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";

/**
 * grpc-js writes to stderr, as no other line of a log is written, each header that is not ASCII: 64 KiB a call, of anyone. The
 * rest of what it says there its callers are told as well: an address that cannot be bound, a connection that cannot be made.
 */
export function muteGrpc(): void {
  setLogVerbosity(logVerbosity.NONE);
}
