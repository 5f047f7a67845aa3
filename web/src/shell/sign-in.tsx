import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "../api/failure.ts";
import { Field } from "../ui/field.tsx";
import { useApp } from "./context.ts";

export function SignIn({ ended }: { ended: boolean }) {
  const { session } = useApp();
  const [account, setAccount] = useState("");
  const [secret, setSecret] = useState("");
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = "Sign in · Penstock";
    first.current?.focus();
  }, []);

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const refused = await session.signIn(account.trim(), secret.trim());
    setBusy(false);
    setFailure(refused);
  };

  return (
    <main class="alone">
      <form class="sign-in panel" onSubmit={(event) => void submit(event)}>
        <h1>Penstock</h1>
        <p role="status">{ended ? "Your session has ended. Sign in to go on." : "Sign in with your account's key."}</p>
        <Field
          label="Account"
          inputRef={first}
          value={account}
          onInput={setAccount}
          autoComplete="username"
          spellcheck={false}
          required
          error={failure?.fields.get("account")}
        />
        <Field
          label="Secret"
          type="password"
          value={secret}
          onInput={setSecret}
          autoComplete="current-password"
          required
          error={failure?.fields.get("secret")}
        />
        <p role="alert" class="error">
          {failure?.message}
        </p>
        <button class="primary" aria-disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
