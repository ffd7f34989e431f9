/**
 * One update of all feeds, as a process of its own does it: fetch what is due, read every list, ask the guards, compile, and
 * put a new generation on the disk. Whatever goes wrong with a list, the one in use stays, and its record says why.
 */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../clock.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import { readGeneration, readSources, swapGenerations, writeGeneration } from "./artefact.ts";
import { compareEntries, type LearnedName, newlyHit } from "./changes.ts";
import { compileFeeds, type FeedList } from "./compile.ts";
import type { FetchOutcome } from "./fetch.ts";
import { hasSameLists, isSame, lastGeneration, takenSince } from "./generations.ts";
import { guardNames, subtractInternal } from "./guard.ts";
import { SEED_LENGTH } from "./hash.ts";
import { mayHaveLeftovers, removeLeftovers } from "./leftovers.ts";
import { type Admit, readFeedFile, readFeeds } from "./load.ts";
import { lockFeeds } from "./lock.ts";
import { afterFetch, isDue, takeNews, unreadable, wanted } from "./look.ts";
import { parseManifest } from "./manifest.ts";
import type { ReadList } from "./parse.ts";
import { readPopular } from "./popular.ts";
import { type FeedRecord, type FeedRecords, NEW_RECORD, readRecords, writeRecords } from "./record.ts";
import { approve, judge, reject } from "./release.ts";
import type { CompiledFeeds, DeclaredFeed } from "./types.ts";

/** Learned names that an update would newly hit, told at most. */
const MAX_NEWLY_HIT = 20;
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
  /** Whether somebody is told `news`, which then are none the next time. */
  readonly tells?: boolean;
  readonly clock: Clock;
  /** Told what is being done, for those who watch. */
  readonly onStep?: (step: string) => void;
}

export interface UpdateOutcome {
  /** Whether a new generation was written. */
  readonly changed: boolean;
  /** Feeds of which another list came into force. */
  readonly taken: readonly string[];
  /** Feeds with something wrong that nobody was told yet. */
  readonly news: readonly string[];
  /** What an operator should know beside the records: a generation that could not be read. */
  readonly warnings: readonly string[];
  readonly feeds: CompiledFeeds;
  readonly records: FeedRecords;
}

/** Throws TM_FEED for the manifest, TM_NOT_FOUND for a feed of `only` that is not in it, TM_USAGE for one that is off, TM_FEED_BUSY, TM_NOT_PERMITTED, TM_STORE. */
export async function updateFeeds(options: UpdateOptions): Promise<UpdateOutcome> {
  const looks = options.fetch === "none" ? [] : await look(options);
  const unlock = lockFeeds(options.folder);
  try {
    return update(looks, options);
  } finally {
    unlock();
  }
}

interface Look {
  readonly feed: DeclaredFeed;
  readonly outcome: FetchOutcome;
}

/** Fetches what is wanted. A server may take its time, and no rollback and no start of a daemon waits for that. */
async function look(options: UpdateOptions): Promise<readonly Look[]> {
  const unlock = lockFeeds(options.folder, undefined, "fetching");
  try {
    const { feeds } = readWanted(options).manifest;
    const known = readRecords(options.folder);
    const wanted = feeds.filter((feed) => isWanted(feed, recordOf(known, feed.name), options));
    if (wanted.length === 0) return [];
    const outcomes = await options.fetchLists(wanted);
    return wanted.flatMap((feed) => {
      const outcome = outcomes.get(feed.name);
      return outcome === undefined ? [] : [{ feed, outcome }];
    });
  } finally {
    unlock();
  }
}

