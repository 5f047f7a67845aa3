import { createSecretKey } from "node:crypto";
import { TokenService } from "../../src/ingest/auth/tokens.ts";
import { LoadClient } from "../../test/fault/load-client.ts";
import { Random } from "../../test/fault/random.ts";
import { Watcher } from "../../test/fault/watcher.ts";
import type { SoakRecord } from "./record.ts";

export interface CrowdOptions {
  /** `host:port`. */
  readonly door: string;
  readonly clients: number;
  readonly symbols: readonly string[];
  readonly partitions: number;
  /** With which ingest checks tokens. */
  readonly signingKey: string;
  readonly seed: string;
  readonly record: SoakRecord;
}

/** Each client sends up to some 80 orders a second so: two callers at rest for some 50 ms, and one that sends batches. */
const SLOTS = 3;
const REST_MS = 50;
/** One in so many watches what becomes of its orders, the whole run through. */
const WATCHES = 4;
/** A client asks again until it knows: a server that was killed is back within seconds. */
const PAUSE_LIMIT_MS = 60_000;
const TOKEN_TTL_S = 30 * 86_400;

/** Clients that come and go. Always true: one that trades is not leaving; one that is leaving trades again only after it has left. */
export class Crowd {
  readonly #clients: readonly LoadClient[];
  readonly #watchers: readonly Watcher[];
  readonly #trading = new Set<LoadClient>();
  readonly #leaving = new Map<LoadClient, Promise<void>>();

  private constructor(clients: readonly LoadClient[], watchers: readonly Watcher[]) {
    this.#clients = clients;
    this.#watchers = watchers;
  }

  static async gather(options: CrowdOptions): Promise<Crowd> {
    const { door, symbols, partitions, seed, record } = options;
    const tokens = tokensOf(options.signingKey);
    const clients: LoadClient[] = [];
    const watchers: Watcher[] = [];
    for (let n = 0; n < options.clients; n++) {
      const account = `trader-${n}`;
      const { token } = await tokens.issue(account, "trader");
      const random = new Random(seed, account);
      const client = { doors: [door], account, token, symbols, run: account, random, record };
      clients.push(new LoadClient({ ...client, slots: SLOTS, restMs: REST_MS }));
      const watch = { doors: [door], account, token, partitions, random: new Random(seed, account, "watch") };
      if (n % WATCHES === 0) watchers.push(new Watcher(watch));
    }
    for (const watcher of watchers) watcher.start();
    return new Crowd(clients, watchers);
  }

  /** How many trade. */
  get active(): number {
    return this.#trading.size;
  }

  /** Acknowledged commands of all, and how often one was sent again. */
  get counts(): { acknowledged: number; retries: number } {
    return this.#clients.reduce(
      ({ acknowledged, retries }, { counts }) => ({
        acknowledged: acknowledged + counts.acknowledged,
        retries: retries + counts.retries,
      }),
      { acknowledged: 0, retries: 0 },
    );
  }

  /** What was told to anybody that must not be. */
  get findings(): readonly string[] {
    return [...this.#clients, ...this.#watchers].flatMap(({ findings }) => findings.map(({ text }) => text));
  }

  /** The first so many of them trade from now on; one that is just leaving comes back with a later call. */
  resize(active: number): void {
    for (const [n, client] of this.#clients.entries()) {
      if (n >= active) this.#leave(client);
      else if (!this.#trading.has(client) && !this.#leaving.has(client)) {
        this.#trading.add(client);
        client.start();
      }
    }
  }

  /** Resolves when the outcome of everything is known. */
  async pause(): Promise<void> {
    this.resize(0);
    await Promise.all(this.#leaving.values());
  }

  close(): void {
    for (const each of [...this.#clients, ...this.#watchers]) each.close();
  }

  #leave(client: LoadClient): void {
    if (!this.#trading.delete(client)) return;
    this.#leaving.set(
      client,
      client.pause(PAUSE_LIMIT_MS).finally(() => this.#leaving.delete(client)),
    );
  }
}

/** Tokens of any account, as ingest takes them. */
export function tokensOf(signingKey: string): TokenService {
  return new TokenService({ key: createSecretKey(signingKey, "utf8"), ttlS: TOKEN_TTL_S });
}
