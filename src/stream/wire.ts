/**
 * The few pieces of the protobuf wire format that the hot path needs. Numbers are unsigned and at most 2^53 - 1.
 */

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
const FIXED32 = 5;

/** The bytes are no message of the expected kind. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** Writes into one buffer that is used again and again. Invariant: `length` bytes of `buffer` are written. */
export class WireWriter {
  buffer: Buffer;
  length = 0;

  constructor(capacity: number) {
    this.buffer = Buffer.allocUnsafeSlow(capacity);
  }

  /** Makes room for so many bytes more; what writes beyond the room is lost. */
  reserve(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.buffer.length, this.length + bytes));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  varint(value: number): void {
    const { buffer } = this;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      buffer[this.length++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[this.length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[this.length++] = rest;
  }

  /** A number field; absent where it is 0, as proto3 has it. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#tag(field, VARINT);
    this.varint(value);
  }

  /** A string field; absent where it is empty. */
  string(field: number, value: string): void {
    if (value === "") return;
    this.#tag(field, BYTES);
    // Identifiers are short and ASCII nearly always: a loop beats the call into native code below some 40 characters.
    if (value.length < 40 && this.#ascii(value)) return;
    this.varint(Buffer.byteLength(value));
    this.length += this.buffer.write(value, this.length);
  }

  /** 8 characters of latin1, as fixed64. */
  fixed64(field: number, latin1: string): void {
    this.buffer[this.length++] = (field << 3) | FIXED64;
    for (let i = 0; i < 8; i++) this.buffer[this.length++] = latin1.charCodeAt(i);
  }

  /** A number of 64 bits, as fixed64. */
  fixed64Number(field: number, value: bigint): void {
    this.buffer[this.length++] = (field << 3) | FIXED64;
    this.length = this.buffer.writeBigUInt64LE(value, this.length);
  }

  /** The tag and the length of a field that holds so many bytes; they must follow. */
  header(field: number, length: number): void {
    this.#tag(field, BYTES);
    this.varint(length);
  }

  /** A field that holds these bytes. */
  field(field: number, bytes: Uint8Array): void {
    this.header(field, bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Begins a field whose length is not known yet; returns where its content begins. `end` must follow. */
  begin(field: number): number {
    this.#tag(field, BYTES);
    return ++this.length;
  }

  /** Ends the field whose content began there. One byte was kept for its length: where it takes more, the content moves. */
  end(start: number): void {
    const length = this.length - start;
    if (length <= 0x7f) {
      this.buffer[start - 1] = length;
      return;
    }
    const more = varintLength(length) - 1;
    this.buffer.copyWithin(start + more, start, this.length);
    this.length = start - 1;
    this.varint(length);
    this.length += length;
  }

  /** What is written: a view, good until the next use. */
  bytes(): Buffer {
    return this.buffer.subarray(0, this.length);
  }

  #tag(field: number, type: number): void {
    const tag = (field << 3) | type;
    if (tag > 0x7f) {
      this.buffer[this.length++] = (tag & 0x7f) | 0x80;
      this.buffer[this.length++] = tag >>> 7;
    } else this.buffer[this.length++] = tag;
  }

  #ascii(value: string): boolean {
    const { buffer } = this;
    const start = this.length;
    buffer[this.length++] = value.length;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) {
        this.length = start;
        return false;
      }
      buffer[this.length++] = code;
    }
    return true;
  }
}

/** How many bytes a number takes. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Reads fields one after the other. Invariant: `position` is at a field's tag or behind it, never beyond `end`. */
export class WireReader {
  readonly buffer: Buffer;
  position: number;
  readonly end: number;

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    this.buffer = buffer;
    this.position = start;
    this.end = end;
  }

  varint(): number {
    const { buffer } = this;
    let value = 0;
    for (let scale = 1; this.position < this.end; scale *= 128) {
      const byte = buffer[this.position++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw new WireError("a number is beyond 2^53 - 1");
        return value;
      }
      if (scale > 2 ** 49) throw new WireError("a number is beyond 2^53 - 1");
    }
    throw new WireError("the message ends inside a number");
  }

  /** Reads a length and steps over so many bytes; returns where they began. */
  bytes(): number {
    const length = this.varint();
    const start = this.position;
    if (length > this.end - start) throw new WireError("the message ends inside a field");
    this.position = start + length;
    return start;
  }

  string(): string {
    const start = this.bytes();
    const end = this.position;
    for (let i = start; i < end; i++) if (this.buffer[i]! > 0x7f) return this.buffer.toString("utf8", start, end);
    return this.buffer.toString("latin1", start, end);
  }

  /** As `string`, for names that come again and again: one string for all of them, as far as `names` remembers. */
  name(names: Names): string {
    const start = this.bytes();
    return names.at(this.buffer, start, this.position);
  }

  /** Steps over 8 bytes; returns where they began. */
  fixed64(): number {
    const start = this.position;
    if (this.end - start < 8) throw new WireError("the message ends inside a field");
    this.position = start + 8;
    return start;
  }

  skip(wireType: number): void {
    if (wireType === VARINT) while (this.position < this.end && this.buffer[this.position++]! > 0x7f);
    else if (wireType === FIXED64) this.fixed64();
    else if (wireType === BYTES) this.bytes();
    else if (wireType === FIXED32 && this.end - this.position >= 4) this.position += 4;
    else throw new WireError(`unknown wire type ${wireType}`);
  }
}

/** A power of two: far more symbols and accounts than trade at one time. Two that share a cell take it from each other. */
const CELLS = 4096;
const MAX_NAME = 64;

/**
 * Names as strings, found by their bytes: to compare the bytes takes a third of the time that a new string does, and what is
 * the same string is found at once in any map. Invariant: a cell holds a name of ASCII alone, whose hash is the cell's.
 */
export class Names {
  readonly #cells: (string | undefined)[] = Array.from({ length: CELLS }, () => undefined);

  at(buffer: Buffer, start: number, end: number): string {
    let hash = end - start;
    let bits = 0;
    for (let i = start; i < end; i++) {
      const byte = buffer[i]!;
      bits |= byte;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    if (bits > 0x7f || end - start > MAX_NAME) return buffer.toString("utf8", start, end);
    const cell = (hash ^ (hash >>> 12)) & (CELLS - 1);
    const known = this.#cells[cell];
    if (known !== undefined && isAt(known, buffer, start, end)) return known;
    return (this.#cells[cell] = buffer.toString("latin1", start, end));
  }
}

function isAt(text: string, buffer: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let i = start; i < end; i++) if (text.charCodeAt(i - start) !== buffer[i]) return false;
  return true;
}
