import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

/** What is shown quickly needs no word of its being on its way. */
const SOON_MS = 250;

/** On its way; `trouble` says why it takes so long. */
export function Loading({ what, trouble }: { what: string; trouble?: string | undefined }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), SOON_MS);
    return () => clearTimeout(timer);
  }, []);
  if (trouble !== undefined) {
    return (
      <p class="state" role="status">
        {what} cannot be loaded at present: {trouble} Trying again.
      </p>
    );
  }
  return (
    <p class="state" role="status">
      {late ? `Loading ${what}…` : ""}
    </p>
  );
}

/** There is nothing, and that is no fault. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="state">{children}</p>;
}

/** It will not work by itself. */
export function Broken({ children, onRetry }: { children: ComponentChildren; onRetry?: () => void }) {
  return (
    <p class="state bad" role="alert">
      {children}
      {onRetry !== undefined && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </p>
  );
}

/** What is shown below is of before. */
export function Stale({ children }: { children: ComponentChildren }) {
  return (
    <p class="stale" role="status">
      <span aria-hidden="true">⏸ </span>
      {children}
    </p>
  );
}
