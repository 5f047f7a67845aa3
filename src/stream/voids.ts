import { fromBinary } from "@bufbuild/protobuf";
import { CommandSchema } from "../gen/penstock/v1/log_pb.ts";
import { BYTES, WireError, WireReader } from "./wire.ts";

/** Command.void (proto/penstock/v1/log.proto). */
const VOID = (CommandSchema.field.void.number << 3) | BYTES;

/**
 * The IDs of the entries that commands of a batch void; none where `decodeBatch` throws. It looks at little more than
 * that, for it is asked of a whole stretch of the log.
 */
export function voidedBy(batch: Buffer): string[] {
  const voided: string[] = [];
  const reader = new WireReader(batch);
  try {
    while (reader.position < reader.end) {
      reader.varint();
      const start = reader.bytes();
      const id = voidIn(batch.subarray(start, reader.position));
      if (id !== undefined) voided.push(id);
    }
    return voided;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return [];
  }
}

/** The entry that an encoded command voids. One that cannot be decoded voids nothing. */
function voidIn(raw: Buffer): string | undefined {
  const reader = new WireReader(raw);
  try {
    while (reader.position < reader.end) {
      const tag = reader.varint();
      if (tag === VOID) {
        const { kind } = fromBinary(CommandSchema, raw);
        return kind.case === "void" ? kind.value.entryId : undefined;
      }
      reader.skip(tag & 7);
    }
  } catch {
    // As `decodeBatch`, which has it undecodable.
  }
  return undefined;
}
