import { type EntryId, MAX_EPOCH, parseEntryId } from "./position.ts";

/** An entry of a stream as Redis returns it: its ID, and its fields and values in turns; null where it was deleted. */
export type StreamReply = readonly [id: Buffer, fields: readonly Buffer[] | null];

/** Bytes of what an entry holds. */
export function sizeOf([, fields]: StreamReply): number {
  let size = 0;
  for (const field of fields ?? []) size += field.length;
  return size;
}

/** An entry of the orders or of the events stream. */
export interface Entry extends EntryId {
  /** "<ms>-<seq>" */
  readonly id: string;
  readonly epoch: number;
  /** ID of the entry before it. */
  readonly previous: EntryId;
  readonly version: number;
  /** An encoded CommandBatch, or EventBatch. */
  readonly payload: Buffer;
}

/** The entry is none of ours: fields are missing or are not what they should be. */
export class EntryError extends Error {
  override readonly name: string = "EntryError";
}

/** The schema version that an entry names, whatever else it holds; NaN where it names none. */
export function versionOf(fields: readonly Buffer[]): number {
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i]!.toString() === "v") return Number(fields[i + 1]!.toString());
  return Number.NaN;
}

/** Reads the fields `d`, `p`, `e` and `v`. Throws an EntryError. */
export function readEntry(id: string, fields: readonly Buffer[]): Entry {
  const values = new Map<string, Buffer>();
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!.toString(), fields[i + 1]!);
  const payload = values.get("d");
  const previous = values.get("p")?.toString() ?? "";
  const epoch = Number(values.get("e")?.toString());
  const version = Number(values.get("v")?.toString());
  if (payload === undefined) throw new EntryError("the entry has no field d");
  if (!Number.isInteger(epoch) || epoch < 1 || epoch > MAX_EPOCH)
    throw new EntryError("the entry's field e is no epoch");
  if (!Number.isInteger(version) || version < 1) throw new EntryError("the entry's field v is no version");
  try {
    return { id, ...parseEntryId(id), epoch, previous: parseEntryId(previous), version, payload };
  } catch {
    throw new EntryError("the entry's field p is no entry ID");
  }
}
