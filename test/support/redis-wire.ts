import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Direction, Frame, Wire } from "./wire.ts";

/** Of a message these are kept, each as far as this: enough for a script's digest, keys and IDs. */
const KEPT_WORDS = 16;
const KEPT_CHARACTERS = 64;
/** A line of an answer: an error with the trace of a script, or a word. Far more than either is another protocol. */
const LONGEST_LINE = 65_536;
/** Commands of a connection whose answers are awaited: some thousand where a log is put back. */
const MOST_WAITING = 100_000;

const SCRIPTS = join(import.meta.dirname, "..", "..", "src", "stream", "scripts");

/** By digest, and by how the source begins: `EVALSHA` names the one, `EVAL` holds the other. */
const scripts = new Map<string, string>();
for (const file of readdirSync(SCRIPTS)) {
  const source = readFileSync(join(SCRIPTS, file), "utf8");
  const name = `script ${file.replace(/\.lua$/, "")}`;
  scripts.set(createHash("sha1").update(source).digest("hex"), name);
  scripts.set(Buffer.from(source).toString("latin1", 0, KEPT_CHARACTERS), name);
}

/** RESP, as the driver speaks it here (version 2): each command is a list, and has one answer, in their order. */
export class RedisWire implements Wire {
  readonly #readers = { up: new RespReader(), down: new RespReader() };
  readonly #waiting: string[] = [];

  read(direction: Direction, chunk: Buffer): Frame[] {
    return this.#readers[direction].read(chunk).map(({ words, start, end }) => {
      const name = direction === "up" ? this.#asked(words) : (this.#waiting.shift() ?? "");
      const text = (direction === "up" ? words.slice(1) : words).join(" ");
      return { message: { direction, name, text }, start, end };
    });
  }

  #asked([word = "", script = ""]: readonly string[]): string {
    const command = word.toUpperCase();
    const name = command === "EVALSHA" || command === "EVAL" ? (scripts.get(script) ?? command) : command;
    if (this.#waiting.push(name) > MOST_WAITING) throw new Error("a connection to Redis is not answered");
    return name;
  }
}

interface Value {
  /** The first words in it, however deep. */
  readonly words: readonly string[];
  readonly start: number;
  readonly end: number;
}

class RespReader {
  /** The beginning of a line whose end has not come yet. */
  #line = "";
  /** Bytes of a string that are still to come, the two behind it included. */
  #missing = 0;
  #string = "";
  /** How many elements of each list that is open are still to come, the innermost last. */
  readonly #open: number[] = [];
  #words: string[] = [];

  read(chunk: Buffer): Value[] {
    const values: Value[] = [];
    let start = 0;
    for (let at = 0; at < chunk.length;) {
      let isWhole: boolean;
      [at, isWhole] = this.#missing > 0 ? this.#readString(chunk, at) : this.#readLine(chunk, at);
      if (!isWhole) continue;
      values.push({ words: this.#words, start, end: at });
      this.#words = [];
      start = at;
    }
    return values;
  }

  #readString(chunk: Buffer, at: number): [at: number, isWhole: boolean] {
    const end = Math.min(at + this.#missing, chunk.length);
    const wanted = KEPT_CHARACTERS + 2 - this.#string.length;
    if (wanted > 0) this.#string += chunk.toString("latin1", at, Math.min(at + wanted, end));
    this.#missing -= end - at;
    if (this.#missing > 0) return [end, false];
    const word = this.#string.endsWith("\r\n") ? this.#string.slice(0, -2) : this.#string;
    this.#string = "";
    return [end, this.#word(word)];
  }

  #readLine(chunk: Buffer, at: number): [at: number, isWhole: boolean] {
    const end = chunk.indexOf("\n", at) + 1;
    this.#line += chunk.toString("latin1", at, end === 0 ? chunk.length : end);
    if (this.#line.length > LONGEST_LINE) throw new Error("this is not what Redis speaks");
    if (end === 0) return [chunk.length, false];
    const [kind, rest] = [this.#line[0], this.#line.slice(1, -2)];
    this.#line = "";
    return [end, this.#begin(kind, rest)];
  }

  /** Whether that ends the message. */
  #begin(kind: string | undefined, rest: string): boolean {
    switch (kind) {
      case "+":
      case "-":
      case ":":
        return this.#word(rest);
      case "$":
        if (Number(rest) < 0) return this.#word("");
        this.#missing = Number(rest) + 2;
        return false;
      case "*":
        if (Number(rest) <= 0) return this.#word("");
        this.#open.push(Number(rest));
        return false;
      default:
        throw new Error(`this is not what Redis speaks: ${kind}${rest.slice(0, 20)}`);
    }
  }

  #word(word: string): boolean {
    if (this.#words.length < KEPT_WORDS) this.#words.push(word.slice(0, KEPT_CHARACTERS));
    while (this.#open.length > 0) {
      const left = this.#open.pop()! - 1;
      if (left > 0) {
        this.#open.push(left);
        return false;
      }
    }
    return true;
  }
}
