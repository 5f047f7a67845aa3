// Requests about dead letters: one function each, which answers what the request says, or every field at fault. None throws.

import * as v from "valibot";

import {
  DeadLetterState,
  type DiscardDeadLetterRequest,
  type ListDeadLettersRequest,
} from "../../gen/penstock/v1/admin_service_pb.ts";
import type { LetterState } from "../../store/dead-letter-shelf.ts";
import { enumeration } from "./enumeration.ts";
import { optionalEnum, PAGE_TOKEN, pageLimit, PageSize, Reason, shapeFaults } from "./shape.ts";
import { type Fields, REQUIRED, type Violations } from "./violation.ts";

const STATES: Readonly<Record<number, LetterState>> = {
  [DeadLetterState.OPEN]: "open",
  [DeadLetterState.REDRIVEN]: "redriven",
  [DeadLetterState.DISCARDED]: "discarded",
};

const LetterPage = v.object({
  pageSize: PageSize,
  pageToken: v.pipe(v.string(), v.regex(/^\d{0,15}$/, PAGE_TOKEN)),
  state: optionalEnum(enumeration(DeadLetterState)),
});

export interface LetterPageFields {
  readonly limit: number;
  /** The id at which the page before ended; undefined for the first page. */
  readonly before: number | undefined;
  /** Undefined for all. */
  readonly state: LetterState | undefined;
}

export function validateListDeadLetters(request: Fields<ListDeadLettersRequest>): LetterPageFields | Violations {
  const faults = shapeFaults(LetterPage, request);
  if (faults.length > 0) return { violations: faults };
  const { pageSize, pageToken, state } = request;
  const before = pageToken === "" ? undefined : Number(pageToken);
  return { limit: pageLimit(pageSize), before, state: STATES[state] };
}

const Id = v.pipe(
  v.bigint(),
  v.minValue(1n, REQUIRED),
  v.maxValue(BigInt(Number.MAX_SAFE_INTEGER), "must be the id of a dead letter"),
);

const Named = v.object({ id: Id });

/** A request that names a dead letter and says no more. */
export function validateDeadLetter(request: { readonly id: bigint }): { readonly id: number } | Violations {
  const faults = shapeFaults(Named, request);
  return faults.length > 0 ? { violations: faults } : { id: Number(request.id) };
}

const Discard = v.object({ id: Id, reason: Reason });

export interface DiscardFields {
  readonly id: number;
  readonly reason: string;
}

export function validateDiscardDeadLetter(request: Fields<DiscardDeadLetterRequest>): DiscardFields | Violations {
  const faults = shapeFaults(Discard, request);
  return faults.length > 0 ? { violations: faults } : { id: Number(request.id), reason: request.reason };
}
