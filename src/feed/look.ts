/** Looks at the source of a feed: when one is due, what it leaves in the feed's record, and when none was good for too long. */
import { existsSync } from "node:fs";
import type { FetchOutcome } from "./fetch.ts";
import { NOT_FETCHED } from "./load.ts";
import type { FeedRecord, Trouble } from "./record.ts";
import type { DeclaredFeed, FeedSource, RemoteList } from "./types.ts";

/** Wait behind failed looks, doubled with each, at most the feed's interval; milliseconds. */
const FIRST_RETRY = 5 * 60_000;
/** Longest time that a server is left alone for because it asked for that, where the interval is shorter; milliseconds. */
const MAX_PEACE = 24 * 3_600_000;
/** A timer that fires a little early finds a feed due all the same: this share of its interval. */
const EARLY = 0.05;

/** A feed is stale when its source gave nothing good for so many intervals, and at least so long; milliseconds. */
const STALE_INTERVALS = 3;
const STALE_LEAST = 24 * 3_600_000;

/** Whether a fetched feed is due at `now`. */
export function isDue(feed: DeclaredFeed, record: FeedRecord, now: number): boolean {
  if (feed.remote === undefined) return false;
  if (record.source !== sourceOf(feed.remote)) return true;
  // A body that somebody took away is not waited for; one that could not be fetched is.
  if (record.failures === 0 && !existsSync(feed.path)) return true;
  // Due later than it can be from now: the clock was set back, or the interval was longer then.
  const latest = now + (record.failures === 0 ? feed.interval : longestWait(feed));
  return now >= record.dueAt - feed.interval * EARLY || record.dueAt > latest;
}

function longestWait({ interval }: DeclaredFeed): number {
  return Math.max(interval, MAX_PEACE);
}

function sourceOf({ protocol, url }: RemoteList): string {
  return `${protocol} ${url}`;
}

/** What is known of a feed behind a look at its source. */
export function afterFetch(
  feed: DeclaredFeed,
  known: FeedRecord,
  outcome: FetchOutcome,
  now: number,
): FeedRecord {
  const source = feed.remote === undefined ? null : sourceOf(feed.remote);
  const record = { ...known, source, checkedAt: now };
  if (outcome.kind !== "failed") {
    return { ...record, goodAt: now, dueAt: now + feed.interval, failures: 0, message: null };
  }
  const backoff = Math.min(FIRST_RETRY * 2 ** Math.min(record.failures, 16), feed.interval);
  const wait = Math.max(backoff, Math.min(outcome.retryAfter ?? 0, longestWait(feed)));
  return {
    ...record,
    state: "failed",
    message: outcome.message,
    // A clock that was set back does not keep the feed fresh until it is there again.
    goodAt: record.goodAt === null ? null : Math.min(record.goodAt, now),
    dueAt: now + wait,
    failures: record.failures + 1,
  };
}

/** The record of a feed at `now`, before anything is done with it. */
export function wanted({ enabled }: DeclaredFeed, known: FeedRecord, now: number): FeedRecord {
  const since = known.wantedSince ?? known.goodAt ?? now;
  return { ...known, wantedSince: enabled ? Math.min(since, now) : null };
}

/** Whether the source of a fetched feed has given nothing good for long: since it last did, or since it is wanted. */
export function isStale(
  { url, interval, enabled }: Pick<FeedSource, "url" | "enabled"> & Partial<Pick<DeclaredFeed, "interval">>,
  { goodAt, wantedSince }: Pick<FeedRecord, "goodAt" | "wantedSince">,
  now: number,
): boolean {
  if (url === undefined || !enabled || (goodAt === null && wantedSince === null)) return false;
  const since = Math.max(goodAt ?? 0, wantedSince ?? 0);
  return now - since > Math.max(STALE_LEAST, STALE_INTERVALS * (interval ?? 0));
}

interface Hearing {
  /** Whether somebody is told; of `only` these, where they are named. */
  readonly tells?: boolean;
  readonly only?: readonly string[];
  readonly now: number;
}

/** Feeds with a trouble that nobody was told; where somebody `tells`, the records say so from now on. */
export function takeNews(
  feeds: readonly DeclaredFeed[],
  records: Record<string, FeedRecord>,
  { tells = false, only, now }: Hearing,
): string[] {
  return feeds.flatMap((feed) => {
    const record = records[feed.name]!;
    const trouble = troubleOf(feed, record, now);
    const heard = tells && (only === undefined || only.includes(feed.name));
    if (trouble === null || heard) records[feed.name] = { ...record, told: trouble };
    return trouble === null || trouble === record.told ? [] : [feed.name];
  });
}

/** What is wrong with a feed; null when nothing is. One that was never fetched yet is as every fresh host has it. */
function troubleOf(feed: DeclaredFeed, record: FeedRecord, now: number): Trouble | null {
  if (!feed.enabled) return null;
  if (isStale(feed, record, now)) return "stale";
  switch (record.state) {
    case "failed":
    case "refused":
      return "failing";
    case "held":
    case "quarantined":
      return "waiting";
    default:
      return null;
  }
}

/** The same of one whose list could not be read at all. */
export function unreadable(record: FeedRecord, error: string, now: number): FeedRecord {
  const state = error.includes(NOT_FETCHED) && record.checkedAt === null ? "notFetched" : "failed";
  // Why it could not be fetched says more than that there is nothing to read.
  const message = record.failures > 0 && record.message !== null ? record.message : error;
  return { ...record, state, message, checkedAt: state === "failed" ? now : record.checkedAt };
}
