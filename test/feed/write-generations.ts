/** Writes one generation after the other into the folder of its first argument until it is killed; a byte told for each. */
import { writeGeneration } from "../../src/feed/artefact.ts";
import { compileFeeds } from "../../src/feed/compile.ts";
import { lockFeeds } from "../../src/feed/lock.ts";

const folder = process.argv[2] ?? "";
const name = "one";
lockFeeds(folder);
for (let builtAt = Date.now(); ; builtAt++) {
  const text = Array.from({ length: 2000 }, (_, index) => `n${index}.b${builtAt}.example\n`).join("");
  const entries = Buffer.from(text);
  const source = { name, path: "/one", kind: "domain", match: "exact", enabled: true } as const;
  const status = {
    name,
    kind: "domain",
    entries: 2000,
    refused: 0,
    samples: [],
    loadedAt: 0,
    error: null,
  } as const;
  const feeds = compileFeeds([{ source, status, entries }], new Uint8Array(8).fill(1));
  writeGeneration(folder, { feeds, builtAt, manifest: "" });
  process.stdout.write(".");
}
