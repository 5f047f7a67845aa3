import { randomInt } from "node:crypto";
import { createServer } from "node:net";

// Below the range that Linux and macOS take outgoing connections' ports from: a port of theirs may be taken while its
// server restarts, and a client that dials a dead server's port in that range can even connect to itself.
const FIRST = 20_000;
const LAST = 32_000;

// With a thousand of these ports taken, ten tries fail once in 10^10 times.
const TRIES = 10;

/** A port to listen on. One that somebody asked for is `exact`; a default gives way to a free one, and 0 is any. */
export interface PortChoice {
  readonly port: number;
  readonly exact: boolean;
}

/** @throws where the port that was asked for is not free. */
export async function settlePort(host: string, { port, exact }: PortChoice): Promise<number> {
  if (!exact) return freePort(host, port);
  if (await isFree(host, port)) return port;
  throw new Error(`port ${port} of ${host} is in use`);
}

/** `preferred` where it is free on that host, else another free port. Whoever uses it must be ready to lose a race for it. */
async function freePort(host: string, preferred = 0): Promise<number> {
  if (preferred !== 0 && (await isFree(host, preferred))) return preferred;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const port = randomInt(FIRST, LAST);
    if (await isFree(host, port)) return port;
  }
  throw new Error(`no free port on ${host} in ${TRIES} tries between ${FIRST} and ${LAST}`);
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(false);
      else reject(error);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
