import { type DeadLetter, DeadLetterKind, DeadLetterState } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { names } from "../shell/wording.ts";

export const kindName = names<DeadLetterKind>({
  [DeadLetterKind.UNSPECIFIED]: "–",
  [DeadLetterKind.UNREADABLE]: "Unreadable",
  [DeadLetterKind.REFUSED]: "Refused by Postgres",
  [DeadLetterKind.FORK]: "Fork of the log",
  [DeadLetterKind.LOST]: "Lost",
  [DeadLetterKind.FOREIGN]: "Not ours",
  [DeadLetterKind.ORPHANED]: "Orphaned",
});

export const stateName = names<DeadLetterState>({
  [DeadLetterState.UNSPECIFIED]: "All",
  [DeadLetterState.OPEN]: "Open",
  [DeadLetterState.REDRIVEN]: "Redriven",
  [DeadLetterState.DISCARDED]: "Discarded",
});

/** Where in the log it stood. */
export function placeOf({ stream, partition, entryId, index }: DeadLetter): string {
  return `${stream} ${partition}, ${entryId}${index < 0 ? "" : `, no. ${index + 1}`}`;
}
