import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { test } from "node:test";
import type { TestContext } from "node:test";

import * as v from "valibot";

import { ConfigError, loadAddress, loadConfig, requireSigningKey } from "./config.ts";
import { variables } from "./variables.ts";

const needed = { REDIS_URL: "redis://127.0.0.1:6379", DATABASE_URL: "postgres://penstock@127.0.0.1/penstock" };

function problemsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, ["the configuration is not valid:", ...error.problems.map((p) => `  ${p}`)].join("\n"));
    return error.problems;
  }
  return [];
}

function fileWith(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "penstock-config-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "secret");
  writeFileSync(path, text);
  return path;
}

test("two addresses make a configuration", () => {
  const config = loadConfig(needed);
  assert.equal(config.redisUrl, needed.REDIS_URL);
  assert.deepEqual(config.log.durability, { level: "always", replicas: 0, replicaTimeoutMs: 2_000 });
  assert.equal(config.log.idempotencyHorizonMs, 3_600_000);
  const { bind, grpcPort, httpPort, processes, tls } = config.listen;
  assert.deepEqual([bind, grpcPort, httpPort, processes, tls], ["127.0.0.1", 50_051, 8_080, 1, undefined]);
  assert.equal(config.consumers.name, `${hostname().slice(0, 58)}-8080`);
  assert.equal(config.auth.signingKey, undefined);
});

test("it is frozen, at every depth", () => {
  const config = loadConfig(needed);
  assert.ok(Object.isFrozen(config));
  for (const part of [
    config.log,
    config.log.durability,
    config.listen,
    config.auth,
    config.admission,
    config.engine,
    config.consumers,
  ]) {
    assert.ok(Object.isFrozen(part));
  }
});

test("an empty variable is an unset one, and others' variables do not matter", () => {
  assert.deepEqual(loadConfig({ ...needed, PENSTOCK_GRPC_PORT: "", PATH: "/bin" }), loadConfig(needed));
});

test("all bad variables are named at once, a line each", () => {
  assert.deepEqual(
    problemsOf({ PENSTOCK_GRPC_PORT: "65536", PENSTOCK_LOG_LEVEL: "loud", PENSTOCK_SIGNING_KEY: "short" }),
    [
      "REDIS_URL: is required",
      "DATABASE_URL: is required",
      'PENSTOCK_LOG_LEVEL: must be one of trace, debug, info, warn, error, fatal, silent, not "loud"',
      'PENSTOCK_GRPC_PORT: must be a whole number from 0 to 65535, not "65536"',
      "PENSTOCK_SIGNING_KEY: must be at least 32 bytes long",
    ],
  );
});

test("the address of Redis sets nothing by its parameters", () => {
  const problems = (query: string) => problemsOf({ ...needed, REDIS_URL: `${needed.REDIS_URL}/2${query}` });
  assert.deepEqual(problems("?family=6"), []);
  for (const query of ["?maxRetriesPerRequest=3", "?family=6&socketTimeout=0"])
    assert.match(problems(query).join(), /^REDIS_URL: must have no parameters but family/);
});

test("numbers are plain decimal digits", () => {
  for (const bad of ["1e3", "0x10", " 1", "1.5", "-1", "one", "99999999999999999999"]) {
    assert.match(problemsOf({ ...needed, PENSTOCK_READ_COUNT: bad })[0] ?? "", /^PENSTOCK_READ_COUNT: must be a whole/);
  }
  for (const bad of ["0", "1.1", "-0.5", "50%", ".5"]) {
    assert.match(
      problemsOf({ ...needed, PENSTOCK_MAX_MEMORY_SHARE: bad })[0] ?? "",
      /^PENSTOCK_MAX_MEMORY_SHARE: must/,
    );
  }
});

test("durability levels", () => {
  const durability = (text: string) => loadConfig({ ...needed, PENSTOCK_DURABILITY: text }).log.durability;
  assert.deepEqual(durability("memory").level, "memory");
  assert.deepEqual(durability("everysec").level, "everysec");
  assert.deepEqual(durability("replicas:2"), { level: "replicas", replicas: 2, replicaTimeoutMs: 2_000 });
  for (const bad of ["replicas", "replicas:0", "replicas:", "Always", "none"]) {
    assert.equal(problemsOf({ ...needed, PENSTOCK_DURABILITY: bad }).length, 1);
  }
});

