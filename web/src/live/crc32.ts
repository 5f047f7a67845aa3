const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
  return remainder;
});

/** CRC-32 as of zlib, of ASCII. */
export function crc32(text: string): number {
  let remainder = -1;
  for (let at = 0; at < text.length; at++) {
    remainder = (remainder >>> 8) ^ TABLE[(remainder ^ text.charCodeAt(at)) & 0xff]!;
  }
  return ~remainder >>> 0;
}
