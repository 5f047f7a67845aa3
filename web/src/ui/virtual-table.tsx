import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export interface Column<Row> {
  readonly name: string;
  /** Numbers stand at the right; "wide" ones are left out where there is no room. */
  readonly class?: string;
  readonly cell: (row: Row) => ComponentChildren;
}

/** Above and below what is seen, so that a quick scroll shows no hole. */
const MARGIN_ROWS = 8;

/**
 * A table of any length of which the rows that are seen alone are drawn. All rows have the height that the styles give `--row` (in
 * pixels); screen readers are told how many there are.
 */
export function VirtualTable<Row>(props: {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
}) {
  const { label, columns, rows, keyOf } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600, row: 30 });
  useEffect(() => {
    const element = scroller.current!;
    const measure = (): void => {
      const row = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 30;
      setView({ top: element.scrollTop, height: element.clientHeight, row });
    };
    const resized = new ResizeObserver(measure);
    resized.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      resized.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);
  const from = Math.max(0, Math.floor(view.top / view.row) - MARGIN_ROWS);
  const to = Math.min(rows.length, Math.ceil((view.top + view.height) / view.row) + MARGIN_ROWS);
  return (
    <div ref={scroller} class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={column.class ?? ""}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Gap rows={from} height={view.row} />
          {rows.slice(from, to).map((row, at) => (
            <tr key={keyOf(row)} aria-rowindex={from + at + 2}>
              {columns.map((column) => (
                <td key={column.name} class={column.class ?? ""}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
          <Gap rows={rows.length - to} height={view.row} />
        </tbody>
      </table>
    </div>
  );
}

/** The room of rows that are not drawn. */
function Gap({ rows, height }: { rows: number; height: number }) {
  if (rows <= 0) return null;
  return (
    <tr aria-hidden="true" class="gap">
      <td style={{ height: `${rows * height}px` }} />
    </tr>
  );
}
