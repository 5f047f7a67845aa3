import { useApp, useShortcut } from "./context.ts";

const ID = "help";

export function openHelp(): void {
  (document.getElementById(ID) as HTMLDialogElement).showModal();
}

export function ShortcutHelp() {
  const { keys, theme } = useApp();
  useShortcut("?", "Show this help", openHelp);
  useShortcut("t", "Change between light, dark and the machine's theme", () => theme.next());
  const shortcuts = keys.shortcuts.value.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  return (
    <dialog id={ID} aria-labelledby="help-title">
      <h2 id="help-title">Keyboard</h2>
      <p>
        All of the page can be reached by Tab and used by Enter and Space. These keys work where nobody types; Escape
        leaves a field.
      </p>
      <dl class="shortcuts">
        {shortcuts.map(({ key, what }) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input type="checkbox" checked={keys.on.value} onChange={(event) => keys.turn(event.currentTarget.checked)} />
        Single-key shortcuts
      </label>
      <p class="faint">
        Charts by{" "}
        <a href="https://www.tradingview.com/" rel="noreferrer" target="_blank">
          TradingView
        </a>{" "}
        Lightweight Charts™, copyright (c) 2025 TradingView, Inc.
      </p>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}
