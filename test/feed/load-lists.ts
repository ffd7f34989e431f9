/** Lists without a host: from the text of a feeds.yaml to compiled feeds, with a file system and a time of the test's own. */
import type { Clock } from "../../src/clock.ts";
import { compileFeeds } from "../../src/feed/compile.ts";
import { readFeeds } from "../../src/feed/load.ts";
import { parseFeeds } from "../../src/feed/manifest.ts";
import type { CompiledFeeds } from "../../src/feed/types.ts";

export interface Lists {
  /** Text of a feeds.yaml, and the folder that it lies in. */
  readonly text: string;
  readonly folder: string;
  readonly bodies?: string;
  readonly readFile: (path: string) => Uint8Array;
  readonly clock: Clock;
  readonly previous?: CompiledFeeds | undefined;
}

export const SEED = new Uint8Array(8).fill(5);

export function loadLists({ text, folder, bodies, previous, readFile, clock }: Lists): CompiledFeeds {
  const feeds = parseFeeds(text, `${folder}/feeds.yaml`, bodies);
  const options = { readFile, clock, ...(previous === undefined ? {} : { previous }) };
  return compileFeeds(readFeeds(feeds, options), SEED);
}
