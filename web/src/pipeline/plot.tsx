import { useEffect, useRef, useState } from "preact/hooks";
import type { PipelineSample } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import { useApp } from "../shell/context.ts";
import type { Figure } from "./figures.ts";
import type { LinePlot } from "./line-plot.ts";

interface PlotProps {
  readonly figure: Figure;
  /** Oldest first; the same array, which grows. */
  readonly samples: readonly PipelineSample[];
  /** Changes when they do. */
  readonly drawn: number;
}

/** Lines over time, with what they are now as text beside them. */
export function Plot({ figure, samples, drawn }: PlotProps) {
  const { theme } = useApp();
  const box = useRef<HTMLDivElement>(null);
  const [plot, setPlot] = useState<LinePlot>();
  const { seen } = theme;
  useEffect(() => {
    let made: LinePlot | undefined;
    let gone = false;
    const make = async (): Promise<void> => {
      const { LinePlot } = await import("./line-plot.ts");
      if (!gone) setPlot((made = new LinePlot(box.current!, figure)));
    };
    // The figures stand there as text all the same.
    make().catch(() => {});
    return () => {
      gone = true;
      made?.close();
    };
  }, [figure]);
  useEffect(() => plot?.paint(), [plot, seen]);
  useEffect(() => plot?.draw(samples), [plot, samples, drawn]);
  const last = samples.at(-1);
  return (
    <figure class="panel plot">
      <figcaption>
        <h2 title={figure.what}>{figure.name}</h2>
        <dl>
          {figure.lines.map(({ name, of }, at) => {
            const value = last === undefined ? undefined : of(last);
            return (
              <div key={name} class={`line-${at}`}>
                <dt>{name}</dt>
                <dd>{value === undefined ? "–" : figure.format(value)}</dd>
              </div>
            );
          })}
        </dl>
      </figcaption>
      <div class="canvas" ref={box} role="img" aria-label={`${figure.what}, over the last minutes`} />
    </figure>
  );
}
