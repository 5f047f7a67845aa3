import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { invariantsPage } from "../docs/invariants.ts";
import { configurationReference } from "../src/config/reference.ts";

const pages = { "configuration.md": configurationReference, "invariants.md": invariantsPage };

for (const [name, make] of Object.entries(pages)) {
  test(`docs/${name} is what \`npm run docs\` makes of the sources`, () => {
    assert.equal(readFileSync(new URL(`../docs/${name}`, import.meta.url), "utf8"), make());
  });
}

test("docs/matching.md cites tests that are there", () => {
  const page = readFileSync(new URL("../docs/matching.md", import.meta.url), "utf8");
  const cited = Array.from(
    page.matchAll(/\((?:\[\S+\.test\.ts\]\([^)]*\): (?:"[^"]*"[,;]?\s*)+)+\)/g),
    ([text]) => text,
  );
  assert.ok(cited.length >= 20);
  for (const text of cited) {
    for (const [, file = "", titles = ""] of text.matchAll(/\]\(\.\.\/([^)]*)\): ((?:"[^"]*"[,;]?\s*)+)/g)) {
      const source = readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
      for (const [, title = ""] of titles.matchAll(/"([^"]*)"/g)) {
        assert.ok(source.includes(`"${title.replaceAll(/\s+/g, " ")}"`), `${file} has no test "${title}"`);
      }
    }
  }
});