test("limits are checked against each other", () => {
  const conflicts: [NodeJS.ProcessEnv, string][] = [
    [{ PENSTOCK_MIN_IDLE_MS: "20000" }, "PENSTOCK_TRANSACTION_TIMEOUT_MS"],
    [{ PENSTOCK_CLAIM_INTERVAL_MS: "60000" }, "PENSTOCK_CLAIM_INTERVAL_MS"],
    [{ PENSTOCK_DRAIN_TIMEOUT_MS: "20000" }, "PENSTOCK_TRANSACTION_TIMEOUT_MS"],
    [{ PENSTOCK_REQUEST_TIMEOUT_MS: "30000" }, "PENSTOCK_REQUEST_TIMEOUT_MS"],
    [{ PENSTOCK_IDEMPOTENCY_HORIZON_MS: "10000" }, "PENSTOCK_REQUEST_TIMEOUT_MS"],
    [{ PENSTOCK_IDEMPOTENCY_MEMORY_SHARE: "0.75" }, "PENSTOCK_IDEMPOTENCY_MEMORY_SHARE"],
    [{ PENSTOCK_MAX_BACKLOG_AGE_MS: "60000" }, "PENSTOCK_MIN_IDLE_MS"],
    [{ PENSTOCK_DURABILITY: "replicas:1", PENSTOCK_REPLICA_TIMEOUT_MS: "10000" }, "PENSTOCK_REPLICA_TIMEOUT_MS"],
    [{ PENSTOCK_RETENTION_DAYS: "1", PENSTOCK_REPLAY_HORIZON_MS: "86400000" }, "PENSTOCK_REPLAY_HORIZON_MS"],
    [{ PENSTOCK_GRPC_PORT: "8080" }, "PENSTOCK_HTTP_PORT"],
    [{ PENSTOCK_ENGINE_PORT: "8080" }, "PENSTOCK_HTTP_PORT"],
  ];
  for (const [env, named] of conflicts) {
    const problems = problemsOf({ ...needed, ...env });
    assert.equal(problems.length, 1, `${named}: ${problems.join("; ")}`);
    assert.ok(problems[0]?.startsWith(`${named}: must `), problems.join());
  }
  assert.deepEqual(problemsOf({ ...needed, PENSTOCK_GRPC_PORT: "0", PENSTOCK_HTTP_PORT: "0" }), []);
  assert.deepEqual(problemsOf({ ...needed, PENSTOCK_REPLAY_HORIZON_MS: "86400000", PENSTOCK_RETENTION_DAYS: "0" }), []);
});

test("engines are named by their addresses", () => {
  const urls = (text: string) => loadConfig({ ...needed, PENSTOCK_ENGINE_URL: text }).engine.urls;
  assert.deepEqual(urls(""), ["http://127.0.0.1:50052"]);
  assert.deepEqual(urls("http://a:1, http://[::1]:2,http://c"), ["http://a:1", "http://[::1]:2", "http://c"]);
  const seventeen = Array.from({ length: 17 }, (_, i) => `http://engine-${i}:1`).join();
  for (const bad of [",", "engine:50052", "https://engine:1", "http://u:hunter2@engine:1", "http://e:1/x", seventeen]) {
    const problems = problemsOf({ ...needed, PENSTOCK_ENGINE_URL: bad });
    assert.match(problems.join(), /^PENSTOCK_ENGINE_URL: must be 1 to 16 addresses/);
    assert.doesNotMatch(problems.join(), /hunter2/);
  }
});

test("a secret comes from its variable or from its file, without the final line break", (t) => {
  const key = "0123456789abcdef0123456789abcdef";
  const fromFile = loadConfig({ ...needed, PENSTOCK_SIGNING_KEY_FILE: fileWith(t, `${key}\n`) });
  const fromVariable = loadConfig({ ...needed, PENSTOCK_SIGNING_KEY: key });
  assert.ok(requireSigningKey(fromFile).equals(requireSigningKey(fromVariable)));
  assert.throws(() => requireSigningKey(loadConfig(needed)), /PENSTOCK_SIGNING_KEY: is required/);
});

