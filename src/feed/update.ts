/**
 * One update of all feeds, as a process of its own does it: fetch what is due, read every list, ask the guards, compile, and
 * put a new generation on the disk. Whatever goes wrong with a list, the one in use stays, and its record says why.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import { type Generation, readGeneration, swapGenerations, writeGeneration } from "./artefact.ts";
import { compareEntries, type LearnedName, newlyHit } from "./changes.ts";
import { compileFeeds, type FeedList } from "./compile.ts";
import type { FetchOutcome } from "./fetch.ts";
import { guardNames, subtractInternal } from "./guard.ts";
import { SEED_LENGTH } from "./hash.ts";
import { type Admit, NOT_FETCHED, readFeedFile, readFeeds } from "./load.ts";
import { lockFeeds } from "./lock.ts";
import { type FeedManifest, parseManifest } from "./manifest.ts";
import type { ReadList } from "./parse.ts";
import { parsePopular } from "./popular.ts";
import { type FeedRecord, type FeedRecords, NEW_RECORD, readRecords, writeRecords } from "./record.ts";
import { approve, judge, reject } from "./release.ts";
import type { CompiledFeeds, DeclaredFeed } from "./types.ts";

/** Learned names that an update would newly hit, told at most. */
const MAX_NEWLY_HIT = 20;
/** Wait behind failed looks, doubled with each, at most the feed's interval; milliseconds. */
const FIRST_RETRY = 5 * 60_000;
/** A timer that fires a little early finds a feed due all the same: this share of its interval. */
const EARLY = 0.05;

export interface UpdateOptions {
  /** feeds.yaml. */
  readonly manifest: string;
  /** Where compiled feeds, records and fetched lists are kept. */
  readonly folder: string;
  /** Only these are fetched; absent: all. */
  readonly only?: readonly string[];
  /** Which lists are fetched: `all`, those whose interval has passed, or none (then what lies on this host is read). */
  readonly fetch: "all" | "due" | "none";
  readonly fetchLists: (feeds: readonly DeclaredFeed[]) => Promise<ReadonlyMap<string, FetchOutcome>>;
  /** Popular names that ship with the product. */
  readonly popular: string;
  /** Networks that no fetched list may name, as prefixes. */
  readonly internal: readonly string[];
  readonly learned: () => readonly LearnedName[];
  readonly clock: Clock;
  /** Told what is being done, for those who watch. */
  readonly onStep?: (step: string) => void;
}

export interface UpdateOutcome {
  /** Whether a new generation was written. */
  readonly changed: boolean;
  /** What an operator should know beside the records: a generation that could not be read. */
  readonly warnings: readonly string[];
  readonly feeds: CompiledFeeds;
  readonly records: FeedRecords;
}

/** Throws TM_FEED for the manifest, TM_NOT_FOUND for a feed of `only` that is not in it, TM_FEED_BUSY, TM_NOT_PERMITTED, TM_STORE. */
export async function updateFeeds(options: UpdateOptions): Promise<UpdateOutcome> {
  const { text, manifest } = readManifestFile(options);
  for (const name of options.only ?? []) findFeed(manifest.feeds, name);
  const unlock = lockFeeds(options.folder);
  try {
    return await update(manifest, digestOf(Buffer.from(text)), options);
  } finally {
    unlock();
  }
}

async function update(
  { feeds, popular }: FeedManifest,
  manifestDigest: string,
  options: UpdateOptions,
): Promise<UpdateOutcome> {
  const { folder, clock, onStep } = options;
  const warnings: string[] = [];
  const before = lastGeneration(folder, warnings);
  const known = readRecords(folder);
  const records: Record<string, FeedRecord> = {};
  for (const { name } of feeds) records[name] = Object.hasOwn(known, name) ? known[name]! : NEW_RECORD;
  const wanted = feeds.filter((feed) => isWanted(feed, records[feed.name]!, options));
  const outcomes = wanted.length === 0 ? new Map<string, FetchOutcome>() : await options.fetchLists(wanted);
  const now = clock.now();
  for (const feed of feeds) {
    const outcome = outcomes.get(feed.name);
    if (outcome !== undefined) records[feed.name] = afterFetch(feed, records[feed.name]!, outcome, now);
  }

  onStep?.("reading lists");
  const names = lazily(() => popularNames([options.popular, ...popular], warnings));
  const learned = lazily(options.learned);
  const admit: Admit = (feed, list, inUse) => {
    const { guarded, list: rest } = guard(feed, list, names, options.internal);
    const digest = digestOf(rest.entries);
    const record = records[feed.name]!;
    const looked = feed.remote === undefined || (outcomes.get(feed.name)?.kind ?? "failed") !== "failed";
    const { verdict, changes } = judgeList(feed, rest, digest, inUse(), record, learned, looked ? now : null);
    const failed = looked ? null : record.state === "failed" ? record.message : null;
    records[feed.name] = {
      ...record,
      standing: verdict.standing,
      state: failed !== null ? "failed" : verdict.state,
      message: failed ?? (verdict.message === "" ? null : verdict.message),
      changes: changes ?? record.changes,
      guarded,
      ...(feed.remote === undefined ? { checkedAt: now, goodAt: now, failures: 0 } : {}),
    };
    const kept = verdict.action === "keep" ? { kept: verdict.message } : {};
    return { ...rest, digest, ...kept };
  };
  const lists = readFeeds(feeds, {
    readFile: readFeedFile,
    clock,
    admit,
    ...(before === null ? {} : { previous: before.feeds }),
  });
  for (const { source, status } of lists) noteFailure(records, source.name, status.error, now);
  const generation = { builtAt: now, manifest: manifestDigest };
  let compiled = before?.feeds;
  let changed = false;
  if (before === null || before.manifest !== manifestDigest || !isSame(before.feeds, lists)) {
    onStep?.("compiling");
    compiled = compileFeeds(lists, before === null ? randomBytes(SEED_LENGTH) : seedOf(before.feeds));
    writeGeneration(folder, { ...generation, feeds: compiled });
    changed = true;
  }
  // Behind the generation: killed between the two, the next look finds the same lists and says the same again.
  writeRecords(folder, records);
  if (compiled === undefined) throw new TidesmanError("TM_INTERNAL", "an update ended without feeds");
  return { changed, warnings, feeds: compiled, records };
}

