import { toJsonString } from "@bufbuild/protobuf";
import type { ReadStream, WriteStream } from "node:tty";
import { AdminService, PipelineSampleSchema } from "../gen/penstock/v1/admin_service_pb.ts";
import type { PipelineSample, WatchPipelineResponse } from "../gen/penstock/v1/admin_service_pb.ts";
import { ApiClient } from "./client.ts";
import { interruption } from "./interruption.ts";
import { pipelineView } from "./pipeline-view.ts";
import { resumed } from "./resume.ts";
import { apiOf } from "./stack-file.ts";

export interface TopOptions {
  readonly url?: string;
  readonly token?: string;
  readonly json?: true;
}

const REDRAW_MS = 1_000;
/** As many as the server keeps. */
const MAX_SAMPLES = 300;
/** The server makes a sample each second: one that has none after this will not have one. */
const FIRST_MS = 10_000;

/**
 * The pipeline in a terminal, drawn again each second until `q` or Ctrl-C; without a terminal, or with `json`, one view of it.
 * @throws CallError where the server refuses, or is away at the beginning.
 */
export async function top(options: TopOptions): Promise<void> {
  const api = apiOf(options, "admin");
  const client = new ApiClient(api);
  const { signal, release } = interruption();
  try {
    const isScreen = process.stdout.isTTY && options.json === undefined;
    const sight = { url: api.url, client, signal };
    if (!isScreen) return await printOnce(sight, options.json !== undefined);
    await follow(sight, new Screen(process.stdout, process.stdin.isTTY ? process.stdin : undefined));
  } finally {
    release();
    client.close();
  }
}

interface Sight {
  readonly url: string;
  readonly client: ApiClient;
  readonly signal: AbortSignal;
}

async function printOnce({ url, client, signal }: Sight, asJson: boolean): Promise<void> {
  const ended = AbortSignal.any([signal, AbortSignal.timeout(FIRST_MS)]);
  for await (const { samples } of client.stream(AdminService.method.watchPipeline, {}, ended)) {
    const newest = samples.at(-1);
    if (newest === undefined) continue;
    const text = asJson
      ? toJsonString(PipelineSampleSchema, newest)
      : pipelineView({ url, samples, cut: undefined, now: Date.now() }).join("\n");
    process.stdout.write(`${text}\n`);
    return;
  }
  if (!signal.aborted) throw new Error(`no sample of the pipeline came within ${FIRST_MS / 1000} s`);
}

async function follow({ url, client, signal }: Sight, screen: Screen): Promise<void> {
  const stopped = AbortSignal.any([signal, screen.left]);
  let samples: PipelineSample[] = [];
  let cut: { since: number; why: string } | undefined;
  const draw = (): void => screen.show(pipelineView({ url, samples, cut, now: Date.now() }));
  async function* open(): AsyncGenerator<WatchPipelineResponse, void> {
    const after = samples.at(-1)?.at;
    yield* client.stream(AdminService.method.watchPipeline, after === undefined ? {} : { after }, stopped);
  }
  const onCut = (error: Error): void => {
    cut ??= { since: Date.now(), why: error.message };
    draw();
  };
  screen.enter();
  const timer = setInterval(draw, REDRAW_MS);
  try {
    for await (const answer of resumed(open, { signal: stopped, onCut })) {
      samples = [...samples, ...answer.samples].slice(-MAX_SAMPLES);
      cut = undefined;
      draw();
    }
  } finally {
    clearInterval(timer);
    screen.leave();
  }
}

/** What a terminal is told: another screen than that of the lines before, and no cursor; and back. */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";

/** A terminal that shows one thing. Always true: after `leave` it is as it was before `enter`. */
class Screen {
  readonly #output: Pick<WriteStream, "write" | "columns" | "rows" | "writableNeedDrain">;
  readonly #input: ReadStream | undefined;
  readonly #left = new AbortController();

  constructor(output: WriteStream, input: ReadStream | undefined) {
    this.#output = output;
    this.#input = input;
  }

  /** Aborted when the person at the keys has had enough. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  enter(): void {
    this.#output.write(ENTER);
    // In this mode Ctrl-C is a key like others.
    this.#input?.setRawMode(true).on("data", this.#onKey).resume();
  }

  leave(): void {
    this.#input?.off("data", this.#onKey).setRawMode(false).pause();
    this.#output.write(LEAVE);
  }

  /** As much of it as there is room for. */
  show(lines: readonly string[]): void {
    // A terminal that is slow gets the next one.
    if (this.#output.writableNeedDrain) return;
    const { columns, rows } = this.#output;
    const shown = lines.slice(0, rows - 1).map((line) => `${line.slice(0, columns)}\u001b[K`);
    this.#output.write(`\u001b[H${shown.join("\r\n")}\u001b[J`);
  }

  readonly #onKey = (key: Buffer): void => {
    if (["q", "Q", "\u0003", "\u0004"].includes(key.toString())) this.#left.abort();
  };
}
