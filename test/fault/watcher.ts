import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";

import { type ExecutionReport, ExecTypeSchema, type Position } from "../../src/gen/penstock/v1/order_pb.ts";
import {
  OrderService,
  WatchOrdersRequestSchema,
  type WatchOrdersResponse,
  WatchOrdersResponseSchema,
} from "../../src/gen/penstock/v1/order_service_pb.ts";
import { parseEntryId } from "../../src/stream/position.ts";
import { Caller, KEEPALIVE, toRefusal } from "../support/caller.ts";
import type { Complaint } from "./complaint.ts";
import type { Random } from "./random.ts";
import type { ToldReport } from "./told.ts";
import { nameOf } from "./ways.ts";

const PATH = `/${OrderService.typeName}/${OrderService.method.watchOrders.name}`;
const AGAIN_MS = 100;
/** Three heartbeats, of which the API promises one each ten seconds, would be too long here: the server's beat is 5 s. */
const SILENCE_MS = 7_000;

export interface WatcherOptions {
  readonly doors: readonly string[];
  readonly account: string;
  readonly token: string;
  readonly partitions: number;
  readonly random: Random;
  /** Handed every report. */
  readonly onTold?: (told: ToldReport) => void;
}

type PlaceInit = Pick<Position, "partition" | "epoch" | "entryId" | "index">;

/**
 * A client that watches its orders from the beginning, and goes on behind what it has wherever it was cut.
 *
 * Always true: of each partition it has seen the reports 1, 2, 3 … up to `seen`, each once and in this order; what was told
 * otherwise is in `findings`.
 */
export class Watcher {
  readonly account: string;
  readonly findings: Complaint[] = [];
  readonly #options: WatcherOptions;
  readonly #callers: readonly Caller[];
  /** By partition the account's number of the last report, and the place behind which to go on. */
  readonly #seen: bigint[];
  readonly #places: PlaceInit[];
  /** By partition the epoch of the last report. */
  readonly #epochs: number[];
  #call: ClientReadableStream<WatchOrdersResponse> | undefined;
  #silence: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.account = options.account;
    this.#callers = options.doors.map((door) => new Caller(door, `Bearer ${options.token}`, undefined, KEEPALIVE));
    this.#seen = Array.from({ length: options.partitions }, () => 0n);
    this.#epochs = this.#seen.map(() => 0);
    this.#places = this.#seen.map((_, partition) => ({ partition, epoch: 0, entryId: "0-0", index: 0 }));
  }

  /** By partition the account's number of the last report. */
  get seen(): readonly bigint[] {
    return this.#seen;
  }

  start(): void {
    const { random } = this.#options;
    const caller = random.pick(this.#callers);
    const call = caller.client.makeServerStreamRequest(
      PATH,
      (after: readonly PlaceInit[]) =>
        Buffer.from(toBinary(WatchOrdersRequestSchema, create(WatchOrdersRequestSchema, { after: [...after] }))),
      (bytes) => fromBinary(WatchOrdersResponseSchema, bytes),
      this.#places,
      caller.metadata,
    );
    this.#call = call;
    const restart = (why: string): void => {
      if (this.#call !== call) return;
      this.#call = undefined;
      clearTimeout(this.#silence);
      call.cancel();
      if (this.#closed) return;
      const text = `the watch of ${this.account} ended: ${why}`;
      // The answer where the log has lost the place behind which it is to go on (WatchOrders); the judge begins it anew.
      if (why.startsWith("OUT_OF_RANGE")) this.findings.push({ text, ofLoss: true });
      else if (/INVALID_ARGUMENT|NOT_FOUND/.test(why)) this.findings.push({ text });
      this.#again = setTimeout(() => this.start(), AGAIN_MS);
    };
    this.#silence = setTimeout(() => restart("silent"), SILENCE_MS);
    call.on("data", (answer: WatchOrdersResponse) => {
      if (this.#call !== call) return;
      this.#silence?.refresh();
      this.#take(answer);
    });
    call.on("error", (error: ServiceError) => restart(toRefusal(error).message));
    call.on("end", () => restart("ended"));
  }

  /** Begins anew, where the log lost what was told already. */
  reset(): void {
    for (const partition of this.#seen.keys()) {
      this.#seen[partition] = 0n;
      this.#epochs[partition] = 0;
      this.#places[partition] = { partition, epoch: 0, entryId: "0-0", index: 0 };
    }
    const call = this.#call;
    this.#call = undefined;
    clearTimeout(this.#silence);
    clearTimeout(this.#again);
    call?.cancel();
    this.start();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#silence);
    clearTimeout(this.#again);
    this.#call?.cancel();
    for (const caller of this.#callers) caller.close();
  }

  #take({ update }: WatchOrdersResponse): void {
    if (update.case === "heartbeat") for (const place of update.value.highWater) this.#goTo(place);
    if (update.case !== "execution") return;
    const { position, sequence, order } = update.value;
    if (position === undefined) return void this.findings.push({ text: "a report without a position" });
    const { partition } = position;
    const expected = this.#seen[partition]! + 1n;
    if (sequence !== expected) {
      const isTwice = sequence < expected;
      const text = `${this.account}, partition ${partition}: report ${sequence}, ${expected} expected`;
      // Where the log lost reports that were told, those of its next epoch have their numbers.
      const isAnew = isTwice && position.epoch > this.#epochs[partition]!;
      this.findings.push({ text: `${isTwice ? "told twice" : "a gap"}: ${text}`, ...(isAnew && { ofLoss: true }) });
    }
    if (order !== undefined && order.account !== this.account) {
      this.findings.push({ text: `a report of ${order.account} was told to ${this.account}` });
    }
    this.#options.onTold?.(this.#toldOf(update.value, position));
    this.#seen[partition] = sequence;
    this.#epochs[partition] = position.epoch;
    this.#goTo(position);
  }

  #toldOf({ sequence, execType, order }: ExecutionReport, { partition, epoch, entryId }: Position): ToldReport {
    return {
      ...{ account: this.account, partition, sequence: Number(sequence), place: { epoch, ...parseEntryId(entryId) } },
      ...{ execType: nameOf(ExecTypeSchema, execType, "EXEC_TYPE_"), orderId: order?.orderId ?? "" },
      ...{ cum: order?.cumQuantity ?? "", leaves: order?.leavesQuantity ?? "" },
    };
  }

  #goTo({ partition, epoch, entryId, index }: Position): void {
    this.#places[partition] = { partition, epoch, entryId, index };
  }
}
