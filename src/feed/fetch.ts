/**
 * Lists from the network. A run asks every server whether its list changed and stores the bodies of those that did, where
 * `readFeeds` reads them; docs/feeds.md tells operators how. Nothing here knows what an entry is: what a new body would do
 * is judged by others before it is in force.
 */
import type { Clock } from "../clock.ts";
import { Credentials } from "./fetch/credentials.ts";
import { FetchFailure, failureOf } from "./fetch/failure.ts";
import { Lanes } from "./fetch/lanes.ts";
import { type Fetched, fetchList, type Wanted } from "./fetch/list.ts";
import { fetchFolder } from "./fetch/misp.ts";
import { Network } from "./fetch/network.ts";
import type { Environment } from "./fetch/proxy.ts";
import { fetchCollection } from "./fetch/taxii.ts";
import type { Means } from "./fetch/transfer.ts";
import type { DeclaredFeed, RemoteList } from "./types.ts";

/** Hosts that are talked to at once. */
const MAX_HOSTS = 4;
/** A list in many parts (pages, events) may take as many times its timeout, which is that of one part. */
const MAX_PARTS_TIME = 20;
/** Characters of a message. */
const MAX_MESSAGE = 600;

export interface FetchOptions {
  readonly clock: Clock;
  /** From 0 up to, not including, 1. */
  readonly random: () => number;
  /** Proxies (`http_proxy`, `https_proxy`, `no_proxy`, in either case) and secrets. */
  readonly environment: Environment;
  /** Servers that names are resolved with: `address`, `address:port`, `[address]:port`. None: those of the system. */
  readonly servers: readonly string[];
  /** Version of this installation, for the User-Agent header. */
  readonly version: string;
  /** Text of a file with a secret; throws a system error where there is none. */
  readonly readSecret: (file: string) => string;
  /** Bytes of one body so far, and of all where the server said how many. */
  readonly onProgress?: (feed: string, bytes: number, total: number | null) => void;
  /** Stops the run; what is not fetched by then has failed. */
  readonly signal?: AbortSignal;
}

export type FetchOutcome =
  | {
      readonly kind: "changed";
      /** Of the body as stored; for a folder, of what was fetched. */
      readonly bytes: number;
      /** Where it came from after redirects, without what is secret. */
      readonly url: string;
    }
  | { readonly kind: "unchanged" }
  | {
      readonly kind: "failed";
      /** Lower case and complete, without what is secret. */
      readonly message: string;
      /** Milliseconds that the server asked to be left alone for; null where it did not. */
      readonly retryAfter: number | null;
    };

/**
 * Brings the bodies of `feeds` up to date; the outcomes by feed name. Feeds without `remote` are left out. A list that
 * several feeds name is transferred once. A list that fails leaves its body as it was and the others alone. Rejects only for
 * `servers` that are no addresses.
 */
export async function fetchLists(
  feeds: readonly DeclaredFeed[],
  options: FetchOptions,
): Promise<ReadonlyMap<string, FetchOutcome>> {
  const groups = new Map<string, Member[]>();
  for (const feed of feeds) {
    const { remote } = feed;
    if (remote === undefined) continue;
    const key = JSON.stringify([remote.protocol, remote.url, remote.authentication, remote.ca]);
    const group = groups.get(key) ?? [];
    groups.set(key, group);
    group.push({ feed, remote });
  }
  const network = new Network(options);
  const means: Means = {
    clock: options.clock,
    random: options.random,
    network,
    lanes: new Lanes(MAX_HOSTS),
    signal: options.signal ?? new AbortController().signal,
    agent: `tidesman/${options.version}`,
  };
  const outcomes = new Map<string, FetchOutcome>();
  // Timers of a `Clock` keep no process alive; a command that only fetches would end in the middle of a wait.
  const hold = setInterval(() => {}, 60_000);
  try {
    await Promise.all([...groups.values()].map((group) => fetchGroup(group, options, means, outcomes)));
  } finally {
    clearInterval(hold);
    await network.close();
  }
  return outcomes;
}

interface Member {
  readonly feed: DeclaredFeed;
  readonly remote: RemoteList;
}

/** Feeds of one list. Of sizes the narrowest limit holds, of times the widest. */
async function fetchGroup(
  group: readonly Member[],
  options: FetchOptions,
  means: Means,
  outcomes: Map<string, FetchOutcome>,
): Promise<void> {
  const [first] = group;
  if (first === undefined) return;
  const remote: RemoteList = {
    ...first.remote,
    timeout: Math.max(...group.map((member) => member.remote.timeout)),
    maxSize: Math.min(...group.map((member) => member.remote.maxSize)),
  };
  let fetched: Fetched;
  let credentials: Credentials | null = null;
  const late = new AbortController();
  const timer = options.clock.after(MAX_PARTS_TIME * remote.timeout, () => {
    late.abort(
      new FetchFailure(`its parts took more than ${(MAX_PARTS_TIME * remote.timeout) / 1000} seconds`),
    );
  });
  try {
    const { onProgress } = options;
    credentials = new Credentials(remote.authentication, options.environment, options.readSecret);
    const wanted: Wanted = {
      remote,
      credentials,
      paths: [...new Set(group.map((member) => member.feed.path))],
      source: sourceOf(remote),
      ...(onProgress
        ? {
            onProgress: (bytes, total) => {
              for (const { feed } of group) onProgress(feed.name, bytes, total);
            },
          }
        : {}),
    };
    fetched = await BY_PROTOCOL[remote.protocol](
      wanted,
      remote.protocol === "http" ? means : { ...means, signal: AbortSignal.any([means.signal, late.signal]) },
    );
  } catch (error) {
    const failure = error instanceof FetchFailure ? error : failureOf(error, hostOf(remote.url));
    for (const { feed } of group) {
      outcomes.set(feed.name, {
        kind: "failed",
        message: shown(credentials?.redact(failure.message) ?? failure.message),
        retryAfter: failure.retryAfter,
      });
    }
    return;
  } finally {
    timer.cancel();
  }
  for (const { feed } of group) {
    outcomes.set(
      feed.name,
      fetched.kind === "fetched" && fetched.changed.has(feed.path)
        ? { kind: "changed", bytes: fetched.bytes, url: fetched.url }
        : { kind: "unchanged" },
    );
  }
}

/** What a server said goes to terminals, logs and audits: one line of a length that fits there. */
function shown(message: string): string {
  const line = message.replace(/[^\x20-\x7e]/g, (char) => {
    const code = char.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE)}...` : line;
}

const BY_PROTOCOL: Readonly<
  Record<RemoteList["protocol"], (wanted: Wanted, means: Means) => Promise<Fetched>>
> = { http: fetchList, taxii: fetchCollection, misp: fetchFolder };

/** What a body is bound to: change it, and the next fetch is a whole one. Says where secrets stand, not what they are. */
function sourceOf({ protocol, url, authentication }: RemoteList): string {
  const way =
    authentication === undefined
      ? "none"
      : authentication.kind === "basic"
        ? `basic ${authentication.user}`
        : `${authentication.kind} ${authentication.name}`;
  return `${protocol} ${url} ${way}`;
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : "the server";
}
