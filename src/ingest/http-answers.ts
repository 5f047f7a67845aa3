import type { ServerHttp2Stream } from "node:http2";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { HttpResponse } from "../runtime/http-listener.ts";
import { cutStream } from "../runtime/http2-session.ts";

/** An answer in one piece. */
export async function send(response: HttpResponse, { status, header, body }: UniversalServerResponse): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body ?? []) pieces.push(piece);
  const whole = Buffer.concat(pieces);
  response.statusCode = status;
  for (const [name, value] of header ?? []) response.setHeader(name, value);
  response.setHeader("content-length", whole.length);
  response.end(whole);
}

/** An answer as it comes, no faster than its client takes it. `gone` is aborted when the connection is closed. */
export async function pour(
  response: HttpResponse,
  { status, header, body }: UniversalServerResponse,
  gone: AbortSignal,
): Promise<void> {
  // What is written to a client that has just gone; `gone` tells of it.
  response.on("error", () => {});
  response.statusCode = status;
  for (const [name, value] of header ?? []) response.setHeader(name, value);
  const stream = streamOf(response);
  for await (const piece of body ?? []) {
    if (gone.aborted || stream?.aborted === true) return;
    if (!response.write(piece)) await drained(response, gone);
  }
  response.end();
}

/** Until there is room again, or nobody is there to read. A stream that was cut is still there until its client has seen it. */
function drained(response: HttpResponse, gone: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stream = streamOf(response);
  if (gone.aborted || stream?.aborted === true) resolve();
  const done = (): void => {
    response.off("drain", done);
    stream?.off("aborted", done);
    gone.removeEventListener("abort", done);
    resolve();
  };
  response.on("drain", done);
  stream?.on("aborted", done);
  gone.addEventListener("abort", done);
  return promise;
}

/** Where it is not a call of a protocol, the answer is an error of Connect's all the same: every client can read it. */
export function reply(response: HttpResponse, status: number, code: string, message: string): void {
  if (response.headersSent) return;
  const body = JSON.stringify({ code, message });
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(body));
  response.end(body);
}

/** Ends it as it is: its client does not read, or what was to follow is lost. Of HTTP/2 the connection goes on where its client reads. */
export function cut(response: HttpResponse): void {
  const stream = streamOf(response);
  if (stream === undefined) response.destroy();
  else cutStream(stream);
}

function streamOf(response: HttpResponse): ServerHttp2Stream | undefined {
  return "stream" in response ? (response.stream as ServerHttp2Stream) : undefined;
}

/** How long a call took here since `started` (by performance.now()): a page shows it beside the time that it saw itself. */
export function tellTime(answer: Headers, started: number): void {
  answer.set("server-timing", `call;dur=${(performance.now() - started).toFixed(1)}`);
}
