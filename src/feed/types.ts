/** A feed source as feeds.yaml names it, and what was loaded from it. Plain data (it crosses threads). */
import type { Effect } from "../policy/types.ts";

export interface FeedSource {
  readonly name: string;
  /** File, absolute (relative paths in feeds.yaml are resolved against the file's folder). */
  readonly path: string;
  readonly kind: "domain" | "address";
  /** For domains: `suffix` names everything below an entry too; for addresses it has no meaning. */
  readonly match: "suffix" | "exact";
  readonly effect?: Exclude<Effect, "disable">;
  readonly enabled: boolean;
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
