import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";

import { apiPage } from "../docs/api.ts";
import { invariantsPage } from "../docs/invariants.ts";
import { configurationReference } from "../src/config/reference.ts";

const pages = { "api.md": apiPage, "configuration.md": configurationReference, "invariants.md": invariantsPage };

for (const [name, make] of Object.entries(pages)) {
  test(`docs/${name} is what \`npm run docs\` makes of the sources`, () => {
    assert.equal(readFileSync(new URL(`../docs/${name}`, import.meta.url), "utf8"), make());
  });
}

const ROOT = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(path, "utf8");

/** The anchors of a page's headings, as they are made where it is shown. */
function anchorsOf(path: string): Set<string> {
  const headings = Array.from(read(path).matchAll(/^#+ (.+)$/gm), ([, heading = ""]) => heading.toLowerCase());
  return new Set(headings.map((heading) => `#${heading.replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")}`));
}

test("every link of the README and of the docs leads somewhere", () => {
  for (const page of ["README.md", ...globSync("docs/*.md", { cwd: ROOT })]) {
    const links = Array.from(read(join(ROOT, page)).matchAll(/\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)/g));
    for (const [, file = "", anchor] of links) {
      const target = file === "" ? join(ROOT, page) : join(ROOT, page, "..", file);
      assert.ok(existsSync(target) && !relative(ROOT, target).startsWith(".."), `${page}: ${file}`);
      if (anchor !== undefined) assert.ok(anchorsOf(target).has(anchor), `${page}: ${file}${anchor}`);
    }
  }
});

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
