import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { AdminService } from "../gen/penstock/v1/admin_service_pb.ts";
import type { Implementation } from "./call.ts";
import { RequestError } from "./errors.ts";
import type { PipelineHistory } from "./pipeline-history.ts";

type AdminMethods = Implementation<typeof AdminService>;

/** Of what is kept, in an answer: a sixteenth of what clients of gRPC take in a message. */
const ANSWER_BYTES = 256 * 1024;

const ADMINS_ONLY = new RequestError("PERMISSION_DENIED", "the pipeline needs a token of the role admin");

/** WatchPipeline: what is kept of the pipeline, and then a sample a second. */
export class PipelineWatches implements Pick<AdminMethods, "watchPipeline"> {
  readonly #history: Pick<PipelineHistory, "samples" | "listen">;

  constructor(history: Pick<PipelineHistory, "samples" | "listen">) {
    this.#history = history;
  }

  /** By whichever service it was asked for: the role is looked at here, with each sample. */
  watchPipeline: AdminMethods["watchPipeline"] = async ({ after }, call, feed) => {
    if (call.principal.role !== "admin") throw ADMINS_ONLY;
    const afterMs = after === undefined ? -Infinity : timestampMs(after);
    const kept = this.#history.samples.filter(({ atMs }) => atMs > afterMs);
    feed.send(inAnswers(kept.map(({ bytes }) => bytes)));
    const stop = this.#history.listen(({ bytes }) => {
      if (call.principal.role === "admin") feed.send([bytes]);
      else feed.end(ADMINS_ONLY);
    });
    await feed.over;
    stop();
  };
}

/** As few as the bound of one allows; one that is empty where there is nothing. */
function inAnswers(samples: readonly Uint8Array[]): Uint8Array[] {
  const answers: Uint8Array[][] = [[]];
  let bytes = 0;
  for (const sample of samples) {
    if (bytes > ANSWER_BYTES) {
      answers.push([]);
      bytes = 0;
    }
    answers.at(-1)!.push(sample);
    bytes += sample.length;
  }
  return answers.map((part) => Buffer.concat(part));
}
