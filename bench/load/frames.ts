// The frames of HTTP/2 (RFC 9113) as far as a client that only makes calls needs them.

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const FRAME_HEADER_BYTES = 9;

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const;

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
} as const;

/** What holds before the peer's SETTINGS say otherwise (RFC 9113, 6.5.2), in bytes. */
export const DEFAULT_WINDOW = 65_535;
export const DEFAULT_FRAME_SIZE = 16_384;
/** The largest window that the protocol knows. */
export const LARGEST_WINDOW = 2 ** 31 - 1;

/** A frame's payload is `bytes` from `start` to `end`; it is the reader's again when the call returns. */
export type FrameHandler = (
  type: number,
  flags: number,
  stream: number,
  bytes: Buffer,
  start: number,
  end: number,
) => void;

/** Writes a frame's header and returns where its payload begins. */
export function writeFrameHeader(
  out: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): number {
  out[at] = length >> 16;
  out[at + 1] = length >> 8;
  out[at + 2] = length;
  out[at + 3] = type;
  out[at + 4] = flags;
  out.writeUInt32BE(stream, at + 5);
  return at + FRAME_HEADER_BYTES;
}

/**
 * Cuts a byte stream into frames. Always true: `#rest` holds the beginning of one frame, less than the whole of it, and
 * never more than a frame header and DEFAULT_FRAME_SIZE, the largest payload that the generator's SETTINGS allow.
 */
export class FrameReader {
  readonly #handler: FrameHandler;
  #rest: Buffer = Buffer.alloc(0);

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Hands on every frame that is whole with `chunk`, and keeps a copy of what is left. Throws at an oversized frame. */
  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUIntBE(at, 3);
      if (length > DEFAULT_FRAME_SIZE) throw new Error(`HTTP/2: a frame of ${length} bytes`);
      const start = at + FRAME_HEADER_BYTES;
      const end = start + length;
      if (end > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      this.#handler(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, stream, bytes, start, end);
      at = end;
    }
    this.#rest = at === bytes.length ? EMPTY : Buffer.from(bytes.subarray(at));
  }
}

const EMPTY: Buffer = Buffer.alloc(0);