function update(looks: readonly Look[], options: UpdateOptions): UpdateOutcome {
  const { folder, clock, onStep } = options;
  // Under the lock: who waited for it does not put back an older manifest than the one before read.
  const { text, manifest } = readWanted(options);
  const { feeds, popular } = manifest;
  const manifestDigest = digestOf(Buffer.from(text));
  const warnings: string[] = [];
  const { generation: before, inForce } = lastGeneration(folder, warnings);
  const stored = readRecords(folder);
  const known: Record<string, FeedRecord> = {};
  const now = clock.now();
  for (const feed of feeds) known[feed.name] = wanted(feed, recordOf(stored, feed.name), now);
  const records = { ...known };
  const outcomes = new Map<string, FetchOutcome>();
  for (const feed of feeds) {
    // A manifest that changed meanwhile may ask for another list than was fetched.
    const look = looks.find(
      (one) => one.feed.name === feed.name && isDeepStrictEqual(one.feed.remote, feed.remote),
    );
    if (look === undefined) continue;
    outcomes.set(feed.name, look.outcome);
    records[feed.name] = afterFetch(feed, records[feed.name]!, look.outcome, now);
  }

  onStep?.("reading lists");
  const names = lazily(() => readPopular([options.popular, ...popular], warnings));
  const learned = lazily(options.learned);
  const judged = new Set<string>();
  const admit: Admit = (feed, list, inUse) => {
    judged.add(feed.name);
    const { guarded, list: rest } = guard(feed, list, names, options.internal);
    const digest = digestOf(rest.entries);
    const record = records[feed.name]!;
    const looked = feed.remote === undefined || (outcomes.get(feed.name)?.kind ?? "failed") !== "failed";
    // Of a feed that never was looked at, what lies there is judged by the time of now.
    const at = looked || record.standing.lookedAt === 0 ? now : record.standing.lookedAt;
    const { verdict, changes } = judgeList(feed, rest, digest, inUse(), record, learned, at);
    const failed = !looked && record.failures > 0 ? record.message : null;
    // What waited and is gone again changed nothing.
    const told = changes ?? (record.standing.candidate === null ? record.changes : null);
    const local = feed.remote === undefined;
    records[feed.name] = {
      ...record,
      standing: verdict.standing,
      state: failed !== null ? "failed" : verdict.state,
      message: failed ?? (verdict.message === "" ? null : verdict.message),
      changes: told,
      guarded,
      ...(local ? { checkedAt: now, goodAt: now, failures: 0 } : {}),
      ...(verdict.state === "refused" ? { goodAt: known[feed.name]!.goodAt } : {}),
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
  for (const { source, status } of lists) {
    if (judged.has(source.name) || status.error === null) continue;
    const failed = unreadable(records[source.name]!, status.error, now);
    records[source.name] = { ...failed, goodAt: known[source.name]!.goodAt };
  }
  const generation = { builtAt: now, manifest: manifestDigest };
  let compiled = before?.feeds;
  let changed = false;
  if (!inForce || before === null || before.manifest !== manifestDigest || !isSame(before.feeds, lists)) {
    onStep?.("compiling");
    compiled = compileFeeds(lists, before === null ? randomBytes(SEED_LENGTH) : seedOf(before.feeds));
    // A comment in feeds.yaml, or a list that went away, is no generation that anybody would go back from.
    const replaces = before !== null && (!inForce || hasSameLists(before.feeds, lists));
    writeGeneration(folder, { ...generation, feeds: compiled }, { replaces });
    changed = true;
  }
  const news = takeNews(feeds, records, { ...options, now });
  // Behind the generation: killed between the two, the next look finds the same lists and says the same again.
  writeRecords(folder, records);
  sweep(text, feeds, options);
  if (compiled === undefined) throw new TidesmanError("TM_INTERNAL", "an update ended without feeds");
  return { changed, taken: takenSince(before?.feeds, compiled), news, warnings, feeds: compiled, records };
}

/** Removes fetched lists of feeds that neither the manifest (its `text`) nor a generation on the disk names. */
function sweep(text: string, feeds: readonly DeclaredFeed[], { folder, manifest }: UpdateOptions): void {
  const bodies = bodiesIn(folder);
  const named = new Set(feeds.filter(({ remote }) => remote !== undefined).map(({ name }) => name));
  if (!mayHaveLeftovers(bodies, named)) return;
  let unlock: (() => void) | undefined;
  try {
    // Bodies are written under this lock, perhaps those of a manifest that is newer than `text`.
    unlock = lockFeeds(folder, 0, "fetching");
    if (readManifestText(manifest) !== text) return;
    for (const which of ["current", "previous"] as const) {
      for (const { name, url } of readSources(folder, which)) if (url !== undefined) named.add(name);
    }
    removeLeftovers(bodies, named);
  } catch (error) {
    // Nothing depends on it: the next update finds them again.
    if (!(error instanceof TidesmanError)) throw error;
  } finally {
    unlock?.();
  }
}

/** The list that waits for approval is taken by the next update. Throws TM_NOT_FOUND when none waits. */
export function approveFeed(options: Pick<UpdateOptions, "manifest" | "folder">, name: string): void {
  const { manifest } = readManifestFile(options);
  findFeed(manifest.feeds, name);
  const unlock = lockFeeds(options.folder);
  try {
    const records = readRecords(options.folder);
    const record = recordOf(records, name);
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
    const left = readGeneration(folder);
    const taken = readGeneration(folder, "previous");
    if (left === null || taken === null)
      throw new TidesmanError("TM_NOT_FOUND", "there is no older generation of the feeds to go back to");
    const records: Record<string, FeedRecord> = { ...readRecords(folder) };
    const differing: string[] = [];
    for (const { name, digest } of left.feeds.statuses) {
      const now = taken.feeds.statuses.find((status) => status.name === name)?.digest;
      if (digest === undefined || digest === now) continue;
      differing.push(name);
      const record = recordOf(records, name);
      records[name] = {
        ...record,
        state: "held",
        message: `it was rolled back; \`tidesman feeds approve ${name}\` takes it again`,
        standing: { ...reject(record.standing, digest), candidate: digest },
      };
    }
    // Before the swap: killed between the two, no later update undoes half a rollback.
    writeRecords(folder, records);
    swapGenerations(folder);
    return { builtAt: taken.builtAt, left: left.builtAt, feeds: differing };
  } finally {
    unlock();
  }
}

function recordOf(records: FeedRecords, name: string): FeedRecord {
  return Object.hasOwn(records, name) ? records[name]! : NEW_RECORD;
}

/** The manifest, with all that is asked for in it. */
function readWanted(options: UpdateOptions) {
  const read = readManifestFile(options);
  for (const name of options.only ?? []) {
    if (findFeed(read.manifest.feeds, name).enabled) continue;
    const why = `feed \`${name}\` is off; set \`enabled: true\` in \`${options.manifest}\``;
    throw new TidesmanError("TM_USAGE", why);
  }
  return read;
}

/** Throws TM_FEED, TM_NOT_PERMITTED. */
function readManifestFile({ manifest, folder }: Pick<UpdateOptions, "manifest" | "folder">) {
  const text = readManifestText(manifest);
  return { text, manifest: parseManifest(text, manifest, bodiesIn(folder)) };
}

/** Throws TM_FEED for a manifest that cannot be read, TM_NOT_PERMITTED for one that may not. */
export function readManifestText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code === "EACCES" || code === "EPERM") {
      throw new TidesmanError("TM_NOT_PERMITTED", `\`${file}\` may not be read by this user; run as root`);
    }
    throw new TidesmanError("TM_FEED", `\`${file}\` cannot be read (${code})`, { cause: error });
  }
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
  return options.fetch === "all" || isDue(feed, record, options.clock.now());
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

/** `now`: of the look that found the list; one that was judged before is not counted again. */
function judgeList(
  feed: DeclaredFeed,
  list: ReadList,
  digest: string,
  inUse: FeedList | null,
  { standing }: FeedRecord,
  learned: () => readonly LearnedName[],
  now: number,
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
  const verdict = judge(feed, candidate, current, standing, now);
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
