import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http2";
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { Flag, FrameReader, FrameType, PREFACE, writeFrameHeader } from "./frames.ts";
import { encodeRequest, HpackDecoder } from "./hpack.ts";
import type { Header } from "./hpack.ts";
import { decodeHuffman } from "./huffman.ts";

const REQUEST: readonly Header[] = [
  { name: ":method", value: "POST" },
  { name: ":scheme", value: "http" },
  { name: ":path", value: "/penstock.v1.OrderService/SubmitOrder" },
  { name: ":authority", value: "127.0.0.1:50051" },
  { name: "te", value: "trailers" },
  { name: "content-type", value: "application/grpc" },
  { name: "authorization", value: `Bearer ${"t".repeat(300)}` },
];

// Sends blocks to Node's HTTP/2, each as a request of its own, and gives what each side understood of the other.
async function exchange(t: TestContext, blocks: readonly Buffer[], answer: OutgoingHttpHeaders, tableSize = 4096) {
  const requests: IncomingHttpHeaders[] = [];
  const server = createServer({ settings: { headerTableSize: tableSize } });
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    requests.push(headers);
    stream.respond(answer, { endStream: true });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());

  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  t.after(() => socket.destroy());
  const decoder = new HpackDecoder();
  const answers: Header[][] = [];
  const done = Promise.withResolvers<void>();
  const reader = new FrameReader((type, flags, stream, bytes, start, end) => {
    if (type === FrameType.SETTINGS && (flags & Flag.ACK) === 0) {
      blocks.forEach((block, at) => {
        const frame = Buffer.alloc(9 + block.length);
        block.copy(frame, writeFrameHeader(frame, 0, block.length, FrameType.HEADERS, 0x5, at * 2 + 1));
        socket.write(frame);
      });
    } else if (type === FrameType.HEADERS) {
      assert.equal(flags & Flag.END_HEADERS, Flag.END_HEADERS);
      answers.push(decoder.decode(bytes, start, end));
      if (answers.length === blocks.length) done.resolve();
    } else if (type === FrameType.GOAWAY || type === FrameType.RST_STREAM) {
      done.reject(new Error(`frame ${type} on stream ${stream}: ${bytes.toString("hex", start, end)}`));
    }
  });
  socket.on("data", (chunk: Buffer) => reader.push(chunk));
  const settings = Buffer.alloc(9);
  writeFrameHeader(settings, 0, 0, FrameType.SETTINGS, 0, 0);
  socket.write(PREFACE, "latin1");
  socket.write(settings);
  await done.promise;
  return { requests, answers };
}

for (const tableSize of [4096, 200, 0]) {
  test(`Node's HTTP/2 reads the blocks with a table of ${tableSize} bytes`, async (t) => {
    const { first, next } = encodeRequest(REQUEST, tableSize);
    const { requests } = await exchange(t, [first, next, next, first, next], { ":status": 200 }, tableSize);
    assert.equal(requests.length, 5);
    for (const headers of requests) {
      for (const { name, value } of REQUEST) assert.equal(headers[name], value);
    }
    if (tableSize === 4096) assert.equal(next.length, REQUEST.length);
  });
}

test("headers of Node's HTTP/2 are decoded: every character, the table, and what falls out of it", async (t) => {
  const characters = Array.from({ length: 95 }, (_, at) => String.fromCharCode(0x20 + at)).join("");
  const answer: OutgoingHttpHeaders = { ":status": 200, "x-characters": `a${characters}~` };
  // 60 entries of about 150 bytes: twice what the table holds. Those of one repeated character are Huffman-coded.
  for (let at = 0; at < 60; at++) answer[`x-filler-${at}`] = String.fromCharCode(0x21 + at).repeat(100);
  const { first, next } = encodeRequest(REQUEST, 4096);
  const { answers } = await exchange(t, [first, next, next], answer);
  for (const headers of answers) {
    const received = new Map(headers.map(({ name, value }) => [name, value]));
    for (const [name, value] of Object.entries(answer)) assert.equal(received.get(name), String(value).trim());
  }
});

test("Huffman: the example of RFC 7541 C.4.1, and what is no Huffman string", () => {
  const example = Buffer.from("f1e3c2e5f23a6ba0ab90f4ff", "hex");
  assert.equal(decodeHuffman(example, 0, example.length), "www.example.com");
  assert.throws(() => decodeHuffman(Buffer.from([0xff, 0xff]), 0, 2), /padding/);
  assert.throws(() => decodeHuffman(Buffer.from([0xff, 0xff, 0xff, 0xff]), 0, 4), /end of string/);
});

test("malformed blocks are refused", () => {
  const refused = (hex: string, reason: RegExp) => {
    const bytes = Buffer.from(hex, "hex");
    assert.throws(() => new HpackDecoder().decode(bytes, 0, bytes.length), reason);
  };
  refused("be", /no entry 62/);
  refused("80", /no entry 0/);
  refused("40", /too early/);
  refused("4005616263", /beyond the block's end/);
  refused("3fe2ff7f", /not offered/);
  refused("ffffffffffff", /too large/);
});
