/**
 * From declared feeds to lists that can be compiled. One bad list never spoils the others: its status says what is wrong, and
 * what was last read of it stays in use.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import type { Clock } from "../clock.ts";
import { systemCode } from "../errors.ts";
import { compileFeeds, type FeedList } from "./compile.ts";
import { DomainSet } from "./domain-set.ts";
import { unpack } from "./list/body.ts";
import { formatNamed } from "./list/formats.ts";
import { FeedBodyError, MAX_BODY, parseFolder, parseList, type ReadList } from "./parse.ts";
import { PrefixSet } from "./prefix-set.ts";
import type { CompiledFeeds, DeclaredFeed, FeedSource } from "./types.ts";

export interface ReadOptions {
  /** Throws system errors, and `FeedBodyError` for what it refuses to read. */
  readonly readFile: (path: string) => Uint8Array;
  readonly clock: Clock;
  /** What is in use now: the source of lists that cannot be read this time. */
  readonly previous?: CompiledFeeds;
  /** Looks at each list that was read, before it is used. */
  readonly admit?: Admit;
}

/** Decides about a list that was read: as it goes into use, or why the one that is in use stays. */
export type Admit = (
  feed: DeclaredFeed,
  list: ReadList,
  /** What is in use of the feed; null when nothing is. */
  inUse: () => FeedList | null,
) => Admitted;

export interface Admitted extends ReadList {
  /** SHA-256 of the entries, hexadecimal. */
  readonly digest?: string;
  /** Why the list is not taken; absent when it is. */
  readonly kept?: string;
}

/** What is said of a list that is fetched, and was not yet: a state of every fresh host, not a failure. */
export const NOT_FETCHED = "not fetched yet";

/** Reads all enabled feeds. Throws nothing: a list that fails has `status.error`. */
export function readFeeds(
  declared: readonly DeclaredFeed[],
  { readFile, clock, previous, admit }: ReadOptions,
): readonly FeedList[] {
  return declared.map((feed): FeedList => {
    if (!feed.enabled) return nothing(feed, clock.now(), null);
    try {
      const now = clock.now();
      const list = readList(feed, readFile, now);
      const admitted: Admitted = admit?.(feed, list, () => inUse(feed, previous)) ?? list;
      if (admitted.kept !== undefined) {
        return inUse(feed, previous) ?? nothing(feed, now, `${admitted.kept}; the feed is not in use`);
      }
      const { entries, count, refused, samples, format, match } = admitted;
      const { name, kind } = feed;
      const digest = admitted.digest === undefined ? {} : { digest: admitted.digest };
      const status = { name, kind, entries: count, refused, samples, loadedAt: now, error: null, ...digest };
      return { source: { ...feed, format, match }, status, entries };
    } catch (error) {
      const why = explain(error, feed);
      return lastGood(feed, why, previous) ?? nothing(feed, clock.now(), `${why}; the feed is not in use`);
    }
  });
}

/** No feeds at all: what a daemon without feeds.yaml decides with. */
export function noFeeds(seed: Uint8Array): CompiledFeeds {
  return compileFeeds([], seed);
}

/** The bytes of a regular file of at most `MAX_BODY` bytes; what `ReadOptions.readFile` is outside of tests. */
export function readFeedFile(path: string): Uint8Array {
  // O_NONBLOCK: a pipe without a writer must not hold up whoever reads.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (stat.isDirectory()) throw Object.assign(new Error("it is a folder"), { code: "EISDIR" });
    if (!stat.isFile()) throw new FeedBodyError("it is not a regular file");
    if (stat.size > MAX_BODY)
      throw new FeedBodyError(`it has ${stat.size} bytes; at most ${MAX_BODY} are read`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readList(feed: DeclaredFeed, readFile: (path: string) => Uint8Array, now: number): ReadList {
  const { path, format } = feed;
  let body: Uint8Array;
  try {
    body = readFile(path);
  } catch (error) {
    if (systemCode(error) !== "EISDIR" || (format !== undefined && format !== "misp")) throw error;
    return readFolder(feed, readFile);
  }
  return parseList(unpack(body, path), { ...feed, now });
}

function readFolder(feed: DeclaredFeed, readFile: (path: string) => Uint8Array): ReadList {
  try {
    return parseFolder(feed.path, readFile, feed);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    throw new FeedBodyError("it is a folder without `manifest.json`, not a list", { cause: error });
  }
}

/** A feed of which nothing is in use. */
function nothing(feed: DeclaredFeed, loadedAt: number, error: string | null): FeedList {
  const { name, kind, format } = feed;
  const match = feed.match ?? (kind === "address" ? "exact" : formatNamed(format ?? "plain").match);
  const status = { name, kind, entries: 0, refused: 0, samples: [], loadedAt, error };
  return { source: { ...feed, match }, status, entries: new Uint8Array() };
}

function explain(error: unknown, { path, remote }: DeclaredFeed): string {
  switch (systemCode(error)) {
    case "ENOENT":
      return remote === undefined ? `\`${path}\` does not exist` : NOT_FETCHED;
    case "EACCES":
    case "EPERM":
      return `\`${path}\` may not be read by this user`;
    case "EISDIR":
      return `\`${path}\` is a folder, not a list; only MISP feeds are read from folders`;
    default:
      return `\`${path}\` cannot be used: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What was in use of the feed before, with why there is nothing newer; null when nothing was. */
function lastGood(feed: DeclaredFeed, why: string, previous: CompiledFeeds | undefined): FeedList | null {
  const list = inUse(feed, previous);
  if (list === null) return null;
  const since = new Date(list.status.loadedAt).toISOString();
  const error = `${why}; the list as read at ${since} stays in use`;
  return { ...list, status: { ...list.status, error } };
}

/** What is in use of the feed; null when nothing is, or when it meant something else then. */
export function inUse(feed: DeclaredFeed, previous: CompiledFeeds | undefined): FeedList | null {
  const number = previous?.sources.findIndex((known) => known.enabled && isMeantBy(feed, known));
  const known = number === undefined ? undefined : previous?.sources[number];
  const status = number === undefined ? undefined : previous?.statuses[number];
  if (previous === undefined || number === undefined || known === undefined || status === undefined)
    return null;
  // A feed that never was in use has an error and nothing to keep; an empty list that was read without one is good.
  if (status.error !== null && status.entries === 0) return null;
  const set =
    feed.kind === "address"
      ? new PrefixSet(previous.addresses, previous.sources, true)
      : new DomainSet(previous.domains, previous.sources, { trusted: true });
  return { source: { ...known, ...feed }, entries: set.entriesOf(number).entries, status };
}

/** Whether what was read of `known` is what `feed` asks for; what `feed` leaves open is as the list's format had it. */
function isMeantBy(feed: DeclaredFeed, known: FeedSource): boolean {
  if (known.name !== feed.name || known.kind !== feed.kind) return false;
  if (feed.format !== undefined && feed.format !== known.format) return false;
  if (feed.kind === "address") return true;
  return known.match === (feed.match ?? formatNamed(known.format ?? "plain").match);
}
