import type { EngineEvent, LevelChange } from "../stream/event-batch.ts";
import type { Partitioning } from "../stream/partition.ts";
import type { EntryPosition } from "../stream/position.ts";
import type { FollowedEntry } from "./event-follower.ts";
import type { Follower } from "./report-hub.ts";

/** What one entry, that of this place, did to a symbol. */
export interface News extends EntryPosition {
  /** The levels of its book that were touched, each as it is now. */
  readonly levels: readonly LevelChange[];
  /** In their order. */
  readonly events: readonly EngineEvent[];
}

/** None of it throws. */
export interface NewsListener {
  news(news: News): void;
  /** Something was missed. */
  reset(): void;
}

/** Tells of symbols: each entry is gone through once, however many listen. */
export class SymbolNews {
  readonly #follower: Follower;
  readonly #partitioning: Partitioning;
  readonly #partitions = new Map<number, PartitionNews>();

  constructor(follower: Follower, partitioning: Partitioning) {
    this.#follower = follower;
    this.#partitioning = partitioning;
  }

  /** From now on. Returns what ends it. */
  listen(symbol: string, listener: NewsListener): () => void {
    const number = this.#partitioning.of(symbol);
    let partition = this.#partitions.get(number);
    if (partition === undefined) {
      partition = new PartitionNews();
      this.#partitions.set(number, partition);
      partition.leave = this.#follower.listen(number, partition);
    }
    const { listeners } = partition;
    const ofSymbol = listeners.get(symbol) ?? new Set();
    listeners.set(symbol, ofSymbol.add(listener));
    return () => {
      ofSymbol.delete(listener);
      if (ofSymbol.size === 0 && listeners.get(symbol) === ofSymbol) listeners.delete(symbol);
      if (listeners.size > 0 || this.#partitions.get(number) !== partition) return;
      partition.leave();
      this.#partitions.delete(number);
    };
  }
}

class PartitionNews {
  leave = () => {};
  /** By symbol; none is empty. */
  readonly listeners = new Map<string, Set<NewsListener>>();

  entry({ epoch, ms, seq, batch }: FollowedEntry): void {
    const found = new Map<string, EntryPosition & { levels: LevelChange[]; events: EngineEvent[] }>();
    const newsOf = (symbol: string) => {
      if (!this.listeners.has(symbol)) return undefined;
      const news = found.get(symbol) ?? { epoch, ms, seq, levels: [], events: [] };
      found.set(symbol, news);
      return news;
    };
    for (const event of batch.events) newsOf(event.symbol)?.events.push(event);
    for (const level of batch.levels) newsOf(level.symbol)?.levels.push(level);
    for (const [symbol, news] of found) for (const listener of this.#of(symbol)) listener.news(news);
  }

  reset(): void {
    for (const symbol of [...this.listeners.keys()]) for (const listener of this.#of(symbol)) listener.reset();
  }

  /** As they are now: a listener may leave when it is told. */
  #of(symbol: string): NewsListener[] {
    return [...(this.listeners.get(symbol) ?? [])];
  }
}
