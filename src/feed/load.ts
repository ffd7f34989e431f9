/**
 * From feeds.yaml to compiled feeds. One bad list never spoils the others: its status says what is wrong, and what was
 * last read of it stays in use.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import type { Clock } from "../clock.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import { compileFeeds, type FeedList } from "./compile.ts";
import { DomainSet } from "./domain-set.ts";
import { parseFeeds } from "./manifest.ts";
import { FeedBodyError, MAX_BODY, parseAddresses, parseDomains } from "./parse.ts";
import { PrefixSet } from "./prefix-set.ts";
import type { CompiledFeeds, FeedSource, FeedStatus } from "./types.ts";

export interface LoadOptions {
  /** feeds.yaml. Where there is none there are no feeds. */
  readonly manifest: string;
  /** Throws system errors, and `FeedBodyError` for what it refuses to read. */
  readonly readFile: (path: string) => Uint8Array;
  readonly clock: Clock;
  /** Eight secret random bytes for the hash of the tables. */
  readonly seed: Uint8Array;
  /** What is in use now: the source of lists that cannot be read this time. */
  readonly previous?: CompiledFeeds;
}

/** Reads and compiles all enabled feeds. Throws TM_FEED only for the manifest; a list that fails has `status.error`. */
export function loadFeeds({ manifest, readFile, clock, seed, previous }: LoadOptions): CompiledFeeds {
  const sources = readManifest(manifest, readFile);
  const lists = sources.map((source): FeedList => {
    if (!source.enabled) return { source, ...nothing(source, clock.now(), null) };
    try {
      const body = readFile(source.path);
      const list = source.kind === "domain" ? parseDomains(body, source.match) : parseAddresses(body);
      const { entries, count, refused, samples } = list;
      const { name, kind } = source;
      const status = { name, kind, entries: count, refused, samples, loadedAt: clock.now(), error: null };
      return { source, status, entries };
    } catch (error) {
      const why = explain(error, source);
      return (
        lastGood(source, why, previous) ?? {
          source,
          ...nothing(source, clock.now(), `${why}; the feed is not in use`),
        }
      );
    }
  });
  return compileFeeds(lists, seed);
}

/** No feeds at all: what a daemon without feeds.yaml decides with. */
export function noFeeds(seed: Uint8Array): CompiledFeeds {
  return compileFeeds([], seed);
}

/** The bytes of a regular file of at most `MAX_BODY` bytes; what `LoadOptions.readFile` is outside of tests. */
export function readFeedFile(path: string): Uint8Array {
  // O_NONBLOCK: a pipe without a writer must not hold up whoever reads.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FeedBodyError("it is not a regular file");
    if (stat.size > MAX_BODY)
      throw new FeedBodyError(`it has ${stat.size} bytes; at most ${MAX_BODY} are read`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readManifest(manifest: string, readFile: (path: string) => Uint8Array): readonly FeedSource[] {
  let bytes: Uint8Array;
  try {
    bytes = readFile(manifest);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    const why = error instanceof Error ? error.message : String(error);
    throw new TidesmanError("TM_FEED", `cannot read \`${manifest}\`: ${why}`, { cause: error });
  }
  return parseFeeds(new TextDecoder().decode(bytes), manifest);
}

function nothing(
  { name, kind }: FeedSource,
  loadedAt: number,
  error: string | null,
): { status: FeedStatus; entries: Uint8Array } {
  const status = { name, kind, entries: 0, refused: 0, samples: [], loadedAt, error };
  return { status, entries: new Uint8Array() };
}

function explain(error: unknown, { path }: FeedSource): string {
  switch (systemCode(error)) {
    case "ENOENT":
      return `\`${path}\` does not exist`;
    case "EACCES":
    case "EPERM":
      return `\`${path}\` may not be read by this user`;
    case "EISDIR":
      return `\`${path}\` is a folder, not a list`;
    default:
      return `\`${path}\` cannot be used: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What was in use of the feed before; null when nothing was, or when it meant something else then. */
function lastGood(source: FeedSource, why: string, previous: CompiledFeeds | undefined): FeedList | null {
  const feed = previous?.sources.findIndex((known) => {
    return (
      known.name === source.name &&
      known.kind === source.kind &&
      known.match === source.match &&
      known.enabled
    );
  });
  const status = feed === undefined ? undefined : previous?.statuses[feed];
  if (previous === undefined || feed === undefined || status === undefined) return null;
  // A feed that never was in use has an error and nothing to keep; an empty list that was read without one is good.
  if (status.error !== null && status.entries === 0) return null;
  const set =
    source.kind === "domain"
      ? new DomainSet(previous.domains, previous.sources, true)
      : new PrefixSet(previous.addresses, previous.sources, true);
  const { entries } = set.entriesOf(feed);
  const since = new Date(status.loadedAt).toISOString();
  return {
    source,
    entries,
    status: { ...status, error: `${why}; the list as read at ${since} stays in use` },
  };
}
