import { formatEntryId, type EntryPosition } from "../../src/stream/position.ts";

/** A report that a watch told. Amounts are decimals, "" where none was told. */
export interface ToldReport {
  readonly account: string;
  readonly partition: number;
  /** The account's number of it. */
  readonly sequence: number;
  readonly place: EntryPosition;
  readonly execType: string;
  /** "" where no order is known. */
  readonly orderId: string;
  readonly cum: string;
  readonly leaves: string;
}

/** An order as the answer to a command told it, when that was matched. */
export interface ToldAnswer {
  /** The command's place, in the layout of an order id. */
  readonly command: string;
  readonly orderId: string;
  readonly status: string;
  readonly cum: string;
  readonly leaves: string;
}

/** A row of `executions`, as far as it is compared. */
export type ExecutionRow = {
  readonly account: string;
  readonly partition: number;
  readonly sequence: string;
  readonly epoch: number;
  readonly ms: string;
  readonly seq: string;
  readonly exec_type: string;
  readonly status: string | null;
  readonly order_id: string | null;
  readonly cum_quantity: string | null;
  readonly leaves_quantity: string | null;
};

/** What was told in reports that are no rows, or other ones. */
export function reportsThatDiffer(told: readonly ToldReport[], rows: readonly ExecutionRow[]): string[] {
  const written = new Map(rows.map((row) => [`${row.account} ${row.partition} ${row.sequence}`, wordsOfRow(row)]));
  return told.flatMap((report) => {
    const { account, partition, sequence } = report;
    const is = written.get(`${account} ${partition} ${sequence}`) ?? "no row";
    const was = wordsOf({ ...report, ...report.place });
    return is === was
      ? []
      : [`report ${sequence} of ${account}, partition ${partition}, was told as ${was}, and is ${is}`];
  });
}

/** What was told in answers that no report says. */
export function answersThatDiffer(told: readonly ToldAnswer[], rows: readonly ExecutionRow[]): string[] {
  const state = (id: string, status: string, cum: string, leaves: string): string =>
    `${id} ${status}, cum ${amount(cum)}, leaves ${amount(leaves)}`;
  const states = new Set(
    rows.map((row) => state(row.order_id ?? "", row.status ?? "", row.cum_quantity ?? "", row.leaves_quantity ?? "")),
  );
  return told.flatMap(({ command, orderId, status, cum, leaves }) => {
    const words = state(orderId, status, cum, leaves);
    return states.has(words) ? [] : [`the answer to ${command} told ${words}, and no report says so`];
  });
}

function wordsOfRow(row: ExecutionRow): string {
  return wordsOf({
    ...{ epoch: row.epoch, ms: Number(row.ms), seq: Number(row.seq), execType: row.exec_type },
    ...{ orderId: row.order_id ?? "", cum: row.cum_quantity ?? "", leaves: row.leaves_quantity ?? "" },
  });
}

type Words = EntryPosition & Pick<ToldReport, "execType" | "orderId" | "cum" | "leaves">;

function wordsOf({ execType, orderId, cum, leaves, ...place }: Words): string {
  const of = orderId === "" ? "no order" : orderId;
  return `${execType} of ${of} at ${place.epoch}/${formatEntryId(place)}, cum ${amount(cum)}, leaves ${amount(leaves)}`;
}

/** A decimal without the zeros that say nothing; 0 where there is none. */
function amount(decimal: string): string {
  if (decimal === "") return "0";
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}
