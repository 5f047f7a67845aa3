import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import type { ReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";

import { messageOf, UsageError } from "../../runtime/errors.ts";

/** How the first bytes of a compressed file look. */
const MAGIC = {
  gzip: Buffer.from([0x1f, 0x8b]),
  zstd: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
  xz: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
} as const;
type Compression = keyof typeof MAGIC;

/** Beyond it a line is none of an order: the longest request has 1 kB or so. */
const MAX_LINE = 65_536;

/** A file of recorded order flow, read as a stream, whatever its size. */
export class Recording {
  /** Of the file as it lies there. */
  readonly size: number;
  readonly #path: string;
  readonly #compression: Compression | undefined;
  #file: ReadStream | undefined;

  private constructor(path: string, size: number, compression: Compression | undefined) {
    this.#path = path;
    this.size = size;
    this.#compression = compression;
  }

  /** @throws UsageError where there is no such file. */
  static async open(path: string): Promise<Recording> {
    try {
      if (!(await stat(path)).isFile()) throw new Error("not a file");
      const file = await open(path);
      try {
        const { size } = await file.stat();
        const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
        const names = Object.keys(MAGIC) as Compression[];
        const found = names.find((name) => buffer.subarray(0, bytesRead).indexOf(MAGIC[name]) === 0);
        return new Recording(path, size, found);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw new UsageError(`${path} cannot be read: ${messageOf(error)}`);
    }
  }

  /** How much of the file was read for its lines. */
  get bytesRead(): number {
    return this.#file?.bytesRead ?? 0;
  }

  /** SHA-256 of the file as it lies there, in hexadecimal. */
  async hash(): Promise<string> {
    const hash = createHash("sha256");
    await pipeline(createReadStream(this.#path), hash);
    return hash.digest("hex");
  }

  /** The lines, those of one piece of the file together. @throws Error where the file is damaged, or a line too long. */
  async *lines(): AsyncGenerator<readonly string[], void> {
    const decoder = new TextDecoder();
    let rest = "";
    let complete = 0;
    for await (const chunk of this.#unpacked()) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
      rest = lines.pop() ?? "";
      complete += lines.length;
      if (rest.length > MAX_LINE) throw new Error(`${this.#path}: line ${complete + 1} is longer than ${MAX_LINE}`);
      if (lines.length > 0) yield lines;
    }
    if (rest !== "") yield [rest];
  }

  async *#unpacked(): AsyncGenerator<Buffer, void> {
    const file = createReadStream(this.#path);
    this.#file = file;
    try {
      yield* this.#unpack(file);
    } catch (error) {
      throw new Error(`${this.#path} cannot be read`, { cause: error });
    } finally {
      file.destroy();
    }
  }

  #unpack(file: Readable): AsyncIterable<Buffer> {
    switch (this.#compression) {
      case undefined:
        return file;
      case "xz":
        return unxz(file);
      case "gzip":
        return through(file, createGunzip());
      case "zstd":
        return through(file, createZstdDecompress());
      default: {
        const never: never = this.#compression;
        return never;
      }
    }
  }
}

function through(file: Readable, unpacker: NodeJS.ReadWriteStream & AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  // A failure of either end is told by the other, which is read.
  pipeline(file, unpacker).catch(() => undefined);
  return unpacker;
}

/** By the command `xz`: Node has no such decoder. */
async function* unxz(file: Readable): AsyncGenerator<Buffer, void> {
  const child = spawn("xz", ["-dc"], { stdio: ["pipe", "pipe", "pipe"] });
  const ended = once(child, "close") as Promise<[number | null]>;
  const said = text(child.stderr).catch(() => "");
  // Where xz ends early, it says why.
  pipeline(file, child.stdin).catch(() => undefined);
  try {
    // Rejects where there is no such command.
    await Promise.race([once(child, "spawn"), ended]);
    yield* child.stdout as AsyncIterable<Buffer>;
    const [code] = await ended;
    if (code !== 0) throw new Error((await said).trim() || `xz ended with ${code}`);
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw missing
      ? new Error("it is packed with xz, and there is no command xz here: install it, or unpack the file")
      : error;
  } finally {
    ended.catch(() => undefined);
    child.kill();
  }
}
