import type { Counter, Gauge, Histogram } from "prom-client";
import type { Metrics } from "../telemetry/metrics.ts";
import type { EngineStatus, PartitionEngineOptions } from "./partition-engine.ts";

/** Each partition with the age, in ms, of the oldest entry of its log that its engine has made no events of; 0: none. */
export type ReadBehind = () => Promise<readonly { readonly partition: number; readonly behindMs: number }[]>;

type Hooks = Required<
  Pick<PartitionEngineOptions, "onApplied" | "onAppended" | "onTick" | "onSnapshot" | "onDivergence">
>;

const STATES = ["starting", "active", "standby", "stopped"] as const;

/** What the engines of a process tell of themselves. */
export class EngineMetrics {
  readonly #entries: Counter<"partition">;
  readonly #commands: Counter<"partition">;
  readonly #events: Counter<"partition">;
  readonly #appended: Counter<"partition">;
  readonly #appendedCommands: Counter<"partition">;
  readonly #appendBytes: Counter<"partition">;
  readonly #appendSeconds: Histogram;
  readonly #ticks: Counter<"partition">;
  readonly #divergences: Counter<"partition">;
  readonly #snapshotBytes: Gauge<"partition">;
  readonly #snapshotSeconds: Histogram;

  constructor(metrics: Metrics, statuses: () => readonly EngineStatus[], readBehind: ReadBehind) {
    const counter = (name: string, help: string) => metrics.counter(`engine_${name}_total`, help, ["partition"]);
    this.#entries = counter("entries", "Entries of the log that were applied, in a replay too.");
    this.#commands = counter("commands", "Commands in them.");
    this.#events = counter("events", "Events made of them.");
    this.#appended = counter("appended_entries", "Entries appended to the events.");
    this.#appendedCommands = counter("appended_commands", "Commands whose events they are.");
    this.#appendBytes = counter("appended_bytes", "Bytes of them.");
    this.#appendSeconds = metrics.histogram(
      "engine_append_seconds",
      "From sending events to the log until they stand.",
    );
    this.#ticks = counter("ticks", "Ticks appended because an order was due and the log was quiet.");
    this.#divergences = counter(
      "divergences",
      "Times that what this engine made of an entry was not what stands in the events.",
    );
    this.#snapshotBytes = metrics.gauge("engine_snapshot_bytes", "Size of the snapshot that was stored last.", [
      "partition",
    ]);
    this.#snapshotSeconds = metrics.histogram("engine_snapshot_seconds", "Time until a snapshot was stored.");
    const gauge = (name: string, help: string, value: (status: EngineStatus) => number | undefined) =>
      metrics.gauge(`engine_${name}`, help, ["partition"], (gauge) => {
        gauge.reset(); // what there is not is absent
        for (const status of statuses()) {
          const now = value(status);
          if (now !== undefined) gauge.set({ partition: status.partition }, now);
        }
      });
    gauge("open_orders", "Orders that are open.", ({ openOrders }) => openOrders);
    gauge(
      "position_timestamp_seconds",
      "The time of the newest entry whose events stand, in seconds since 1970.",
      ({ position }) => position && position.ms / 1000,
    );
    gauge(
      "snapshot_timestamp_seconds",
      "The time of the entry behind which the newest snapshot was taken, in seconds since 1970; 0 where there is none.",
      ({ position, snapshot }) => position && (snapshot?.ms ?? 0) / 1000,
    );
    metrics.gauge("engine_state", "1 for the state that the engine is in.", ["partition", "state"], (gauge) => {
      for (const { partition, state } of statuses()) {
        for (const name of STATES) gauge.set({ partition, state: name }, name === state ? 1 : 0);
      }
    });
    metrics.gauge(
      "engine_behind_seconds",
      "Age of the oldest entry of the log that the engine has made no events of.",
      ["partition"],
      async (gauge) => {
        gauge.reset(); // what Redis does not tell now is absent, not old
        const found = await readBehind().catch(() => []);
        for (const { partition, behindMs } of found) gauge.set({ partition }, behindMs / 1000);
      },
    );
  }

  /** What the engine of a partition is to be made with. */
  hooks(partition: number): Hooks {
    return {
      onApplied: ({ commands, events }) => {
        this.#entries.inc({ partition });
        this.#commands.inc({ partition }, commands);
        this.#events.inc({ partition }, events);
      },
      onAppended: ({ entries, commands, bytes, seconds }) => {
        this.#appended.inc({ partition }, entries);
        this.#appendedCommands.inc({ partition }, commands);
        this.#appendBytes.inc({ partition }, bytes);
        this.#appendSeconds.observe(seconds);
      },
      onTick: () => this.#ticks.inc({ partition }),
      onSnapshot: ({ bytes, seconds }) => {
        this.#snapshotBytes.set({ partition }, bytes);
        this.#snapshotSeconds.observe(seconds);
      },
      onDivergence: () => this.#divergences.inc({ partition }),
    };
  }
}
