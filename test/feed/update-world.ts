/** A folder of feeds, a server that is a map, and updates of it, on a clock of the test's own. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Test } from "tap";
import { ManualClock } from "../../src/clock.ts";
import type { LearnedName } from "../../src/feed/changes.ts";
import type { FetchOutcome } from "../../src/feed/fetch.ts";
import { openFeeds } from "../../src/feed/index.ts";
import type { CompiledFeeds } from "../../src/feed/types.ts";
import { bodiesIn, type UpdateOptions, updateFeeds } from "../../src/feed/update.ts";
import { nameToWire } from "../../src/name.ts";

export const HOUR = 3_600_000;

export class World {
  readonly folder: string;
  readonly clock = new ManualClock();
  readonly manifest: string;
  /** What each fetched feed is served; an error message fails it. */
  readonly served = new Map<string, string | Error>();
  readonly fetched: string[][] = [];
  learned: LearnedName[] = [];

  constructor(t: Test, feeds: string) {
    this.folder = join(t.testdir({}), "feeds");
    this.manifest = join(t.testdirName, "feeds.yaml");
    this.write(feeds);
    writeFileSync(join(t.testdirName, "popular.txt"), "popular.example\nwww.shop.example\n");
  }

  write(feeds: string): void {
    writeFileSync(this.manifest, `version: 1\nfeeds:\n${feeds}`);
  }

  update(more: Partial<UpdateOptions> = {}) {
    return updateFeeds({
      manifest: this.manifest,
      folder: this.folder,
      fetch: "all",
      fetchLists: async (feeds) => {
        this.fetched.push(feeds.map(({ name }) => name));
        mkdirSync(bodiesIn(this.folder), { recursive: true });
        return new Map(
          feeds.map(({ name, path }): [string, FetchOutcome] => {
            const body = this.served.get(name) ?? new Error("it answered with status 404");
            if (body instanceof Error)
              return [name, { kind: "failed", message: body.message, retryAfter: null }];
            if (existsSync(path) && readFileSync(path, "utf8") === body) return [name, { kind: "unchanged" }];
            writeFileSync(path, body);
            return [name, { kind: "changed", bytes: body.length, url: "https://feeds.example/" }];
          }),
        );
      },
      popular: join(dirname(this.manifest), "popular.txt"),
      internal: ["198.51.100.7"],
      learned: () => this.learned,
      clock: this.clock,
      ...more,
    });
  }
}

/** Feeds that list `name`. */
export function lists(feeds: CompiledFeeds, name: string): string[] {
  return openFeeds(feeds)
    .domain(nameToWire(name)!, 0)
    .map((hit) => hit.feed);
}

/** As many lines. */
export const names = (count: number, zone = "bad.example"): string =>
  Array.from({ length: count }, (_, index) => `n${index}.${zone}\n`).join("");
