import { decodeHuffman } from "./huffman.ts";

/** A header of HTTP/2: the name in lower case, the value with one character a byte. */
export interface Header {
  readonly name: string;
  readonly value: string;
}

/** What a table holds unless SETTINGS say otherwise (RFC 9113, 6.5.2), in bytes. More is not asked for here. */
export const DEFAULT_TABLE_SIZE = 4096;

// RFC 7541, appendix A. "name: value", or the name alone.
const STATIC_TABLE: readonly Header[] = `:authority
:method: GET
:method: POST
:path: /
:path: /index.html
:scheme: http
:scheme: https
:status: 200
:status: 204
:status: 206
:status: 304
:status: 400
:status: 404
:status: 500
accept-charset
accept-encoding: gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`
  .split("\n")
  .map((line) => {
    const colon = line.indexOf(": ");
    return colon < 0 ? { name: line, value: "" } : { name: line.slice(0, colon), value: line.slice(colon + 2) };
  });

// RFC 7541, 4.1: what an entry counts for besides its text.
const ENTRY_OVERHEAD = 32;

/** The same headers for every request of a connection: the block that teaches the peer's table, and the ones after it. */
export interface RequestBlocks {
  readonly first: Buffer;
  readonly next: Buffer;
}

/**
 * Encodes a request's headers for a connection whose peer offers a table of `tableSize` bytes. The first block empties
 * the table, so it may also be sent in mid-connection, when the peer changed the size. What has no room is sent in full.
 */
export function encodeRequest(headers: readonly Header[], tableSize: number): RequestBlocks {
  const size = Math.min(tableSize, DEFAULT_TABLE_SIZE);
  const first: number[] = [];
  const next: number[] = [];
  writeInteger(first, 0x20, 5, 0);
  writeInteger(first, 0x20, 5, size);

  // Entries go to the front of the table, so the index of each is known only when all of them are counted.
  let room = size;
  let entries = 0;
  const placed = headers.map((header) => {
    const whole = STATIC_TABLE.findIndex((entry) => entry.name === header.name && entry.value === header.value);
    if (whole >= 0) return { header, kind: "static", index: whole + 1 } as const;
    const cost = header.name.length + header.value.length + ENTRY_OVERHEAD;
    if (cost > room) return { header, kind: "literal", index: 0 } as const;
    room -= cost;
    return { header, kind: "dynamic", index: entries++ } as const;
  });

  for (const { header, kind, index } of placed) {
    switch (kind) {
      case "static":
        writeInteger(first, 0x80, 7, index);
        writeInteger(next, 0x80, 7, index);
        break;
      case "dynamic":
        writeLiteral(first, 0x40, 6, header);
        writeInteger(next, 0x80, 7, STATIC_TABLE.length + entries - index);
        break;
      case "literal":
        writeLiteral(first, 0x00, 4, header);
        writeLiteral(next, 0x00, 4, header);
        break;
      default: {
        const never: never = kind;
        throw new Error(`unknown kind ${String(never)}`);
      }
    }
  }
  return { first: Buffer.from(first), next: Buffer.from(next) };
}

function writeLiteral(out: number[], pattern: number, prefixBits: number, header: Header): void {
  writeInteger(out, pattern, prefixBits, STATIC_TABLE.findIndex((entry) => entry.name === header.name) + 1);
  if (!STATIC_TABLE.some((entry) => entry.name === header.name)) writeText(out, header.name);
  writeText(out, header.value);
}

function writeText(out: number[], text: string): void {
  const bytes = Buffer.from(text, "latin1");
  writeInteger(out, 0x00, 7, bytes.length);
  out.push(...bytes);
}

function writeInteger(out: number[], pattern: number, prefixBits: number, value: number): void {
  const most = 2 ** prefixBits - 1;
  if (value < most) {
    out.push(pattern | value);
    return;
  }
  out.push(pattern | most);
  let rest = value - most;
  while (rest >= 128) {
    out.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}

/**
 * Decodes the header blocks of one connection. Always true: the dynamic table holds what the peer's encoder holds, newest
 * first, within `#limit` bytes. So every block must be decoded, in the order in which it arrived.
 */
export class HpackDecoder {
  readonly #table: Header[] = [];
  #size = 0;
  #limit = DEFAULT_TABLE_SIZE;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /** The headers of the block at `start` to `end`. Throws where it is malformed; the connection is then lost. */
  decode(bytes: Buffer, start: number, end: number): Header[] {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    const headers: Header[] = [];
    while (this.#at < end) {
      const byte = bytes[this.#at] ?? 0;
      if (byte >= 0x80) {
        headers.push(this.#entry(this.#integer(7)));
      } else if (byte >= 0x40) {
        const header = this.#literal(6);
        this.#add(header);
        headers.push(header);
      } else if (byte >= 0x20) {
        this.#resize(this.#integer(5));
      } else {
        headers.push(this.#literal(4));
      }
    }
    return headers;
  }

  #literal(prefixBits: number): Header {
    const index = this.#integer(prefixBits);
    const name = index === 0 ? this.#text() : this.#entry(index).name;
    return { name, value: this.#text() };
  }

  #entry(index: number): Header {
    const header = STATIC_TABLE[index - 1] ?? this.#table[index - 1 - STATIC_TABLE.length];
    if (header === undefined) throw new Error(`HPACK: no entry ${index}`);
    return header;
  }

  #add(header: Header): void {
    this.#table.unshift(header);
    this.#size += header.name.length + header.value.length + ENTRY_OVERHEAD;
    this.#evict();
  }

  #resize(limit: number): void {
    if (limit > DEFAULT_TABLE_SIZE) throw new Error(`HPACK: a table of ${limit} bytes was not offered`);
    this.#limit = limit;
    this.#evict();
  }

  #evict(): void {
    while (this.#size > this.#limit) {
      const oldest = this.#table.pop();
      if (oldest === undefined) return;
      this.#size -= oldest.name.length + oldest.value.length + ENTRY_OVERHEAD;
    }
  }

  #text(): string {
    const coded = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    const end = start + length;
    if (end > this.#end) throw new Error("HPACK: a string beyond the block's end");
    this.#at = end;
    return coded ? decodeHuffman(this.#bytes, start, end) : this.#bytes.toString("latin1", start, end);
  }

  #integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    const prefix = this.#byte() & most;
    if (prefix < most) return prefix;
    let value = most;
    // Four more bytes reach 2^28: more than any block here can hold.
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error("HPACK: an integer too large");
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new Error("HPACK: the block ends too early");
    return this.#bytes[this.#at++] ?? 0;
  }
}