/** The list that waits for approval is taken by the next update. Throws TM_NOT_FOUND when none waits. */
export function approveFeed(options: Pick<UpdateOptions, "manifest" | "folder">, name: string): void {
  const { manifest } = readManifestFile(options);
  findFeed(manifest.feeds, name);
  const unlock = lockFeeds(options.folder);
  try {
    const records = readRecords(options.folder);
    const record = Object.hasOwn(records, name) ? records[name]! : NEW_RECORD;
    if (record.standing.candidate === null) {
      throw new TidesmanError("TM_NOT_FOUND", `no list of feed \`${name}\` waits for approval`);
    }
    writeRecords(options.folder, { ...records, [name]: { ...record, standing: approve(record.standing) } });
  } finally {
    unlock();
  }
}

export interface RollbackOutcome {
  /** When the generation was compiled that is in force now, and that which was; milliseconds since the epoch. */
  readonly builtAt: number;
  readonly left: number;
  /** Feeds that differ between the two: the lists left are held should they come again. */
  readonly feeds: readonly string[];
}

/** The generation before is in force again. What was left stays out until it is approved or changes. Throws TM_NOT_FOUND. */
export function rollbackFeeds(folder: string): RollbackOutcome {
  const unlock = lockFeeds(folder);
  try {
    const { left, taken } = swapGenerations(folder);
    const records: Record<string, FeedRecord> = { ...readRecords(folder) };
    const differing: string[] = [];
    for (const { name, digest } of left.feeds.statuses) {
      const now = taken.feeds.statuses.find((status) => status.name === name)?.digest;
      if (digest === undefined || digest === now) continue;
      differing.push(name);
      const record = Object.hasOwn(records, name) ? records[name]! : NEW_RECORD;
      records[name] = {
        ...record,
        state: "held",
        message: `it was rolled back; \`tidesman feeds approve ${name}\` takes it again`,
        standing: { ...reject(record.standing, digest), candidate: digest },
      };
    }
    writeRecords(folder, records);
    return { builtAt: taken.builtAt, left: left.builtAt, feeds: differing };
  } finally {
    unlock();
  }
}

/** The generation in force, or the one before it where that cannot be read; null when there is none. */
export function lastGeneration(folder: string, warnings: string[]): Generation | null {
  try {
    return readGeneration(folder);
  } catch (error) {
    if (!(error instanceof TidesmanError)) throw error;
    warnings.push(error.message);
  }
  try {
    return readGeneration(folder, "previous");
  } catch (error) {
    if (!(error instanceof TidesmanError)) throw error;
    warnings.push(error.message);
    return null;
  }
}

function readManifestFile({ manifest, folder }: Pick<UpdateOptions, "manifest" | "folder">) {
  const text = readFileSync(manifest, "utf8");
  return { text, manifest: parseManifest(text, manifest, bodiesIn(folder)) };
}

/** Where fetched lists are kept. */
export function bodiesIn(folder: string): string {
  return join(folder, "bodies");
}

