import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_FRAME_SIZE, FrameReader, FrameType, writeFrameHeader } from "./frames.ts";

function frame(type: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  payload.copy(bytes, writeFrameHeader(bytes, 0, payload.length, type, 1, stream));
  return bytes;
}

test("frames are the same wherever the bytes are cut", () => {
  const payloads = ["", "a", "hello", "x".repeat(300)].map((text) => Buffer.from(text));
  const bytes = Buffer.concat(payloads.map((payload, at) => frame(FrameType.DATA, at * 2 + 1, payload)));
  for (let size = 1; size <= bytes.length; size++) {
    const seen: string[] = [];
    const reader = new FrameReader((type, flags, stream, from, start, end) => {
      assert.deepEqual([type, flags], [FrameType.DATA, 1]);
      seen.push(`${stream} ${from.toString("latin1", start, end)}`);
    });
    for (let at = 0; at < bytes.length; at += size) {
      // The reader's caller uses one buffer again and again.
      const chunk = Buffer.from(bytes.subarray(at, at + size));
      reader.push(chunk);
      chunk.fill(0xee);
    }
    assert.deepEqual(
      seen,
      payloads.map((payload, at) => `${at * 2 + 1} ${payload.toString()}`),
    );
  }
});

test("the largest frame passes and a larger one is refused", () => {
  const sizes: number[] = [];
  const reader = new FrameReader((_type, _flags, _stream, _bytes, start, end) => sizes.push(end - start));
  reader.push(frame(FrameType.DATA, 1, Buffer.alloc(DEFAULT_FRAME_SIZE)));
  assert.deepEqual(sizes, [DEFAULT_FRAME_SIZE]);
  assert.throws(() => reader.push(frame(FrameType.DATA, 1, Buffer.alloc(DEFAULT_FRAME_SIZE + 1))), /16385 bytes/);
});
