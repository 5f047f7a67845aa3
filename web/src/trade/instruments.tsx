import { useRef, useState } from "preact/hooks";
import type { Instrument } from "../../../src/gen/penstock/v1/instrument_pb.ts";
import { useShortcut } from "../shell/context.ts";
import { hrefOf } from "../shell/router.ts";

/** A partition may have 65,536 of them: whoever looks for one types more of its name. */
const SHOWN = 40;

export function Instruments({
  instruments,
  current,
}: {
  instruments: readonly Instrument[];
  current: string | undefined;
}) {
  const [text, setText] = useState("");
  const search = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  useShortcut("/", "Search instruments", () => search.current?.focus());
  const found = instruments.filter(({ symbol }) => symbol.includes(text.trim().toUpperCase()));
  const more = found.length - SHOWN;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Escape") setText("");
    if (event.key === "Enter") list.current?.querySelector("a")?.click();
    if (event.key === "ArrowDown") list.current?.querySelector("a")?.focus();
  };
  return (
    <section class="panel instruments" aria-labelledby="instruments-title">
      <h2 id="instruments-title">Instruments</h2>
      <input
        ref={search}
        type="search"
        aria-label="Search instruments"
        placeholder="Search"
        spellcheck={false}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <ul ref={list}>
        {found.slice(0, SHOWN).map(({ symbol, tickSize, lotSize }) => (
          <li key={symbol}>
            <a href={hrefOf({ screen: "trade", symbol })} aria-current={symbol === current ? "true" : undefined}>
              <span>{symbol}</span>
              <small title={`Prices are multiples of ${tickSize}, quantities of ${lotSize}`}>
                {tickSize} × {lotSize}
              </small>
            </a>
          </li>
        ))}
      </ul>
      <p class="faint" role="status">
        {found.length === 0 && "None has this in its name."}
        {more > 0 && `${more} more: type more of the name.`}
      </p>
    </section>
  );
}
