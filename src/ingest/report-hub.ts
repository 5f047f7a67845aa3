import type { Instruments } from "../stream/instrument.ts";
import { compareEntryIds, type EntryPosition } from "../stream/position.ts";
import type { EventFollower, FollowedEntry } from "./event-follower.ts";
import { type Report, type ReportFilter, reportOf, type ReportPlace, WHOLE_ENTRY } from "./reports.ts";

/** What is asked of the events as they are followed. */
export type Follower = Pick<EventFollower, "end" | "find" | "since" | "listen">;

/** Whoever takes reports as they come. None of it throws. */
export interface ReportWatcher {
  readonly filter: ReportFilter;
  /** What one entry has for it. */
  take(partition: number, reports: readonly Report[]): void;
  /** It gets no more of that partition: what stands behind `end` is to be read elsewhere. */
  lose(partition: number, end: ReportPlace | undefined): void;
}

/**
 * Tells those who watch of reports as they come: each entry is gone through once a process, each report encoded once.
 *
 * Always true: who joined a partition behind a place is told of every report behind it, in order, until it leaves or loses.
 */
export class ReportHub {
  readonly #follower: Follower;
  readonly #instruments: Instruments;
  readonly #partitions = new Map<number, HubPartition>();

  constructor(follower: Follower, instruments: Instruments) {
    this.#follower = follower;
    this.#instruments = instruments;
  }

  /** `after` is where the follower stands, or undefined where it has nothing. */
  join(partition: number, watcher: ReportWatcher, after: ReportPlace | undefined): void {
    let hub = this.#partitions.get(partition);
    if (hub === undefined) {
      hub = new HubPartition(partition, this.#instruments);
      this.#partitions.set(partition, hub);
      hub.leave = this.#follower.listen(partition, hub);
    }
    hub.add(watcher, after);
  }

  leave(partition: number, watcher: ReportWatcher): void {
    const hub = this.#partitions.get(partition);
    if (hub === undefined) return;
    hub.remove(watcher);
    if (hub.watchers.size > 0) return;
    hub.leave();
    this.#partitions.delete(partition);
  }

  /** Behind what a watcher of a partition was told; undefined where it has not joined. */
  placeOf(partition: number, watcher: ReportWatcher): ReportPlace | undefined {
    return this.#partitions.get(partition)?.placeOf(watcher);
  }
}

/** Always true: `#own` and `#all` have the watchers, by whose reports they want. */
class HubPartition {
  leave = () => {};
  /** With the places behind which they joined. */
  readonly watchers = new Map<ReportWatcher, ReportPlace | undefined>();
  readonly #partition: number;
  readonly #instruments: Instruments;
  readonly #own = new Map<string, Set<ReportWatcher>>();
  readonly #all = new Set<ReportWatcher>();
  /** Who joined since the last entry. */
  readonly #fresh = new Set<ReportWatcher>();
  #end: EntryPosition | undefined;

  constructor(partition: number, instruments: Instruments) {
    this.#partition = partition;
    this.#instruments = instruments;
  }

  add(watcher: ReportWatcher, after: ReportPlace | undefined): void {
    this.watchers.set(watcher, after);
    this.#fresh.add(watcher);
    const { account } = watcher.filter;
    if (account === undefined) return void this.#all.add(watcher);
    const own = this.#own.get(account);
    if (own === undefined) this.#own.set(account, new Set([watcher]));
    else own.add(watcher);
  }

  remove(watcher: ReportWatcher): void {
    this.watchers.delete(watcher);
    this.#all.delete(watcher);
    this.#fresh.delete(watcher);
    const { account } = watcher.filter;
    const own = account === undefined ? undefined : this.#own.get(account);
    own?.delete(watcher);
    if (own?.size === 0) this.#own.delete(account!);
  }

  placeOf(watcher: ReportWatcher): ReportPlace | undefined {
    const joined = this.watchers.get(watcher);
    const end = this.#end;
    const isBehind = end !== undefined && (joined === undefined || compareEntryIds(end, joined) >= 0);
    return isBehind ? { epoch: end.epoch, ms: end.ms, seq: end.seq, index: WHOLE_ENTRY } : joined;
  }

  entry(entry: FollowedEntry): void {
    this.#loseIfBehind(entry);
    for (const [watcher, reports] of this.#reportsOf(entry)) {
      if (reports === undefined) this.#lose(watcher);
      else watcher.take(this.#partition, reports);
    }
    this.#end = entry;
  }

  reset(): void {
    for (const watcher of [...this.watchers.keys()]) this.#lose(watcher);
    this.#end = undefined;
  }

  #lose(watcher: ReportWatcher): void {
    const place = this.placeOf(watcher);
    this.remove(watcher);
    watcher.lose(this.#partition, place);
  }

  /** Where the follower had nothing when they joined, the first entry that comes may not be the next one for them. */
  #loseIfBehind({ previous }: FollowedEntry): void {
    for (const watcher of [...this.#fresh]) {
      const joined = this.watchers.get(watcher);
      if (joined !== undefined && compareEntryIds(previous, joined) > 0) this.#lose(watcher);
    }
    this.#fresh.clear();
  }

  /** For each watcher what the entry has for it; undefined where that cannot be told before an instrument is learnt. */
  #reportsOf(entry: FollowedEntry): Map<ReportWatcher, Report[] | undefined> {
    const found = new Map<ReportWatcher, Report[] | undefined>();
    for (const [index, event] of entry.batch.events.entries()) {
      const own = this.#own.get(event.account);
      if (own === undefined && this.#all.size === 0) continue;
      const isUnknown = event.symbol !== "" && this.#instruments.get(event.symbol) === undefined;
      const report = isUnknown ? undefined : reportOf(event, index, entry, this.#partition, this.#instruments);
      if (report === undefined && !isUnknown) continue;
      for (const watchers of [own ?? [], this.#all]) {
        for (const watcher of watchers) {
          if (!this.#isFor(watcher, entry, event.symbol, index)) continue;
          if (report === undefined) found.set(watcher, undefined);
          else if (!found.has(watcher)) found.set(watcher, [report]);
          else found.get(watcher)?.push(report);
        }
      }
    }
    return found;
  }

  #isFor(watcher: ReportWatcher, entry: EntryPosition, symbol: string, index: number): boolean {
    const { filter } = watcher;
    if (filter.symbol !== undefined && filter.symbol !== symbol) return false;
    const joined = this.watchers.get(watcher);
    if (joined === undefined) return true;
    // It may have seen that entry, or a part of it.
    return (compareEntryIds(entry, joined) || index - joined.index) > 0;
  }
}
