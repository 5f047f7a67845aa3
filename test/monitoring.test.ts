/** The alerts and the dashboard against what the roles tell, and against the operator's guide. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { get } from "node:https";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "node:test";

import * as v from "valibot";
import { parse } from "yaml";

import { TestCertificate } from "./support/certificates.ts";
import { startConsumers, startEngine, startIngest } from "./support/pipeline.ts";
import { createTestDatabase, startTestRedis } from "./support/servers.ts";

const read = (name: string): string => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");

const rulesSchema = v.object({
  groups: v.array(
    v.object({
      name: v.string(),
      rules: v.array(
        v.strictObject({
          alert: v.string(),
          expr: v.string(),
          for: v.optional(v.pipe(v.string(), v.regex(/^\d+[smh]$/))),
          labels: v.object({ severity: v.picklist(["page", "ticket"]) }),
          annotations: v.object({ summary: v.string(), runbook: v.string() }),
        }),
      ),
    }),
  ),
});
const alerts = v.parse(rulesSchema, parse(read("docker/prometheus/alerts.yaml"))).groups.flatMap(({ rules }) => rules);

const panelSchema = v.looseObject({
  id: v.number(),
  title: v.string(),
  type: v.string(),
  targets: v.optional(v.array(v.looseObject({ expr: v.string(), refId: v.string() })), []),
  gridPos: v.object({ x: v.number(), y: v.number(), w: v.number(), h: v.number() }),
});
const dashboard = v.parse(
  v.looseObject({ uid: v.string(), panels: v.array(panelSchema) }),
  JSON.parse(read("docker/grafana/dashboards/penstock.json")),
);

/** The names of metrics in a query: what stands before a brace, a bracket, an operator or an end, and is no function. */
function metricsIn(expr: string): string[] {
  const outside = expr.replaceAll(/"[^"]*"/g, "").replaceAll(/\{[^}]*\}/g, "");
  return Array.from(outside.matchAll(/\b(?:penstock|process|nodejs)_\w+/g), ([name]) => name);
}

/** "name{label=…}" as pairs: which labels a query asks of a metric. */
function labelsIn(expr: string): [metric: string, label: string][] {
  return Array.from(expr.matchAll(/(\w+)\{([^}]*)\}/g), ([, metric, labels]) =>
    Array.from(labels!.matchAll(/(\w+)\s*(?:=|!)/g), ([, label]): [string, string] => [metric!, label!]),
  ).flat();
}

test("every metric of an alert or a panel is one that a role tells, with those labels", async (t) => {
  const files = new TestCertificate(t);
  const [server, { url: databaseUrl }] = await Promise.all([startTestRedis(t), createTestDatabase(t)]);
  const servers = { redisUrl: server.url, databaseUrl };
  const tls = { PENSTOCK_TLS_CERT_FILE: files.certFile, PENSTOCK_TLS_KEY_FILE: files.keyFile };
  const [ingest, engine, consumers] = await Promise.all([
    startIngest(t, { ...servers, env: { ...tls, PENSTOCK_INGEST_PROCESSES: "2" } }),
    startEngine(t, servers),
    startConsumers(t, servers),
  ]);
  const asked = get(`${ingest.http.replace("127.0.0.1", "localhost")}/metrics`, { ca: files.ca, agent: false });
  const [secure] = (await once(asked, "response")) as [IncomingMessage];
  const consumersUrl = String((await consumers.logged("health and metrics"))["url"]);
  const inClear = [engine.http, consumersUrl].map(async (url) => (await fetch(`${url}/metrics`)).text());
  const told = [await text(secure), ...(await Promise.all(inClear))].join("\n");

  const names = new Set(Array.from(told.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name]) => name!));
  for (const [, name] of told.matchAll(/^# TYPE (\w+) histogram$/gm)) names.add(`${name}_bucket`);
  const exprs = [
    ...alerts.map(({ alert, expr }) => [alert, expr] as const),
    ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ];
  for (const [where, expr] of exprs) {
    const metrics = metricsIn(expr);
    assert.ok(metrics.length > 0, `${where}: no metric in ${expr}`);
    for (const metric of metrics) assert.ok(names.has(metric), `${where}: nobody tells ${metric}`);
    for (const [metric, label] of labelsIn(expr)) {
      // Those that nothing has happened to yet have no samples.
      const samples = told.split("\n").filter((line) => line.startsWith(`${metric}{`));
      const isTold = samples.length === 0 || samples.some((line) => line.includes(`${label}="`));
      assert.ok(isTold, `${where}: ${metric} has no label ${label}`);
    }
  }
});

test("each alert has its paragraph in the operator's guide, and each paragraph its alert", () => {
  const guide = read("docs/operating.md");
  const chapter = guide.slice(guide.indexOf("\n## Alerts\n"), guide.indexOf("\n## When something fails\n"));
  const paragraphs = new Map(
    chapter
      .split(/^### /m)
      .slice(1)
      .map((part) => [part.slice(0, part.indexOf("\n")), part.slice(part.indexOf("\n")).trim()]),
  );
  assert.deepEqual(
    [...paragraphs.keys()],
    alerts.map(({ alert }) => alert),
  );
  for (const { alert, annotations } of alerts) {
    assert.ok(paragraphs.get(alert)!.length > 80, alert);
    assert.equal(annotations.runbook, `docs/operating.md#${alert.toLowerCase()}`);
  }
  assert.equal(
    alerts.findLastIndex(({ labels }) => labels.severity === "page"),
    10,
    "the first eleven call somebody",
  );
  assert.ok(alerts.slice(0, 11).every(({ labels }) => labels.severity === "page"));
});

test("the dashboard's panels have ids of their own, and lie beside each other", () => {
  const ids = dashboard.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) => {
    assert.ok(x + w <= 24);
    return Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`);
  });
  assert.equal(new Set(cells).size, cells.length);
});
