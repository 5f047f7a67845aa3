import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import * as v from "valibot";
import { parse } from "yaml";

import { loadConfig } from "../src/config/config.ts";
import { variables } from "../src/config/variables.ts";
import { HttpServer } from "../src/telemetry/http-server.ts";
import { createLog } from "../src/telemetry/log.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";

/** compose.yaml and Dockerfile against the program and against each other; what Docker makes of them is Docker's business. */

const read = (name: string): string => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");
const seconds = (text: string): number => Number(/^(\d+)(?:s|m)$/.exec(text)?.[1]) * (text.endsWith("m") ? 60 : 1);
const bytes = (text: string): number =>
  Number.parseInt(text) *
  (({ m: 2 ** 20, g: 2 ** 30 } as Record<string, number>)[text.replace(/^\d+|b$/gi, "")] ?? NaN);

const serviceSchema = v.looseObject({
  image: v.string(),
  profiles: v.optional(v.array(v.string()), []),
  build: v.optional(v.string()),
  command: v.optional(v.array(v.string()), []),
  environment: v.optional(v.record(v.string(), v.string()), {}),
  secrets: v.optional(v.array(v.string()), []),
  ports: v.optional(v.array(v.string()), []),
  networks: v.array(v.string()),
  volumes: v.optional(v.array(v.string()), []),
  restart: v.string(),
  stop_grace_period: v.string(),
  read_only: v.optional(v.boolean(), false),
  depends_on: v.optional(v.record(v.string(), v.object({ condition: v.string() })), {}),
});
const composeSchema = v.looseObject({
  services: v.record(v.string(), serviceSchema),
  networks: v.record(v.string(), v.unknown()),
  volumes: v.record(v.string(), v.unknown()),
  secrets: v.record(v.string(), v.object({ file: v.string() })),
});

const dockerfile = read("Dockerfile");
const compose = v.parse(composeSchema, parse(read("compose.yaml"), { merge: true, strict: true, uniqueKeys: true }));
const { version } = v.parse(v.looseObject({ version: v.string() }), JSON.parse(read("package.json")));
const services = Object.entries(compose.services);
/** Beside the rest, where somebody wants them. */
const watchers = services.filter(([, { profiles }]) => profiles.includes("monitoring"));
const roles = services.filter(([, { image }]) => image === `penstock:${version}`);

test("every role that is a server, and migrate, are in compose.yaml, of one image", () => {
  assert.deepEqual(
    roles.map(([, { command }]) => command),
    [["ingest"], ["engine"], ["consumers"], ["migrate"]],
  );
  const built = services.filter(([, { build }]) => build !== undefined).map(([name]) => name);
  assert.deepEqual(built, ["migrate"]);
  assert.ok(dockerfile.includes(`org.opencontainers.image.version="${version}"`));
});

test("every variable that a role or the image is given is one that the program knows", () => {
  const given = roles.flatMap(([, { environment }]) => Object.keys(environment));
  const inImage = Array.from(dockerfile.matchAll(/\bPENSTOCK_[A-Z_]+\b/g), ([name]) => name);
  for (const name of new Set([...given, ...inImage])) assert.ok(name in variables.entries, name);
});

test("the settings of each role are a valid configuration", () => {
  for (const [name, { environment, secrets }] of roles) {
    assert.doesNotThrow(() => loadConfig(withoutFiles(environment)), name);
    for (const [variable, path] of Object.entries(environment).filter(([variable]) => variable.endsWith("_FILE"))) {
      const secret = path.replace("/run/secrets/", "");
      assert.ok(secrets.includes(secret) && secret in compose.secrets, `${name}: ${variable}`);
    }
  }
});

test("a role has the time to drain, and the listeners are where the ports lead", () => {
  for (const [name, { environment, stop_grace_period }] of roles) {
    const { drainTimeoutMs } = loadConfig(withoutFiles(environment));
    assert.ok(seconds(stop_grace_period) * 1_000 >= drainTimeoutMs + 5_000, name);
  }
  const { ingest, engine } = compose.services;
  const { PENSTOCK_GRPC_PORT: grpc, PENSTOCK_HTTP_PORT: http } = ingest!.environment;
  assert.deepEqual(ingest!.ports, [`127.0.0.1:${grpc}:${grpc}`, `127.0.0.1:${http}:${http}`]);
  const { PENSTOCK_ENGINE_PORT: asked } = engine!.environment;
  assert.equal(ingest!.environment["PENSTOCK_ENGINE_URL"], `http://engine:${asked}`);
  assert.ok(dockerfile.includes(`EXPOSE ${grpc} ${asked} ${http}`));
  const open = services.filter(([, { ports }]) => ports.length > 0);
  assert.deepEqual(
    open.map(([name]) => name),
    ["ingest", "grafana"],
  );
  for (const port of open.flatMap(([, { ports }]) => ports)) assert.match(port, /^127\.0\.0\.1:/);
});

