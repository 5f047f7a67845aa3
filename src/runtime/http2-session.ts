import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { HttpLimits } from "./http-listener.ts";

/** Until a client has taken the end of what we closed, and what was written before it: a megabyte at 1 Mbit/s takes 8 s. */
const TAKEN_MS = 10_000;

/**
 * Ends it as it is. The session goes on where its client takes that. Where nothing is read of the connection, Node waits with
 * the end of the stream behind what was written: then the session ends too, and with it all of its streams.
 */
export function cutStream(stream: ServerHttp2Stream): void {
  const { session } = stream;
  if (session === undefined) return; // it has ended
  stream.close(constants.NGHTTP2_CANCEL);
  const late = setTimeout(() => session.destroy(), TAKEN_MS);
  stream.once("close", () => clearTimeout(late));
}

/**
 * Ends a session that rests or has grown old, whatever frames it sends: one without a stream is at rest. Its streams are
 * bounded by who answers them, with `cutStream`.
 *
 * `socket` is the session's own, which Node gives to nobody: when a session was destroyed it stays open until its client has
 * read what was written, and after a GOAWAY of the client until that closes it; which may be never.
 */
export function watchSession(
  session: ServerHttp2Session,
  socket: Socket,
  { receiveMs, idleMs, ageMs }: Pick<HttpLimits, "receiveMs" | "idleMs" | "ageMs">,
): void {
  let streams = 0;
  let old = false;
  let idle: NodeJS.Timeout;
  const rest = (ms: number): void => void (idle = setTimeout(end, ms));
  const end = (): void => {
    if (session.destroyed) return void socket.destroy();
    // Not `close`, after which Node waits for ever until the client closes its side.
    session.destroy();
    rest(TAKEN_MS);
  };
  rest(receiveMs);
  const age = setTimeout(() => {
    if (session.destroyed) return;
    old = true;
    session.goaway();
    if (streams > 0) return;
    clearTimeout(idle);
    rest(receiveMs);
  }, ageMs);
  session.on("stream", (stream) => {
    streams++;
    clearTimeout(idle);
    stream.once("close", () => {
      streams--;
      if (streams === 0 && !socket.destroyed) rest(session.destroyed ? TAKEN_MS : old ? receiveMs : idleMs);
    });
  });
  socket.once("close", () => {
    clearTimeout(idle);
    clearTimeout(age);
  });
}
