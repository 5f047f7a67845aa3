import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { Redis } from "ioredis";
import {
  type PipelineSampleSchema,
  type SpreadSchema,
  WatchPipelineResponseSchema,
} from "../gen/penstock/v1/admin_service_pb.ts";
import { delay } from "../runtime/backoff.ts";
import { messageOf } from "../runtime/errors.ts";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import { readRoll, type RollEntry, strikeOff } from "../stream/roll.ts";
import {
  type CounterName,
  type Distribution,
  type DistributionName,
  joined,
  spreadOf,
  type Vitals,
  vitalsSince,
} from "../telemetry/vitals.ts";
import { asRequestError, RequestError } from "./errors.ts";
import type { PipelineStatus } from "./pipeline-status.ts";
import { timestampOf } from "./timestamp.ts";

/** A sample as it is sent. */
export interface EncodedSample {
  readonly atMs: number;
  /** A WatchPipelineResponse; several of them one behind the other are one with all their samples. */
  readonly bytes: Uint8Array;
}

export interface PipelineHistoryOptions {
  readonly redis: Redis;
  readonly status: Pick<PipelineStatus, "read" | "countDeadLetters">;
}

const INTERVAL_MS = 1_000;
/** Five minutes. */
const MAX_SAMPLES = 300;
/** Of all that are kept: a sample takes some 2 kB, and as much again for each four partitions. */
const MAX_BYTES = 4 * 1024 * 1024;
/** A process that tells nothing for so long does not live, or Redis does not hear it. */
const ALIVE_MS = 3_500;
/** One that comes back after that writes itself in again. */
const STRIKE_OFF_MS = 60_000;
/** Where one of them takes longer, the sample is made without it. */
const PATIENCE_MS = 900;
const COUNT_MS = 500;

const MS = 1_000;
const LATE = new RequestError("UNAVAILABLE", "Redis or Postgres does not answer at present");

/** A process as far as it was heard of here. */
interface Heard {
  entry: RollEntry;
  /** By our own clock, when it told something new. */
  atMs: number;
  /** What it did between the last two times that it told; undefined before the second one. */
  doing: { readonly seconds: number; readonly vitals: Vitals } | undefined;
}

/**
 * Looks at the whole pipeline once a second, and keeps the last minutes.
 *
 * Always true: `samples` are the newest, oldest first, within both bounds. A process' rates are by its own clock, and whether it lives
 * by ours: no two clocks are compared.
 */
export class PipelineHistory implements Service {
  readonly name = "pipeline history";
  readonly #options: PipelineHistoryOptions;
  readonly #looks: Periodic;
  readonly #heard = new Map<string, Heard>();
  readonly #listeners = new Set<(sample: EncodedSample) => void>();
  readonly #samples: EncodedSample[] = [];
  #bytes = 0;
  /** One read of each at a time, however late the servers are. */
  #reading: ReturnType<PipelineStatus["read"]> | undefined;
  #hearing: Promise<void> | undefined;
  #counting: Promise<number> | undefined;
  /** As Postgres told it last. */
  #deadLetters: number | undefined;

