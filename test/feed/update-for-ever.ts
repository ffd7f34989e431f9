/** A process that tests kill: updates the feeds of a folder again and again, and rolls some of it back. `argv[2]`: the folder. */
import { writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { rollbackFeeds, updateFeeds } from "../../src/feed/update.ts";

const folder = process.argv[2] ?? "";
for (let round = 0; ; round++) {
  const names = Array.from({ length: 2000 }, (_, index) => `r${round}n${index}.bad.example\n`).join("");
  writeFileSync(join(folder, "own.txt"), names);
  await updateFeeds({
    manifest: join(folder, "feeds.yaml"),
    folder: join(folder, "feeds"),
    fetch: "none",
    fetchLists: async () => new Map(),
    popular: join(folder, "popular.txt"),
    internal: [],
    learned: () => [],
    clock: systemClock,
  });
  if (round % 3 === 2) rollbackFeeds(join(folder, "feeds"));
  writeSync(1, ".");
}
