/** Feed sources, and what was loaded from them. Plain data (it crosses threads). */
import type { Effect } from "../policy/types.ts";

/** Formats that a list may be in; docs/feeds.md says what each means. */
export const LIST_FORMATS = [
  "plain",
  "hosts",
  "adblock",
  "dnsmasq",
  "unbound",
  "bind",
  "rpz",
  "dnscrypt",
  "urlhaus",
  "threatfox",
  "feodo",
  "spamhaus",
  "misp",
  "stix",
] as const;
export type ListFormatName = (typeof LIST_FORMATS)[number];

export interface FeedSource {
  readonly name: string;
  /** File, absolute (relative paths in feeds.yaml are resolved against the file's folder). */
  readonly path: string;
  readonly kind: "domain" | "address";
  /** What was in force when the list was read. For domains: `suffix` names everything below an entry too; for addresses it has no meaning. */
  readonly match: "suffix" | "exact";
  /** As feeds.yaml names it, or as detected from the list; absent where neither is known. */
  readonly format?: ListFormatName;
  readonly effect?: Exclude<Effect, "disable">;
  readonly enabled: boolean;
}

/** A feed as feeds.yaml names it. */
export interface DeclaredFeed extends Omit<FeedSource, "match"> {
  /** Absent: what the format of the list means. */
  readonly match?: FeedSource["match"];
}

export interface FeedStatus {
  readonly name: string;
  readonly kind: "domain" | "address";
  readonly entries: number;
  /** Lines that were no entry, and the first few of them as `line N: text`. */
  readonly refused: number;
  readonly samples: readonly string[];
  /** Milliseconds since the epoch when the file was read. */
  readonly loadedAt: number;
  /** Why the feed is not in use; null when it is. */
  readonly error: string | null;
}

/** All feeds compiled: what the main thread hands to the data thread. The buffers are shared, not copied. */
export interface CompiledFeeds {
  readonly sources: readonly FeedSource[];
  readonly statuses: readonly FeedStatus[];
  readonly domains: SharedArrayBuffer;
  readonly addresses: SharedArrayBuffer;
}
