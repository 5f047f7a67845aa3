import type { Counter, Gauge, Histogram } from "prom-client";
import type { Metrics } from "../telemetry/metrics.ts";

/** What an ingest process tells of itself. */
export class IngestMetrics {
  readonly accepted: Counter.Internal;
  readonly duplicates: Counter.Internal;
  readonly refused: Counter.Internal;
  readonly matched: Counter.Internal;
  readonly matchedLate: Counter.Internal;
  readonly disconnectCancels: Counter<"outcome">;
  readonly requests: Counter<"method" | "code">;
  readonly latency: Histogram<"method">;
  readonly flushCommands: Histogram;
  readonly flushBytes: Histogram;
  readonly flushSeconds: Histogram;
  readonly lostAcknowledged: Counter;
  readonly backlog: Gauge<"partition" | "stream" | "group" | "state">;
  readonly oldest: Gauge<"partition" | "stream" | "group" | "state">;
  readonly unmatched: Gauge<"partition">;
  readonly entries: Gauge<"partition" | "stream">;
  readonly recognised: Gauge<"partition">;
  readonly redisMemory: Gauge<"limit">;
  readonly refusing: Gauge;
  readonly accountsRead: Gauge;
  readonly connections: Gauge;
  readonly streams: Gauge;
  readonly watches: Gauge<"method">;
  readonly updates: Counter<"method">;
  readonly connectionsCut: Counter<"reason">;
  readonly lettersSettled: Counter<"outcome">;

  constructor(metrics: Metrics, waiting: () => number) {
    const orders = metrics.counter("orders_total", "Orders answered, by outcome: each order of a batch counts.", [
      "outcome",
    ]);
    this.accepted = orders.labels("accepted");
    this.duplicates = orders.labels("duplicate");
    this.refused = orders.labels("refused");
    const matched = metrics.counter(
      "matched_answers_total",
      "Commands that wanted to be answered as MATCHED: matched, or late, which were answered as LOGGED.",
      ["outcome"],
    );
    this.matched = matched.labels("matched");
    this.matchedLate = matched.labels("late");
    this.disconnectCancels = metrics.counter(
      "disconnect_cancels_total",
      "Mass cancels for streams that ended with cancel_on_disconnect: logged, or failed, which leaves orders open.",
      ["outcome"],
    );
    this.requests = metrics.counter(
      "requests_total",
      "Calls answered, and commands of streams, by method and gRPC code.",
      ["method", "code"],
    );
    this.latency = metrics.histogram(
      "request_seconds",
      "From a call's arrival to its answer: for SubmitOrder, its acknowledgement.",
      ["method"],
    );
    this.flushCommands = metrics.histogram(
      "flush_commands",
      "Commands in a flush.",
      [],
      [1, 2, 5, 10, 20, 50, 100, 200, 500],
    );
    this.flushBytes = metrics.histogram("flush_bytes", "Bytes of a flush.", [], [100, 1e3, 1e4, 1e5, 1e6]);
    this.flushSeconds = metrics.histogram("flush_seconds", "From sending a flush until it is durable.");
    this.lostAcknowledged = metrics.counter(
      "acknowledged_tail_lost_total",
      "Times that Redis lost entries which this process had acknowledged and the journal did not have.",
    );
    const ofGroups = ["partition", "stream", "group", "state"] as const;
    this.backlog = metrics.gauge("group_entries", "Entries a group still has to finish.", ofGroups);
    this.oldest = metrics.gauge("group_oldest_seconds", "Age of the oldest such entry.", ofGroups);
    this.unmatched = metrics.gauge(
      "unmatched_oldest_seconds",
      "Age of the oldest entry of the log that no engine has made events of; absent where none was ever there.",
      ["partition"],
    );
    this.entries = metrics.gauge("log_entries", "Entries of a stream that Redis holds.", ["partition", "stream"]);
    this.recognised = metrics.gauge("idempotency_horizon_seconds", "How far back a repeated client id is recognised.", [
      "partition",
    ]);
    this.redisMemory = metrics.gauge("redis_memory_bytes", "Memory of Redis: used, and the most it may use.", [
      "limit",
    ]);
    this.refusing = metrics.gauge("refusing", "1 while new orders are refused, be it those of one partition.");
    this.accountsRead = metrics.gauge(
      "accounts_read_timestamp_seconds",
      "When what is known of the accounts was read last, in seconds since 1970.",
    );
    this.connections = metrics.gauge("grpc_connections", "Connections of the gRPC port.");
    this.streams = metrics.gauge("grpc_streams", "Streams of the gRPC port that are open, watches too.");
    this.watches = metrics.gauge("watches", "Watches that are open, at both ports.", ["method"]);
    this.updates = metrics.counter("watch_answers_total", "Answers that were sent to watches.", ["method"]);
    this.connectionsCut = metrics.counter(
      "grpc_connections_cut_total",
      "Connections of the gRPC port that were ended for what the client did, or did not do in time.",
      ["reason"],
    );
    this.lettersSettled = metrics.counter(
      "dead_letters_settled_total",
      "Dead letters that operators took up: redriven, failed (which stay open), or discarded.",
      ["outcome"],
    );
    for (const outcome of ["redriven", "failed", "discarded"]) this.lettersSettled.inc({ outcome }, 0);
    metrics.gauge("waiting_commands", "Commands waiting for the log.", [], (gauge) => gauge.set(waiting()));
  }
}
