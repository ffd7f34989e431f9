/** Two generations on the disk, whatever step of a change is the last one that is done. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readGeneration, swapGenerations, writeGeneration } from "../../src/feed/artefact.ts";
import { HEADER, STEP, seal } from "../../src/feed/format.ts";
import { noFeeds } from "../../src/feed/load.ts";

const SCRIPT = join(import.meta.dirname, "step-by-step.ts");
const feeds = noFeeds(new Uint8Array(8).fill(1));

/** When the generation in force was built, and the one before it. */
function built(folder: string): readonly (number | undefined)[] {
  return [readGeneration(folder)?.builtAt, readGeneration(folder, "previous")?.builtAt];
}

for (const [what, after] of [
  ["write", "3,2"],
  ["replace", "3,1"],
  ["swap", "1,2"],
] as const) {
  t.test(`${what}, killed before each of its steps`, async (t) => {
    const seen: string[] = [];
    for (let step = 1, ended = false; !ended; step++) {
      const folder = join(t.testdir({}), "feeds");
      for (const builtAt of [1, 2]) writeGeneration(folder, { feeds, builtAt, manifest: "" });
      const { signal, status } = spawnSync(process.execPath, [SCRIPT, what, folder, `${step}`], {
        stdio: ["ignore", "ignore", "inherit"],
      });
      ended = signal === null;
      if (ended) t.equal(status, 0);
      const found = built(folder);
      seen.push(`${found}`);
      // Whoever comes next goes on from there, and leaves nothing behind.
      writeGeneration(folder, { feeds, builtAt: 9, manifest: "" });
      t.strictSame(built(folder), [9, found[0]], `step ${step}: the next one`);
      swapGenerations(folder);
      t.strictSame(built(folder), [found[0], 9], `step ${step}: and back`);
      t.strictSame(readdirSync(folder).sort(), ["current.feeds", "previous.feeds"]);
    }
    // Both change with one step: never anything else, and never the same twice.
    t.strictSame([...new Set(seen)], ["2,1", after]);
    t.ok(seen.length > 5, `${seen.length} steps`);
  });
}

t.test("a large generation is read in small steps, and damage in any of them is found", async (t) => {
  const folder = join(t.testdir({}), "feeds");
  const random = new Uint8Array(new SharedArrayBuffer(3 * STEP));
  // A set of which only the header means anything: what matters here is its size.
  random.set(new Uint8Array(feeds.domains));
  for (let at = feeds.domains.byteLength; at < random.length; at++) random[at] = at * 31;
  const domains = random.buffer;
  new Uint32Array(domains, 0, 4)[HEADER.BYTES] = domains.byteLength;
  seal(domains);
  writeGeneration(folder, { feeds: { ...feeds, domains }, builtAt: 1, manifest: "" });
  let pauses = 0;
  const read = readGeneration(folder, "current", () => pauses++);
  t.ok(Buffer.from(domains).equals(Buffer.from(read!.feeds.domains)));
  t.ok(pauses >= 6, `${pauses} pauses`);
  const file = join(folder, "current.feeds");
  const whole = readFileSync(file);
  for (const at of [whole.length - 2 * STEP, whole.length - STEP, whole.length - STEP - 1]) {
    const broken = Buffer.from(whole);
    broken[at]! ^= 1;
    writeFileSync(file, broken);
    t.throws(() => readGeneration(folder), { code: "TM_FEED", message: /checksum is wrong/ }, `byte ${at}`);
  }
});
