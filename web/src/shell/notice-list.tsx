import { useApp } from "./context.ts";
import { hrefOf } from "./router.ts";

const MARKS = { good: "✓", plain: "·", bad: "!" } as const;

/** What is shown for a while, and, unseen, what screen readers speak. */
export function NoticeList() {
  const { notices } = useApp();
  return (
    <>
      <div class="notices">
        {notices.shown.value.map(({ id, tone, text, orderId }) => (
          <div key={id} class={`notice ${tone}`}>
            <span class="mark" aria-hidden="true">
              {MARKS[tone]}
            </span>
            <span>{text}</span>
            {orderId !== undefined && <a href={hrefOf({ screen: "order", orderId })}>Its way</a>}
            <button type="button" class="quiet" aria-label="Close this notice" onClick={() => notices.close(id)}>
              ✕
            </button>
          </div>
        ))}
      </div>
      <div role="status" class="hidden">
        {notices.spoken.value}
      </div>
      <div role="alert" class="hidden">
        {notices.alert.value}
      </div>
    </>
  );
}
