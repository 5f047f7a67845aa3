import { Agent, get } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

/** Milliseconds from when a probe was due to its answer. */
export interface ProbeLatency {
  readonly name: string;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Probes that failed, or were answered by something else than 200. */
  readonly failures: number;
}

/** Far more often than any orchestrator, so that a run has enough of them for a 99th percentile. */
const PROBES_PER_SECOND = 50;

/** Probes all URLs at the same moments, open loop, for so many seconds. */
export function probe(urls: Readonly<Record<string, string>>, seconds: number): Promise<ProbeLatency[]> {
  return Promise.all(Object.entries(urls).map(([name, url]) => probeOne(name, url, seconds)));
}

async function probeOne(name: string, url: string, seconds: number): Promise<ProbeLatency> {
  const agent = new Agent({ keepAlive: true });
  const latencies: number[] = [];
  const waiting: Promise<void>[] = [];
  let failures = 0;
  const started = performance.now();
  for (let i = 0; i < seconds * PROBES_PER_SECOND; i++) {
    const due = started + (i * 1000) / PROBES_PER_SECOND;
    await delay(Math.max(0, due - performance.now()));
    waiting.push(
      ask(url, agent).then(
        (good) => (good ? void latencies.push(performance.now() - due) : void failures++),
        () => void failures++,
      ),
    );
  }
  await Promise.all(waiting);
  agent.destroy();
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? NaN;
  return { name, p50: at(0.5), p99: at(0.99), max: at(1), failures };
}

function ask(url: string, agent: Agent): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  get(url, { agent }, (response) => {
    response.resume().once("end", () => resolve(response.statusCode === 200));
  }).once("error", reject);
  return promise;
}
