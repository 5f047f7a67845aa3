// The form of a snapshot: numbers of 7 bits a byte (LEB128), halves of keys as 4 bytes, texts as their UTF-16 units.

/** Invariant: the first `#length` bytes are written. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  /** @param expected about how many bytes it will be */
  constructor(expected: number) {
    this.#bytes = new Uint8Array(expected);
  }

  /** 0 to 2^53 - 1. */
  number(value: number): void {
    this.#reserve(8);
    const bytes = this.#bytes;
    let at = this.#length;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      bytes[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.#length = at;
  }

  word(value: number): void {
    this.#reserve(4);
    for (let shift = 0; shift < 32; shift += 8) this.#bytes[this.#length++] = value >>> shift;
  }

  text(text: string): void {
    this.number(text.length);
    for (let i = 0; i < text.length; i++) this.number(text.charCodeAt(i));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = new Uint8Array(this.#bytes.length * 2 + more);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** More than any text of the engine has: names, symbols, sizes and client order ids are bounded at the door and by it. */
const MAX_TEXT = 1_000;

/** Throws a RangeError where the bytes end too early, or hold what no writer writes. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #position = 0;
  readonly #units: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get rest(): number {
    return this.#bytes.length - this.#position;
  }

  number(): number {
    const bytes = this.#bytes;
    let value = 0;
    let at = this.#position;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError("damaged: it ends too early");
      value += (byte & 0x7f) * scale;
      if (byte > 0x7f) continue;
      if (value > Number.MAX_SAFE_INTEGER) break;
      this.#position = at;
      return value;
    }
    throw new RangeError("damaged: a number is beyond 2^53 - 1");
  }

  /** A number of things of which each takes a byte at least. */
  count(): number {
    const count = this.number();
    if (count > this.rest) throw new RangeError("damaged: more is counted than there is");
    return count;
  }

  /** A number below a bound. */
  below(bound: number): number {
    const value = this.number();
    if (value >= bound) throw new RangeError("damaged: a number is beyond its bound");
    return value;
  }

  word(): number {
    let value = 0;
    for (let shift = 0; shift < 32; shift += 8) value |= this.#next() << shift;
    return value;
  }

  text(): string {
    const units = this.#units;
    units.length = this.below(MAX_TEXT + 1);
    for (let i = 0; i < units.length; i++) units[i] = this.below(0x1_0000);
    return String.fromCharCode(...units);
  }

  #next(): number {
    const byte = this.#bytes[this.#position++];
    if (byte === undefined) throw new RangeError("damaged: it ends too early");
    return byte;
  }
}
