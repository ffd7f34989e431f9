/** Feed sources, and what was loaded from them. Plain data (it crosses threads). */
import type { Effect } from "../policy/types.ts";
import type { CodeTables } from "./name-code.ts";

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

/** What a feed takes from its list. `url`: names of hosts, from URLs that name nothing but a host. */
export type FeedKind = "domain" | "address" | "url";

export interface FeedSource {
  readonly name: string;
  /** File or folder, absolute; of a list that is fetched, where its body is kept. */
  readonly path: string;
  /** Where a fetched list comes from, without what is secret; absent for lists on this host. */
  readonly url?: string;
  readonly kind: FeedKind;
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
  /** How the list is fetched; absent for lists on this host. */
  readonly remote?: RemoteList;
  /** Milliseconds between two looks at the list. */
  readonly interval: number;
  /** Terms of the list, and who has to be named; as text for operators. */
  readonly licence?: string;
  readonly attribution?: string;
  /** Whether a list without entries is good. */
  readonly allowEmpty: boolean;
  /** Share of the entries (0 to 1) that one update may lose before it is quarantined. */
  readonly maxShrink: number;
  /** Milliseconds after which a list that stays as small as it became is taken after all. */
  readonly quarantine: number;
  /** Which updates wait for an operator's approval: none, those that newly hit learned names, or all that change anything. */
  readonly hold: "never" | "learned" | "always";
  /** Whether entries that cover popular names are taken. */
  readonly allowPopular: boolean;
  /** Whether entries are taken that lie in networks of this host, of its containers, or in private ones. */
  readonly allowInternal: boolean;
}

/** Where a list is fetched from, and how. */
export interface RemoteList {
  /** `http`: one body. `taxii`: all pages of a TAXII 2.1 collection. `misp`: a folder with a manifest and events. */
  readonly protocol: "http" | "taxii" | "misp";
  /** http or https; without what is secret. */
  readonly url: string;
  readonly authentication?: Authentication;
  /** Milliseconds for one transfer, from the first packet to the last byte. */
  readonly timeout: number;
  /** Bytes that a body may have as it is transferred. */
  readonly maxSize: number;
  /** File with certificates (PEM) that are trusted beside the built-in ones. */
  readonly ca?: string;
}

export type Authentication =
  /** A header; its value is `prefix` and the secret. */
  | { readonly kind: "header"; readonly name: string; readonly prefix: string; readonly secret: Secret }
  | { readonly kind: "query"; readonly name: string; readonly secret: Secret }
  | { readonly kind: "basic"; readonly user: string; readonly secret: Secret };

/** Where a secret stands; it is read when it is needed, and never logged. */
export type Secret = { readonly file: string } | { readonly environment: string };

export interface FeedStatus {
  readonly name: string;
  readonly kind: FeedKind;
  readonly entries: number;
  /** Lines that were no entry, and the first few of them as `line N: text`. */
  readonly refused: number;
  readonly samples: readonly string[];
  /** Milliseconds since the epoch when the file was read. */
  readonly loadedAt: number;
  /** Why the feed is not in use; null when it is. */
  readonly error: string | null;
  /** SHA-256 of the entries in use, hexadecimal; absent where nobody asked for it. */
  readonly digest?: string;
}

/** All feeds compiled: what the main thread hands to the data thread. The buffers are shared, not copied. */
export interface CompiledFeeds {
  readonly sources: readonly FeedSource[];
  readonly statuses: readonly FeedStatus[];
  readonly domains: SharedArrayBuffer;
  readonly addresses: SharedArrayBuffer;
  /** Made from `domains`, for threads that are not to wait for that; not stored. */
  readonly codes?: CodeTables;
}
