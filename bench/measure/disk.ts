import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Percentiles in ms. */
export interface DiskLatency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** About what a flush of one order adds to Redis' file. */
const APPEND = Buffer.alloc(300);

/**
 * What the disk alone does with a load: an append and a flush each time one is due, with nothing else running. A latency
 * counts from when it was due, as everywhere here, so a stall counts for all that waited for it.
 */
export function diskLatency(rate: number, seconds: number): DiskLatency {
  const path = join(tmpdir(), `penstock-disk-${process.pid}`);
  const file = openSync(path, "w");
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const latencies: number[] = [];
  const started = performance.now();
  try {
    for (let i = 0; i < rate * seconds; i++) {
      const due = started + (i * 1000) / rate;
      const early = due - performance.now();
      if (early > 0) Atomics.wait(pause, 0, 0, early);
      writeSync(file, APPEND);
      fdatasyncSync(file);
      latencies.push(performance.now() - due);
    }
  } finally {
    closeSync(file);
    rmSync(path);
  }
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