/** SHA-256, hexadecimal. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function findFeed(feeds: readonly DeclaredFeed[], name: string): DeclaredFeed {
  const feed = feeds.find((known) => known.name === name);
  if (feed !== undefined) return feed;
  throw new TidesmanError("TM_NOT_FOUND", `there is no feed \`${name}\`; \`tidesman feeds list\` names them`);
}

function isWanted(feed: DeclaredFeed, record: FeedRecord, options: UpdateOptions): boolean {
  if (feed.remote === undefined || !feed.enabled || options.fetch === "none") return false;
  if (options.only !== undefined && !options.only.includes(feed.name)) return false;
  return options.fetch === "all" || options.clock.now() >= record.dueAt - feed.interval * EARLY;
}

function afterFetch(feed: DeclaredFeed, record: FeedRecord, outcome: FetchOutcome, now: number): FeedRecord {
  if (outcome.kind !== "failed") {
    return { ...record, checkedAt: now, goodAt: now, dueAt: now + feed.interval, failures: 0, message: null };
  }
  const wait = outcome.retryAfter ?? FIRST_RETRY * 2 ** Math.min(record.failures, 16);
  return {
    ...record,
    state: "failed",
    message: outcome.message,
    checkedAt: now,
    dueAt: now + Math.min(wait, feed.interval),
    failures: record.failures + 1,
  };
}

/** A list that could not be read at all. */
function noteFailure(
  records: Record<string, FeedRecord>,
  name: string,
  error: string | null,
  now: number,
): void {
  const record = records[name]!;
  if (
    error === null ||
    record.state === "quarantined" ||
    record.state === "held" ||
    record.state === "refused"
  )
    return;
  const state = error.includes(NOT_FETCHED) && record.checkedAt === null ? "notFetched" : "failed";
  // Why it could not be fetched says more than that there is nothing to read.
  const message = record.state === "failed" && record.message !== null ? record.message : error;
  records[name] = { ...record, state, message, checkedAt: state === "failed" ? now : record.checkedAt };
}

interface GuardedList {
  readonly list: ReadList;
  readonly guarded: FeedRecord["guarded"];
}

function guard(
  feed: DeclaredFeed,
  list: ReadList,
  popular: () => ReadonlySet<string>,
  internal: readonly string[],
): GuardedList {
  const off = feed.kind === "address" ? feed.allowInternal : feed.allowPopular;
  if (off || list.count === 0) return { list, guarded: { removed: 0, samples: [] } };
  const { entries, count, removed, samples } =
    feed.kind === "address" ? subtractInternal(list.entries, internal) : guardNames(list.entries, popular());
  return { list: { ...list, entries, count }, guarded: { removed, samples: [...samples] } };
}

/** `now` null: nothing was looked at since the last time, and no look is counted. */
function judgeList(
  feed: DeclaredFeed,
  list: ReadList,
  digest: string,
  inUse: FeedList | null,
  { standing }: FeedRecord,
  learned: () => readonly LearnedName[],
  now: number | null,
) {
  const before = inUse?.entries ?? new Uint8Array();
  const same = inUse !== null && inUse.status.digest === digest;
  // A first list has nothing to be compared with, but may hit what is learned.
  const differences = same ? null : compareEntries(before, list.entries, feed.kind);
  const hits =
    same || feed.kind === "address" ? [] : newlyHit(learned(), before, list.entries, MAX_NEWLY_HIT);
  const candidate = {
    digest,
    count: list.count,
    changes: (differences?.added ?? 0) + (differences?.removed ?? 0),
    newlyHit: hits.length,
  };
  const current =
    inUse === null
      ? null
      : {
          digest: inUse.status.digest ?? digestOf(inUse.entries),
          count: inUse.status.entries,
          readAt: inUse.status.loadedAt,
        };
  const verdict = judge(feed, candidate, current, standing, now ?? standing.lookedAt);
  const changes =
    differences === null
      ? null
      : {
          ...differences,
          addedSamples: [...differences.addedSamples],
          removedSamples: [...differences.removedSamples],
          newlyHit: hits.map((hit) => ({ ...hit })),
        };
  return { verdict, changes };
}

function popularNames(files: readonly string[], warnings: string[]): ReadonlySet<string> {
  const all = new Set<string>();
  for (const file of files) {
    try {
      for (const name of parsePopular(readFileSync(file)).names) all.add(name);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      warnings.push(`the popular names of \`${file}\` cannot be read: ${why}`);
    }
  }
  return all;
}

/** Whether the lists are, to every decision, what was compiled before. */
function isSame(before: CompiledFeeds, lists: readonly FeedList[]): boolean {
  if (before.sources.length !== lists.length) return false;
  return lists.every(({ source, status }, index) => {
    const known = before.sources[index]!;
    const was = before.statuses[index]!;
    return (
      JSON.stringify(known) === JSON.stringify(source) &&
      was.digest === status.digest &&
      was.entries === status.entries &&
      (was.error === null) === (status.error === null)
    );
  });
}

/** The seed of a generation goes on: the same lists give the same bytes. */
function seedOf({ domains }: CompiledFeeds): Uint8Array {
  return new Uint8Array(domains.slice(16, 16 + SEED_LENGTH));
}

function lazily<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
