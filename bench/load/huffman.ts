// The Huffman code of HPACK (RFC 7541, appendix B), for decoding only: what the generator sends is not compressed.

// The code is canonical: the codes of one length count upwards in the order of their symbols and go on where the shorter
// ones ended, so the lengths say it all. One base-32 digit for each of the bytes 0 to 255, then for the end of string.
const LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca" +
  "d67777777777777777777777878djde6f56565666577666567655677777fbeds" +
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq" +
  "u";

const SHORTEST = 5;
const LONGEST = 30;
const END_OF_STRING = 256;

// The symbols in the order of their codes, and for each length its first code and where its symbols begin.
const symbols: number[] = [];
const firstCode: number[] = [];
const firstSymbol: number[] = [];

let code = 0;
for (let length = 1; length <= LONGEST; length++) {
  code *= 2;
  const before = symbols.length;
  firstCode[length] = code;
  firstSymbol[length] = before;
  for (let symbol = 0; symbol <= END_OF_STRING; symbol++) {
    if (parseInt(LENGTHS.charAt(symbol), 32) === length) symbols.push(symbol);
  }
  code += symbols.length - before;
}
firstSymbol[LONGEST + 1] = symbols.length;

/** The text of a Huffman-coded string, one character a byte. Throws where the bytes are no such string. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  let text = "";
  let bits = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    for (let shift = 7; shift >= 0; shift--) {
      bits = bits * 2 + ((byte >> shift) & 1);
      length++;
      if (length < SHORTEST) continue;
      const rank = bits - (firstCode[length] ?? 0);
      const first = firstSymbol[length] ?? 0;
      if (rank >= (firstSymbol[length + 1] ?? 0) - first) {
        if (length === LONGEST) throw new Error("HPACK: no such Huffman code");
        continue;
      }
      const symbol = symbols[first + rank] ?? END_OF_STRING;
      if (symbol === END_OF_STRING) throw new Error("HPACK: end of string inside a string");
      text += String.fromCharCode(symbol);
      bits = 0;
      length = 0;
    }
  }
  // What is left of the last byte is the beginning of the end of string: all ones, fewer than eight.
  if (length > 7 || bits !== 2 ** length - 1) throw new Error("HPACK: wrong padding");
  return text;
}