  constructor(options: PipelineHistoryOptions) {
    this.#options = options;
    // Whatever fails in a look stands in its sample.
    this.#looks = new Periodic(
      INTERVAL_MS,
      () => this.#look(),
      () => {},
    );
  }

  get samples(): readonly EncodedSample[] {
    return this.#samples;
  }

  async start(): Promise<void> {
    this.#looks.start();
  }

  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  /** From now on. Returns what ends it. The listener must not throw. */
  listen(listener: (sample: EncodedSample) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async #look(): Promise<void> {
    const troubles: string[] = [];
    const trouble = (error: unknown): undefined => void troubles.push(messageOf(asRequestError(error)));
    const { status: reader } = this.#options;
    const deadline = Date.now() + PATIENCE_MS;
    this.#counting ??= reader.countDeadLetters().finally(() => (this.#counting = undefined));
    // Without Postgres the rest is worth to be seen, Redis above all.
    const counted = inTime(this.#counting, COUNT_MS).catch((error: unknown) => {
      trouble(error);
      if (this.#deadLetters === undefined) throw error;
      return this.#deadLetters;
    });
    this.#reading ??= reader.read(deadline, counted).finally(() => (this.#reading = undefined));
    this.#hearing ??= this.#hear().finally(() => (this.#hearing = undefined));
    const [status, count] = await Promise.all([
      inTime(this.#reading).catch(trouble),
      counted.catch(() => undefined),
      inTime(this.#hearing).catch(trouble),
    ]);
    this.#deadLetters = count;
    const atMs = Date.now();
    const sample = { at: timestampOf(atMs), ...this.#sums(), ...(status && { status }), trouble: troubles[0] ?? "" };
    this.#keep({ atMs, bytes: encode(sample) });
  }

  async #hear(): Promise<void> {
    const entries = await readRoll(this.#options.redis);
    const now = performance.now();
    for (const entry of entries) {
      const heard = this.#heard.get(entry.id);
      if (heard === undefined) this.#heard.set(entry.id, { entry, atMs: now, doing: undefined });
      else if (entry.clockMs > heard.entry.clockMs) {
        const vitals = vitalsSince(entry.vitals, heard.entry.vitals);
        const seconds = (entry.clockMs - heard.entry.clockMs) / 1000;
        this.#heard.set(entry.id, { entry, atMs: now, doing: vitals && { seconds, vitals } });
      }
    }
    const written = new Set(entries.map(({ id }) => id));
    const silent = [...this.#heard].filter(([, { atMs }]) => now - atMs > STRIKE_OFF_MS).map(([id]) => id);
    for (const [id] of this.#heard) if (!written.has(id) || silent.includes(id)) this.#heard.delete(id);
    await strikeOff(this.#options.redis, silent);
  }

  /** All that is told of the sample's second itself. */
  #sums() {
    const now = performance.now();
    const alive = [...this.#heard.values()].filter(({ atMs }) => now - atMs < ALIVE_MS);
    const doing = alive.flatMap(({ doing }) => doing ?? []);
    const rate = (name: CounterName) =>
      doing.reduce((sum, { seconds, vitals }) => sum + (vitals.counters[name] ?? 0) / seconds, 0);
    const spread = (name: DistributionName, unit: number) =>
      inUnits(
        doing.flatMap(({ vitals }) => vitals.distributions[name] ?? []),
        unit,
      );
    return {
      accepted: rate("accepted"),
      refused: rate("refused"),
      matched: rate("matched"),
      written: rate("written"),
      reportsWritten: rate("reportsWritten"),
      acknowledgement: spread("acknowledgement", MS),
      flush: spread("flush", MS),
      append: spread("append", MS),
      transaction: spread("transaction", MS),
      orderAge: spread("orderAge", MS),
      eventAge: spread("eventAge", MS),
      flushCommands: spread("flushCommands", 1),
      transactionRows: spread("transactionRows", 1),
      processes: alive
        .map(({ entry: { role, name } }) => ({ role, name }))
        .sort((a, b) => a.role.localeCompare(b.role) || a.name.localeCompare(b.name)),
    };
  }

  #keep(sample: EncodedSample): void {
    this.#samples.push(sample);
    this.#bytes += sample.bytes.length;
    while (this.#samples.length > MAX_SAMPLES || (this.#bytes > MAX_BYTES && this.#samples.length > 1)) {
      this.#bytes -= this.#samples.shift()!.bytes.length;
    }
    for (const listener of this.#listeners) listener(sample);
  }
}

/** What it resolves to, if it does in time. */
async function inTime<T>(work: Promise<T>, ms = PATIENCE_MS): Promise<T> {
  const done = new AbortController();
  const late = delay(ms, done.signal).then(() => {
    throw LATE;
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
    late.catch(() => {});
  }
}

function inUnits(distributions: readonly Distribution[], unit: number): MessageInitShape<typeof SpreadSchema> {
  const { count, mean, p50, p99 } = spreadOf(joined(distributions));
  return { count: BigInt(count), mean: mean * unit, p50: p50 * unit, p99: p99 * unit };
}

function encode(sample: MessageInitShape<typeof PipelineSampleSchema>): Uint8Array {
  return toBinary(WatchPipelineResponseSchema, create(WatchPipelineResponseSchema, { samples: [sample] }));
}
