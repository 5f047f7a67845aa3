import { defineConfig } from "vite";

/** Built by the set-up step (setup.sh) and the Dockerfile; ingest serves what comes of it. */
export default defineConfig({
  root: import.meta.dirname,
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    // light-dark() and Promise.withResolvers; the newest of them is of May 2024.
    target: ["chrome123", "firefox121", "safari17.5"],
    // The content security policy knows no data: but for images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 300,
  },
  server: {
    // For `npx vite web` beside a stack that runs: PENSTOCK_HTTP names its HTTP port.
    proxy: { "^/penstock\\.v1\\.": process.env["PENSTOCK_HTTP"] ?? "http://127.0.0.1:8080" },
  },
});
