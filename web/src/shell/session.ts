import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { type ReadonlySignal, signal } from "@preact/signals";
import { Role } from "../../../src/gen/penstock/v1/admin_service_pb.ts";
import type { Session as SessionMessage } from "../../../src/gen/penstock/v1/auth_service_pb.ts";
import { backoffMs, wait } from "../api/backoff.ts";
import type { Clients } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/failure.ts";

export type SessionState =
  | { readonly mode: "asking"; readonly trouble: string | undefined }
  /** `ended`: there was one, and it is over without the person's doing. */
  | { readonly mode: "none"; readonly ended: boolean }
  | { readonly mode: "signed-in"; readonly account: string; readonly role: Role };

/** `setTimeout` takes no more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** How often the server is asked where the clock here is ahead of its own. */
const LEAST_TIMER_MS = 30_000;

/** Who is signed in. The token itself is in a cookie that no script can read. */
export class Session {
  readonly #auth: Clients["auth"];
  readonly #state = signal<SessionState>({ mode: "asking", trouble: undefined });
  #expiry: ReturnType<typeof setTimeout> | undefined;

  constructor(auth: Clients["auth"]) {
    this.#auth = auth;
  }

  get state(): ReadonlySignal<SessionState> {
    return this.#state;
  }

  /** Asks the server who is signed in, until it answers. */
  async ask(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        const { session } = await this.#auth.getSession({});
        return this.#begin(session!);
      } catch (error) {
        const { code, message } = failureOf(error);
        const wasSignedIn = this.#state.peek().mode === "signed-in";
        if (code === Code.Unauthenticated || code === Code.PermissionDenied) return this.#end(wasSignedIn);
        if (!wasSignedIn) this.#state.value = { mode: "asking", trouble: message };
      }
      await wait(backoffMs(attempt));
    }
  }

  /** Undefined where it worked. */
  async signIn(account: string, secret: string): Promise<Failure | undefined> {
    try {
      const { session } = await this.#auth.startSession({ account, secret });
      this.#begin(session!);
      return undefined;
    } catch (error) {
      return failureOf(error);
    }
  }

  /** Undefined where it worked; else the person is still signed in. */
  async signOut(): Promise<Failure | undefined> {
    try {
      await this.#auth.endSession({});
    } catch (error) {
      const failure = failureOf(error);
      if (failure.code !== Code.Unauthenticated) return failure;
    }
    this.#end(false);
    return undefined;
  }

  /** The server does not know the session any more. */
  readonly ended = (): void => {
    if (this.#state.peek().mode === "signed-in") this.#end(true);
  };

  #begin({ account, role, expiresAt }: SessionMessage): void {
    this.#state.value = { mode: "signed-in", account, role };
    clearTimeout(this.#expiry);
    if (expiresAt === undefined) return;
    const left = timestampMs(expiresAt) - Date.now();
    // The clock here may be wrong: the server is asked, not believed to have ended it.
    this.#expiry = setTimeout(() => void this.ask(), Math.min(Math.max(left, LEAST_TIMER_MS), LONGEST_TIMER_MS));
  }

  #end(ended: boolean): void {
    clearTimeout(this.#expiry);
    this.#state.value = { mode: "none", ended };
  }
}

export function mayTrade(role: Role): boolean {
  return role === Role.TRADER || role === Role.ADMIN;
}

export function isAdmin(role: Role): boolean {
  return role === Role.ADMIN;
}
