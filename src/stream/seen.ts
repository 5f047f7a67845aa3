import type { EntryPosition } from "./position.ts";

/**
 * The value of an idempotency key: the payload hash that its id is bound to, and the place of the command, 22 bytes
 * big-endian: hash 8, epoch 2, ms 6, sequence 4, index 2. `scripts/commit.lua` writes the same.
 */
export interface Seen extends EntryPosition {
  /** 8 characters of latin1. */
  readonly payloadHash: string;
  readonly index: number;
}

const LENGTH = 22;

export function encodeSeen(payloadHash: string, place: EntryPosition & { readonly index: number }): Buffer {
  const value = Buffer.allocUnsafe(LENGTH);
  value.write(payloadHash, 0, "latin1");
  value.writeUInt16BE(place.epoch, 8);
  value.writeUIntBE(place.ms, 10, 6);
  value.writeUInt32BE(place.seq, 16);
  value.writeUInt16BE(place.index, 20);
  return value;
}

export function decodeSeen(value: Buffer): Seen {
  return {
    payloadHash: value.toString("latin1", 0, 8),
    epoch: value.readUInt16BE(8),
    ms: value.readUIntBE(10, 6),
    seq: value.readUInt32BE(16),
    index: value.readUInt16BE(20),
  };
}
