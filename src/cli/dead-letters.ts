import { toJsonString } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";

import {
  AdminService,
  type DeadLetter,
  DeadLetterKind,
  DeadLetterSchema,
  DeadLetterState,
  GetDeadLetterResponseSchema,
} from "../gen/penstock/v1/admin_service_pb.ts";
import { messageOf } from "../runtime/errors.ts";
import { ApiClient, CallError, isRetryable } from "./client.ts";
import { apiOf } from "./stack-file.ts";
import { enumName, formatTable } from "./table.ts";

const { method } = AdminService;

/** As many as the API gives at once. */
const PAGE = 1_000;

/** What `--state` takes. */
export const letterStates = {
  open: DeadLetterState.OPEN,
  redriven: DeadLetterState.REDRIVEN,
  discarded: DeadLetterState.DISCARDED,
  all: DeadLetterState.UNSPECIFIED,
} as const;

export interface LetterOptions {
  readonly url?: string;
  readonly token?: string;
  readonly json?: true;
}

export interface ListOptions extends LetterOptions {
  readonly limit: number;
  readonly state: keyof typeof letterStates;
}

/** Prints the newest dead letters, the newest first. */
export async function listDeadLetters({ limit, state, ...options }: ListOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const all: DeadLetter[] = [];
    let pageToken = "";
    do {
      const pageSize = Math.min(PAGE, limit - all.length);
      const page = await api.call(method.listDeadLetters, { pageSize, pageToken, state: letterStates[state] });
      all.push(...page.deadLetters);
      pageToken = page.nextPageToken;
    } while (pageToken !== "" && all.length < limit);
    if (options.json) for (const letter of all) print(toJsonString(DeadLetterSchema, letter));
    else print(all.length === 0 ? "no dead letters" : formatTable(all.map(row)));
  });
}

/** Prints one with all that can be read out of it. */
export async function showDeadLetter(id: number, options: LetterOptions): Promise<void> {
  await asAdmin(options, async (api) => {
    const answer = await api.call(method.getDeadLetter, { id: BigInt(id) });
    if (options.json) return print(toJsonString(GetDeadLetterResponseSchema, answer));
    const { deadLetter, fields, raw, advice } = answer;
    if (deadLetter === undefined) return;
    const { reason, ...facts } = row(deadLetter);
    const lines = {
      ...facts,
      settled: settledOf(deadLetter),
      ...fields,
      raw: Buffer.from(raw).toString("base64"),
      reason,
    };
    const width = Math.max(...Object.keys(lines).map(({ length }) => length));
    for (const [name, value] of Object.entries(lines)) if (value !== "") print(`${name.padEnd(width)}  ${value}`);
    const open = deadLetter.state !== DeadLetterState.REDRIVEN;
    if (open) print(advice === "" ? `\nnext: penstock dead-letters redrive ${id}` : `\ncannot be redriven: ${advice}`);
  });
}

/** Writes the rows of each. Resolves with whether all of them are written now; what became of each is printed. */
export async function redriveDeadLetters(ids: readonly number[], options: LetterOptions): Promise<boolean> {
  return await each(ids, options, async (api, id) => {
    const answer = await api.call(method.redriveDeadLetter, { id: BigInt(id) });
    const { deadLetter, duplicate, newDeadLetters } = answer;
    const done = deadLetter?.state === DeadLetterState.REDRIVEN;
    const parts = newDeadLetters === 0 ? "" : `, ${newDeadLetters} of its parts are dead letters of their own now`;
    const said = done ? `redriven${duplicate ? " as before" : ""}${parts}` : `failed again: ${deadLetter?.reason}`;
    return { done, said, letter: deadLetter };
  });
}

/** Puts each away. Resolves with whether all of them are discarded now; what became of each is printed. */
export async function discardDeadLetters(
  ids: readonly number[],
  { reason, ...options }: LetterOptions & { readonly reason: string },
): Promise<boolean> {
  return await each(ids, options, async (api, id) => {
    const { deadLetter } = await api.call(method.discardDeadLetter, { id: BigInt(id), reason });
    return { done: true, said: `discarded: ${deadLetter?.note}`, letter: deadLetter };
  });
}

interface Done {
  readonly done: boolean;
  readonly said: string;
  readonly letter: DeadLetter | undefined;
}

/** One that is refused does not keep the others from their turn; an ingest that cannot be reached does. */
async function each(
  ids: readonly number[],
  options: LetterOptions,
  work: (api: ApiClient, id: number) => Promise<Done>,
): Promise<boolean> {
  return await asAdmin(options, async (api) => {
    let well = true;
    for (const id of ids) {
      try {
        const { done, said, letter } = await work(api, id);
        well &&= done;
        print(options.json && letter !== undefined ? toJsonString(DeadLetterSchema, letter) : `${id} ${said}`);
      } catch (error) {
        if (!(error instanceof CallError) || isRetryable(error.code)) throw error;
        well = false;
        process.stderr.write(`${id} ${messageOf(error)}\n`);
      }
    }
    return well;
  });
}

async function asAdmin<T>(options: LetterOptions, work: (api: ApiClient) => Promise<T>): Promise<T> {
  const api = new ApiClient(apiOf(options, "admin"));
  try {
    return await work(api);
  } finally {
    api.close();
  }
}

function row({ id, createdAt, state, kind, stream, partition, epoch, entryId, ...letter }: DeadLetter) {
  return {
    id: String(id),
    created: createdAt === undefined ? "" : timestampDate(createdAt).toISOString(),
    state: enumName(DeadLetterState, state).toLowerCase(),
    kind: enumName(DeadLetterKind, kind).toLowerCase(),
    stream,
    partition,
    epoch,
    entry: entryId,
    // -1 is the whole entry.
    index: letter.index,
    sqlstate: letter.sqlstate,
    attempts: letter.attempts,
    reason: letter.reason,
  };
}

function settledOf({ settledAt, settledBy, note }: DeadLetter): string {
  if (settledAt === undefined) return "";
  return `${timestampDate(settledAt).toISOString()} by ${settledBy}${note === "" ? "" : `: ${note}`}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
