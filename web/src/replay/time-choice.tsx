import { useId, useState } from "preact/hooks";
import { dateTimeOf } from "../shell/wording.ts";
import { Segments } from "../ui/field.tsx";

const MINUTE = 60_000;
const SPANS = [
  { value: MINUTE, name: "1 min" },
  { value: 10 * MINUTE, name: "10 min" },
  { value: 60 * MINUTE, name: "1 h" },
  { value: 24 * 60 * MINUTE, name: "1 day" },
] as const;

/** A slider's steps are as fine as a pixel of a wide screen. */
const STEPS = 2_000;

/** A time within a span that ends when it was chosen, or any time at all. `time`: in milliseconds since 1970. */
export function TimeChoice({ time, onChange }: { time: number | undefined; onChange: (time: number) => void }) {
  const [span, setSpan] = useState<number>(10 * MINUTE);
  const [end, setEnd] = useState(Date.now());
  const id = useId();
  const choose = (chosen: number): void => {
    setSpan(chosen);
    setEnd(Math.max(Date.now(), time ?? 0));
  };
  const value = Math.min(end, Math.max(end - span, time ?? end));
  const isOutside = time !== undefined && (time < end - span || time > end);
  return (
    <div class="time-choice">
      <Segments label="How far back the slider goes" value={span} options={SPANS} onChange={choose} />
      <input
        type="range"
        aria-label="Time"
        aria-valuetext={dateTimeOf(value)}
        min={end - span}
        max={end}
        step={span / STEPS}
        value={value}
        onInput={(event) => onChange(Math.round(Number(event.currentTarget.value)))}
      />
      <label for={id}>
        {isOutside ? "Outside the slider" : "At"}{" "}
        <input
          id={id}
          type="datetime-local"
          step="0.001"
          value={time === undefined ? "" : dateTimeOf(time).replace(" ", "T")}
          onChange={({ currentTarget }) => {
            const chosen = Date.parse(currentTarget.value);
            if (!Number.isNaN(chosen)) onChange(chosen);
          }}
        />
      </label>
    </div>
  );
}
