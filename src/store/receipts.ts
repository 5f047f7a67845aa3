import { compareKeys } from "./entry-record.ts";
import type { EntryKey, EntryRecord, Receipt } from "./entry-record.ts";
import { packBytes, plainArray } from "./parameters.ts";
import type { Transaction } from "./writer.ts";

export interface ReceiptOutcome {
  /** Entries whose receipt was written now: their rows are to be written too. */
  readonly fresh: EntryRecord[];
  /** Entries that have been written before. */
  readonly duplicates: EntryRecord[];
  /** Entries in whose place another payload stands. */
  readonly forks: EntryRecord[];
}

type KeyRow = { stream: number; partition: number; epoch: number; ms: string; seq: string };

const INSERT = `
  INSERT INTO journal (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash, payload)
  SELECT stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands,
         substring($1 FROM hash_at FOR hash_size), substring($2 FROM payload_at FOR payload_size)
  FROM unnest($3::smallint[], $4::smallint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
              $10::smallint[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::integer[])
    AS r (stream, partition, epoch, ms, seq, prev_ms, prev_seq, version, commands, hash_at, hash_size, payload_at, payload_size)
  ON CONFLICT DO NOTHING
  RETURNING stream, partition, epoch, ms, seq`;

const FIND = `
  SELECT stream, partition, epoch, ms, seq, hash
  FROM unnest($1::smallint[], $2::smallint[], $3::smallint[], $4::bigint[], $5::bigint[])
    AS k (stream, partition, epoch, ms, seq)
  JOIN journal USING (stream, partition, epoch, ms, seq)`;

/**
 * Writes the receipts that are missing, with their keys sorted, so that two writers with the same entries do not deadlock:
 * the second waits for the first one's end and then finds duplicates. Throws what the transaction throws.
 */
export async function writeReceipts(
  transaction: Transaction,
  entries: readonly EntryRecord[],
): Promise<ReceiptOutcome> {
  const sorted = [...entries].sort((a, b) => compareKeys(a.receipt, b.receipt));
  const receipts = sorted.map(({ receipt }) => receipt);
  const hashes = packBytes(receipts.map(({ hash }) => hash));
  const payloads = packBytes(receipts.map(({ payload }) => payload));
  const { rows } = await transaction.query<KeyRow>(INSERT, [
    hashes.bytes,
    payloads.bytes,
    ...keyColumns(receipts),
    plainArray(receipts.map(({ prevMs }) => prevMs)),
    plainArray(receipts.map(({ prevSeq }) => prevSeq)),
    plainArray(receipts.map(({ version }) => version)),
    plainArray(receipts.map(({ commands }) => commands)),
    hashes.at,
    hashes.size,
    payloads.at,
    payloads.size,
  ]);
  if (rows.length === sorted.length) return { fresh: sorted, duplicates: [], forks: [] };
  // Taken out when met, so that an entry that was given twice is fresh once.
  const written = new Set(rows.map(keyText));
  const known: EntryRecord[] = [];
  const fresh = sorted.filter((entry) => written.delete(keyText(entry.receipt)) || !known.push(entry));
  return { fresh, ...(await compareHashes(transaction, known)) };
}

async function compareHashes(
  transaction: Transaction,
  known: readonly EntryRecord[],
): Promise<Omit<ReceiptOutcome, "fresh">> {
  // READ COMMITTED: this statement sees what the insert ran into.
  const { rows } = await transaction.query<KeyRow & { hash: Buffer }>(
    FIND,
    keyColumns(known.map(({ receipt }) => receipt)),
  );
  const hashes = new Map(rows.map((row) => [keyText(row), row.hash]));
  const isSame = ({ receipt }: EntryRecord) => hashes.get(keyText(receipt))?.equals(receipt.hash) === true;
  return { duplicates: known.filter(isSame), forks: known.filter((entry) => !isSame(entry)) };
}

/**
 * The receipt of an entry, which stays as it is until the transaction ends, where that holds the partition (journal-lock.ts); undefined
 * where there is none.
 */
export async function findReceipt(
  transaction: Transaction,
  key: EntryKey,
): Promise<Pick<Receipt, "version" | "hash"> | undefined> {
  // A day that a transaction has read cannot be dropped before its end.
  const { rows } = await transaction.query<Pick<Receipt, "version" | "hash">>(
    "SELECT version, hash FROM journal WHERE stream = $1 AND partition = $2 AND epoch = $3 AND ms = $4 AND seq = $5",
    [key.stream, key.partition, key.epoch, key.ms, key.seq],
  );
  return rows[0];
}

function keyColumns(keys: readonly EntryKey[]): string[] {
  return [
    plainArray(keys.map(({ stream }) => stream)),
    plainArray(keys.map(({ partition }) => partition)),
    plainArray(keys.map(({ epoch }) => epoch)),
    plainArray(keys.map(({ ms }) => ms)),
    plainArray(keys.map(({ seq }) => seq)),
  ];
}

function keyText(key: EntryKey | KeyRow): string {
  return `${key.stream}:${key.partition}:${key.epoch}:${key.ms}-${key.seq}`;
}
