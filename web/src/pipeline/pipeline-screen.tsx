import { timestampMs } from "@bufbuild/protobuf/wkt";
import { useEffect, useMemo } from "preact/hooks";
import type { PipelineSample } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { PipelineTopic } from "../live/pipeline-topic.ts";
import { useDesk } from "../shell/context.ts";
import { isAdmin } from "../shell/session.ts";
import { clockTime } from "../shell/wording.ts";
import { Broken, Loading, Stale } from "../ui/states.tsx";
import { DeadLetters } from "./dead-letters.tsx";
import { FIGURES } from "./figures.ts";
import { Plot } from "./plot.tsx";
import { PipelineTables } from "./pipeline-tables.tsx";

export function PipelineScreen() {
  const { role } = useDesk();
  if (!isAdmin(role)) return <Broken>The pipeline is for admins. This account is none.</Broken>;
  return <Pipeline />;
}

function Pipeline() {
  const { live } = useDesk();
  const topic = useMemo(() => new PipelineTopic(), []);
  useEffect(() => live.add(topic), [live, topic]);
  void topic.frames.drawn;
  const trouble = topic.trouble.value;
  const last = topic.samples.at(-1);
  return (
    <>
      <div class="head">
        <h1>Pipeline</h1>
        {last !== undefined && <span class="faint">as of {clockTime(last.at)}</span>}
      </div>
      {trouble !== undefined && last !== undefined && <Stale>As last seen. {trouble}</Stale>}
      {last === undefined && <Loading what="the pipeline" trouble={trouble} />}
      {last !== undefined && <Health sample={last} />}
      <div class="plots">
        {FIGURES.map((figure) => (
          <Plot key={figure.name} figure={figure} samples={topic.samples} drawn={topic.frames.drawn} />
        ))}
      </div>
      {last !== undefined && <PipelineTables sample={last} />}
      <DeadLetters open={last?.status?.deadLetters} />
    </>
  );
}

function lettersIn(open: bigint): string {
  if (open === 0n) return "";
  return open === 1n ? "One dead letter is open." : `${open} dead letters are open.`;
}

/** What somebody who watches over it must know at once. */
function Health({ sample }: { sample: PipelineSample }) {
  const faults = [
    sample.trouble === "" ? "" : `The state could not be read: ${sample.trouble}.`,
    sample.status === undefined || sample.status.refusing === ""
      ? ""
      : `Orders are refused: ${sample.status.refusing}.`,
    lettersIn(sample.status?.deadLetters ?? 0n),
    ...(["ingest", "engine", "consumers"] as const).map((role) =>
      sample.processes.some((process) => process.role === role) ? "" : `No process of the role ${role} is heard of.`,
    ),
    sample.at !== undefined && Date.now() - timestampMs(sample.at) > 5_000 ? "The newest sample is old." : "",
  ].filter((fault) => fault !== "");
  return (
    <div class={`health ${faults.length === 0 ? "good" : "bad"}`} role="status">
      <span aria-hidden="true">{faults.length === 0 ? "✓ " : "! "}</span>
      {faults.length === 0 ? "Orders are taken, matched and written." : faults.join(" ")}
    </div>
  );
}
