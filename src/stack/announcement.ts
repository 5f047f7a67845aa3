import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import type { DemoTokens } from "./demo.ts";

/** New tokens come so often within the time of one: where they cannot be had, it is tried twice more before that ends. */
const RENEWALS = 4;

/** Where the parts of a stack are. */
export interface StackUrls {
  readonly grpc: string;
  readonly http: string;
  readonly engine: string | null;
  readonly redis: string;
  readonly postgres: string;
}

export interface AnnouncementOptions {
  readonly stateFolder: string;
  /** Known once all else has been started. */
  readonly urls: () => StackUrls;
  /** Makes what a first order needs; resolves with what logs its accounts in. */
  readonly prepare: () => Promise<() => Promise<DemoTokens>>;
  /** For how long a token is good. */
  readonly tokenTtlMs: number;
  /** A line for the person at the terminal. */
  readonly say: (line: string) => void;
}

/**
 * Tells where a stack is, and gives tokens for it: in `stack.json`, and at the terminal.
 *
 * Always true: the file is there only between `start` and `stop`, and whoever sees it sees all of it.
 */
export class Announcement implements Service {
  readonly name = "stack.json";
  readonly #options: AnnouncementOptions;
  readonly #file: string;
  readonly #renewals: Periodic;
  #logIn: (() => Promise<DemoTokens>) | undefined;
  #stopping = false;

  constructor(options: AnnouncementOptions) {
    const { stateFolder, tokenTtlMs, say } = options;
    this.#options = options;
    this.#file = join(stateFolder, "stack.json");
    this.#renewals = new Periodic(
      tokenTtlMs / RENEWALS,
      () => this.#write(),
      (error) => say(`the tokens in stack.json could not be renewed: ${String(error)}`),
    );
    this.remove(); // of a stack that was killed
  }

  async start(): Promise<void> {
    const { urls, prepare, stateFolder, say } = this.#options;
    this.#logIn = await prepare();
    await this.#write();
    if (this.#stopping) return;
    this.#renewals.start();
    say(welcome(urls(), stateFolder));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#renewals.stop();
    this.remove();
  }

  /** At once, for the end of this process. */
  remove(): void {
    rmSync(this.#file, { force: true });
  }

  async #write(): Promise<void> {
    const tokens = await this.#logIn?.();
    if (this.#stopping) return;
    const draft = `${this.#file}.${process.pid}`;
    writeFileSync(draft, `${JSON.stringify({ ...this.#options.urls(), ...tokens }, undefined, 2)}\n`, { mode: 0o600 });
    renameSync(draft, this.#file);
  }
}

function welcome({ grpc, http }: StackUrls, stateFolder: string): string {
  const here = relative("", stateFolder);
  const folder = here.startsWith("..") ? stateFolder : here;
  return `up. Ctrl-C drains and stops.

  orders by gRPC     ${new URL(grpc).host}
  by Connect, JSON   ${http}
  the page           ${http}/
  to sign in there   the account and secret of ${join(folder, "demo-trader.json")}, or admin and ${join(folder, "admin.secret")}
  health, metrics    ${http}/readyz, ${http}/metrics
  addresses, tokens  ${join(folder, "stack.json")}
  logs               ${join(folder, "logs")}

  A first order, from another terminal:
    npx penstock submit --symbol BTC-USD --side buy --quantity 0.1 --price 100
`;
}