test("a secret given twice, too short or out of reach is refused, and never shown", (t) => {
  const path = fileWith(t, "hunter2");
  assert.deepEqual(
    problemsOf({ ...needed, PENSTOCK_ADMIN_SECRET: "hunter2hunter2hunter2", PENSTOCK_ADMIN_SECRET_FILE: path }),
    ["PENSTOCK_ADMIN_SECRET: is given twice, by PENSTOCK_ADMIN_SECRET_FILE too"],
  );
  assert.deepEqual(problemsOf({ ...needed, PENSTOCK_SIGNING_KEY_FILE: path }), [
    "PENSTOCK_SIGNING_KEY_FILE: must be at least 32 bytes long",
  ]);
  assert.deepEqual(problemsOf({ ...needed, PENSTOCK_SIGNING_KEY_FILE: `${path}-not-there` }), [
    "PENSTOCK_SIGNING_KEY_FILE: cannot be read (ENOENT)",
  ]);
  assert.doesNotMatch(problemsOf({ REDIS_URL: "http://u:hunter2@h", DATABASE_URL: "u:hunter2@h" }).join(), /hunter2/);
  assert.doesNotMatch(inspect(loadConfig({ ...needed, PENSTOCK_SIGNING_KEY: "hunter2".repeat(6) })), /hunter2/);
});

test("TLS wants both its files", () => {
  const [cert, key] = [{ PENSTOCK_TLS_CERT_FILE: "/tls.crt" }, { PENSTOCK_TLS_KEY_FILE: "/tls.key" }];
  assert.deepEqual(loadConfig({ ...needed, ...cert, ...key }).listen.tls, {
    certFile: "/tls.crt",
    keyFile: "/tls.key",
  });
  assert.deepEqual(problemsOf({ ...needed, ...cert }), [
    "PENSTOCK_TLS_KEY_FILE: is required with PENSTOCK_TLS_CERT_FILE",
  ]);
  assert.deepEqual(problemsOf({ ...needed, ...key }), [
    "PENSTOCK_TLS_CERT_FILE: is required with PENSTOCK_TLS_KEY_FILE",
  ]);
});

test("the password of a server comes from its file, whatever characters it has", (t) => {
  const password = "p@ss/w%41rd é";
  const REDIS_PASSWORD_FILE = fileWith(t, `${password}\n`);
  const DATABASE_PASSWORD_FILE = REDIS_PASSWORD_FILE;
  const config = loadConfig({ ...needed, REDIS_PASSWORD_FILE, DATABASE_PASSWORD_FILE });
  for (const [url, user] of [[config.redisUrl, ""] as const, [config.databaseUrl, "penstock"] as const]) {
    assert.equal(decodeURIComponent(new URL(url).password), password);
    assert.equal(new URL(url).username, user);
  }
  assert.equal(loadAddress("REDIS", { ...needed, REDIS_PASSWORD_FILE }), config.redisUrl);
  assert.deepEqual(problemsOf({ ...needed, REDIS_URL: "redis://:hunter2@h", REDIS_PASSWORD_FILE }), [
    "REDIS_PASSWORD_FILE: REDIS_URL has a password already",
  ]);
  assert.deepEqual(problemsOf({ ...needed, REDIS_PASSWORD_FILE: fileWith(t, "\n") }), [
    "REDIS_PASSWORD_FILE: is empty, or REDIS_URL names no host",
  ]);
  assert.throws(() => loadAddress("DATABASE", { ...needed, DATABASE_PASSWORD_FILE: "/not-there" }), /\(ENOENT\)/);
});

test("the database alone can be asked for", () => {
  assert.equal(loadAddress("DATABASE", { DATABASE_URL: needed.DATABASE_URL }), needed.DATABASE_URL);
  assert.throws(() => loadAddress("DATABASE", { DATABASE_URL: "" }), /DATABASE_URL: is required/);
  assert.throws(() => loadAddress("DATABASE", { DATABASE_URL: "mysql://h" }), /DATABASE_URL: must be an address/);
});

test("every variable is described", () => {
  for (const [name, schema] of Object.entries(variables.entries)) {
    assert.ok((v.getDescription(schema) ?? "").length > 20, name);
  }
});
