import { MAX_PARTITIONS } from "./position.ts";

/**
 * CRC-16/XMODEM, the one that Redis Cluster uses for its slots (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
 */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

export function crc16(text: string): number {
  let crc = 0;
  for (const byte of Buffer.from(text)) crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >> 8) ^ byte]!;
  return crc;
}

/**
 * The partition of a symbol: CRC16(symbol) mod the number of partitions.
 *
 * Looked up once for every order, so answers are kept; symbols are bounded by the instruments that exist, because
 * only known symbols are asked for.
 */
export class Partitioning {
  readonly count: number;
  readonly #known = new Map<string, number>();

  constructor(count: number) {
    if (!Number.isInteger(count) || count < 1 || count > MAX_PARTITIONS) {
      throw new RangeError(`the number of partitions must be 1 to ${MAX_PARTITIONS}, not ${count}`);
    }
    this.count = count;
  }

  of(symbol: string): number {
    const known = this.#known.get(symbol);
    if (known !== undefined) return known;
    const partition = crc16(symbol) % this.count;
    this.#known.set(symbol, partition);
    return partition;
  }

  /** 0 to count - 1. */
  all(): number[] {
    return Array.from({ length: this.count }, (_, partition) => partition);
  }
}
