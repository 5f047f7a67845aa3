import { create } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";
import { type PipelineSample, WatchPipelineRequestSchema } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { Subscription, type WatchRequest, type WatchResponse } from "../../../src/gen/penstock/v1/live_service_pb.ts";
import type { Failure } from "../api/failure.ts";
import { Frames } from "./frames.ts";
import type { Topic } from "./live.ts";

/** A quarter of an hour: three times what the server keeps. */
const KEPT = 900;

/** The pipeline over time: a sample a second, oldest first. */
export class PipelineTopic implements Topic {
  readonly subscription = Subscription.PIPELINE;
  readonly symbol = "";
  readonly frames = new Frames();
  readonly trouble = signal<string | undefined>(undefined);
  readonly samples: PipelineSample[] = [];

  ask(request: WatchRequest): void {
    const at = this.samples.at(-1)?.at;
    request.pipeline = create(WatchPipelineRequestSchema, at === undefined ? {} : { after: at });
  }

  take(update: WatchResponse["update"]): void {
    if (update.case !== "pipeline") return;
    this.samples.push(...update.value.samples);
    this.samples.splice(0, this.samples.length - KEPT);
    if (this.trouble.peek() !== undefined) this.trouble.value = undefined;
    this.frames.touch();
  }

  interrupted({ message }: Failure): void {
    this.trouble.value = message;
  }
}
