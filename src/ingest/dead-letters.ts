import type { Logger } from "pino";
import type { Counter } from "prom-client";
import { type AdminService, DeadLetterKind, DeadLetterState } from "../gen/penstock/v1/admin_service_pb.ts";
import { fieldsOf } from "../letters/letter-fields.ts";
import { LetterError, type Letters } from "../letters/letters.ts";
import type { KnownLetter, LetterKind, LetterState } from "../store/dead-letter-shelf.ts";
import { ORDERS_STREAM } from "../store/entry-record.ts";
import type { Instruments } from "../stream/instrument.ts";
import { formatEntryId } from "../stream/position.ts";
import type { Implementation } from "./call.ts";
import { invalidArgument, RequestError, resourceExhausted } from "./errors.ts";
import { timestampOf } from "./timestamp.ts";
import { validateDeadLetter, validateDiscardDeadLetter, validateListDeadLetters } from "./validation/dead-letters.ts";
import { isRefused } from "./validation/violation.ts";

type AdminMethods = Implementation<typeof AdminService>;

export interface DeadLetterMethodsOptions {
  readonly letters: Letters;
  readonly instruments: Instruments;
  /** Of letters that operators settled or tried to. */
  readonly settled: Counter<"outcome">;
  readonly log: Logger;
}

const RETRY_AFTER_MS = 1_000;

const STATES: Readonly<Record<LetterState, DeadLetterState>> = {
  open: DeadLetterState.OPEN,
  redriven: DeadLetterState.REDRIVEN,
  discarded: DeadLetterState.DISCARDED,
};
const KINDS: Readonly<Record<LetterKind, DeadLetterKind>> = {
  unreadable: DeadLetterKind.UNREADABLE,
  refused: DeadLetterKind.REFUSED,
  fork: DeadLetterKind.FORK,
  orphaned: DeadLetterKind.ORPHANED,
  lost: DeadLetterKind.LOST,
  foreign: DeadLetterKind.FOREIGN,
};

/** What could not be written, as admins look at it and settle it. */
export class DeadLetterMethods implements Pick<
  AdminMethods,
  "listDeadLetters" | "getDeadLetter" | "redriveDeadLetter" | "discardDeadLetter"
> {
  readonly #options: DeadLetterMethodsOptions;

  constructor(options: DeadLetterMethodsOptions) {
    this.#options = options;
  }

  listDeadLetters: AdminMethods["listDeadLetters"] = async (request) => {
    const fields = validateListDeadLetters(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { limit } = fields;
    // One more than asked for tells whether there is another page.
    const found = await this.#options.letters.list({ ...fields, limit: limit + 1 });
    const letters = found.slice(0, limit);
    const nextPageToken = found.length > limit ? String(letters.at(-1)!.id) : "";
    return { deadLetters: letters.map(toMessage), nextPageToken };
  };

  getDeadLetter: AdminMethods["getDeadLetter"] = async (request) => {
    const fields = validateDeadLetter(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { letters, instruments } = this.#options;
    const letter = await letters.find(fields.id).catch(refuse);
    const advice = (await letters.whyNot(letter)) ?? "";
    return { deadLetter: toMessage(letter), raw: letter.raw, fields: { ...fieldsOf(letter, instruments) }, advice };
  };

  redriveDeadLetter: AdminMethods["redriveDeadLetter"] = async (request, call) => {
    const fields = validateDeadLetter(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { letters, settled, log } = this.#options;
    const by = call.principal.account;
    const { letter, before, letters: parts } = await letters.redrive(fields.id, by).catch(refuse);
    if (!before) {
      const { id, state, reason } = letter;
      settled.inc({ outcome: state === "redriven" ? "redriven" : "failed" });
      if (state === "redriven") log.info({ deadLetter: id, by }, "dead letter redriven");
      else log.warn({ deadLetter: id, by, reason }, "a dead letter was redriven and failed again");
      for (const part of parts) log.error({ ...part, of: id }, "DEAD LETTER: of an entry that was redriven");
    }
    return { deadLetter: toMessage(letter), duplicate: before, newDeadLetters: parts.length };
  };

  discardDeadLetter: AdminMethods["discardDeadLetter"] = async (request, call) => {
    const fields = validateDiscardDeadLetter(request);
    if (isRefused(fields)) throw invalidArgument(fields);
    const { letters, settled, log } = this.#options;
    const by = call.principal.account;
    const { letter, before } = await letters.discard(fields.id, by, fields.reason).catch(refuse);
    if (!before) {
      settled.inc({ outcome: "discarded" });
      log.info({ deadLetter: letter.id, by, reason: fields.reason }, "dead letter discarded");
    }
    return { deadLetter: toMessage(letter) };
  };
}

function refuse(error: unknown): never {
  if (!(error instanceof LetterError)) throw error;
  switch (error.code) {
    case "unknown":
      throw new RequestError("NOT_FOUND", error.message);
    case "refused":
      throw new RequestError("FAILED_PRECONDITION", error.message);
    case "busy":
      throw resourceExhausted(error.message, RETRY_AFTER_MS);
  }
}

function toMessage(letter: KnownLetter) {
  const { id, state, kind, stream, partition, epoch, index, reason, sqlstate, attempts, createdAt, settledAt } = letter;
  return {
    id: BigInt(id),
    state: STATES[state],
    kind: KINDS[kind],
    stream: stream === ORDERS_STREAM ? "orders" : "events",
    ...{ partition, epoch, entryId: formatEntryId(letter), index, reason, sqlstate: sqlstate ?? "", attempts },
    createdAt: timestampOf(createdAt.getTime()),
    ...(settledAt !== null && { settledAt: timestampOf(settledAt.getTime()) }),
    settledBy: letter.settledBy ?? "",
    note: letter.note ?? "",
  };
}