test("Prometheus and Grafana come with their profile alone, and find what they need", () => {
  assert.deepEqual(
    watchers.map(([name]) => name),
    ["prometheus", "grafana"],
  );
  const scraped = v.parse(
    v.object({
      rule_files: v.array(v.string()),
      scrape_configs: v.array(
        v.looseObject({ dns_sd_configs: v.array(v.looseObject({ names: v.array(v.string()), port: v.number() })) }),
      ),
    }),
    parse(read("docker/prometheus/prometheus.yaml")),
  );
  const [{ names, port }] = scraped.scrape_configs[0]!.dns_sd_configs as [{ names: string[]; port: number }];
  assert.deepEqual(names, ["ingest", "engine", "consumers"]);
  for (const name of names) {
    const { environment, networks } = compose.services[name]!;
    assert.equal(environment["PENSTOCK_HTTP_PORT"], String(port));
    assert.ok(networks.includes("data") && compose.services["prometheus"]!.networks.includes("data"));
  }
  assert.deepEqual(scraped.rule_files, ["/etc/prometheus/alerts.yaml"]);
  assert.equal(compose.services["grafana"]!.environment["GF_SECURITY_ADMIN_PASSWORD"], undefined);
});

test("whatever a service waits for and uses is there", () => {
  for (const [name, { depends_on, secrets, networks, volumes }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      const ends = compose.services[other]?.restart.startsWith("on-failure") === true;
      assert.equal(condition, ends ? "service_completed_successfully" : "service_healthy", `${name} on ${other}`);
    }
    for (const secret of secrets) assert.ok(secret in compose.secrets, `${name}: ${secret}`);
    for (const network of networks) assert.ok(network in compose.networks, `${name}: ${network}`);
    for (const [source = ""] of volumes.map((volume) => volume.split(":"))) {
      const isThere = source.startsWith("./")
        ? existsSync(new URL(`../${source}`, import.meta.url))
        : source in compose.volumes;
      assert.ok(isThere, `${name}: ${source}`);
    }
  }
  assert.ok(roles.every(([, { read_only }]) => read_only));
});

test("Redis is as the durability level needs it, and the password is not in the file", () => {
  const redis = compose.services["redis"]!;
  const settings = new Map(
    Array.from(redis.command[2]!.matchAll(/^(\S+) (.*)$/gm), ([, name, value]) => [name, value]),
  );
  assert.equal(settings.get("appendonly"), "yes");
  assert.equal(settings.get("appendfsync"), "always");
  assert.equal(settings.get("no-appendfsync-on-rewrite"), "no");
  assert.equal(settings.get("maxmemory-policy"), "noeviction");
  assert.equal(settings.get("requirepass"), "$$(cat /run/secrets/redis_password)");
  const limit = (redis["deploy"] as { resources: { limits: { memory: string } } }).resources.limits.memory;
  assert.ok(bytes(limit) >= 2 * bytes(settings.get("maxmemory")!));
  assert.equal(compose.services["postgres"]!.environment["POSTGRES_PASSWORD"], undefined);
});

test("the image holds what the Dockerfile copies, and no secret", () => {
  const copied = Array.from(dockerfile.matchAll(/^COPY (?!--)(.+)$/gm), ([, line]) =>
    line!.split(" ").slice(0, -1),
  ).flat();
  const kept = Array.from(read(".dockerignore").matchAll(/^!(.+)$/gm), ([, path]) => path!);
  assert.deepEqual([...new Set(copied)].sort(), kept.sort());
  for (const { file } of Object.values(compose.secrets)) assert.match(file, /^\.\/secrets\/\w+$/);
  assert.match(read(".gitignore"), /^secrets\/$/m);
});

test("the image's health check: 0 where the role answers, 1 where nobody does", async (t) => {
  const registry = createMetrics("test");
  const server = new HttpServer({
    bind: "127.0.0.1",
    port: 0,
    checks: {},
    metrics: registry,
    log: createLog("test", "silent"),
  });
  await server.start();
  t.after(() => server.stop());
  const check = (port: string): Promise<number | null> =>
    new Promise((resolve) => {
      const env = { PENSTOCK_HTTP_PORT: port };
      spawn(process.execPath, [join(import.meta.dirname, "..", "docker", "healthy.ts")], { env }).on("exit", resolve);
    });
  assert.equal(await check(new URL(server.url).port), 0);
  const { port } = new URL(server.url);
  await server.stop();
  assert.equal(await check(port), 1);
});

/** Without the files, which are there only in a container. */
function withoutFiles(environment: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.endsWith("_FILE")));
}
