/**
 * Feeds of this host: an update with everything it needs from the files an operator writes, and what is in force. Used by the
 * command line, daemon or not, and by the process that the daemon starts for an update.
 */
import { type ChildProcess, fork } from "node:child_process";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAddress } from "./address.ts";
import { systemClock } from "./clock.ts";
import type { Places } from "./config.ts";
import type { FeedReport } from "./control/types.ts";
import { version } from "./control/version.ts";
import { type ErrorCode, TidesmanError } from "./errors.ts";
import { fetchLists } from "./feed/fetch.ts";
import { readSecret } from "./feed/files.ts";
import { lastGeneration } from "./feed/generations.ts";
import { openFeeds, preparedFeeds } from "./feed/index.ts";
import { isStale } from "./feed/look.ts";
import { type FeedRecords, NEW_RECORD, readRecords } from "./feed/record.ts";
import type { CompiledFeeds, DeclaredFeed, FeedSource } from "./feed/types.ts";
import {
  approveFeed,
  digestOf,
  type RollbackOutcome,
  readManifestText,
  rollbackFeeds,
  type UpdateOptions,
  type UpdateOutcome,
  updateFeeds,
} from "./feed/update.ts";
import { readLearnedNames } from "./model/learned.ts";
import { nameToWire } from "./name.ts";
import type { FeedHit } from "./policy/types.ts";
import { feedManifest, readConfig } from "./settings.ts";
import { interfaceMatches } from "./surroundings.ts";

/** Popular names that ship with the product. */
const POPULAR = fileURLToPath(new URL("../feeds/popular.txt", import.meta.url));
/** Longest time of an update in a process of its own; milliseconds. */
const PROCESS_LIMIT = 30 * 60_000;

export interface UpdateRequest extends Pick<UpdateOptions, "only" | "fetch" | "tells"> {
  readonly onStep?: (step: string) => void;
  /** Bytes of a list so far, and of all where the server said so. */
  readonly onProgress?: (feed: string, bytes: number, total: number | null) => void;
}

export function feedFolder(places: Places): string {
  return join(places.stateDirectory, "feeds");
}

/** Fetches, reads, checks and compiles in this process; what is in force in the daemon does not change by it. */
export function updateHere(places: Places, request: UpdateRequest): Promise<UpdateOutcome> {
  const { network, dns } = readConfig(places);
  const { onStep, onProgress, only, fetch, tells = false } = request;
  return updateFeeds({
    manifest: feedManifest(places),
    folder: feedFolder(places),
    fetch,
    tells,
    ...(only === undefined ? {} : { only }),
    ...(onStep === undefined ? {} : { onStep }),
    fetchLists(feeds) {
      onStep?.("fetching");
      return fetchLists(feeds, {
        clock: systemClock,
        random: Math.random,
        environment: process.env,
        servers: dns.upstreams.filter((server) => !server.includes("%")),
        version: version(),
        readSecret,
        ...(onProgress === undefined ? {} : { onProgress }),
      });
    },
    popular: POPULAR,
    internal: [...network.internal, ...ownNetworks(networkInterfaces(), network.interfaces)],
    learned: () => readLearnedNames(join(places.stateDirectory, "models.db")),
    clock: systemClock,
  });
}

export function approveHere(places: Places, name: string): void {
  approveFeed({ manifest: feedManifest(places), folder: feedFolder(places) }, name);
}

export function rollbackHere(places: Places): RollbackOutcome {
  return rollbackFeeds(feedFolder(places));
}

/** What a daemon would start with; null when nothing is compiled. */
export function reportsHere(places: Places, complain: (text: string) => void): readonly FeedReport[] | null {
  const stored = storedFeeds(places, (message) => complain(`tidesman: ${message}\n`));
  return stored === null ? null : feedReports(stored.feeds, stored.records, systemClock.now());
}

/** Entries of the feed `name` (`all`: of any) that list a name or address. Throws TM_NOT_FOUND, TM_USAGE. */
export function testHere(places: Places, name: string, target: string): readonly FeedHit[] {
  const stored = storedFeeds(places, () => undefined);
  if (stored === null)
    throw new TidesmanError("TM_NOT_FOUND", "there are no compiled feeds; run `tidesman feeds update`");
  if (name !== "all" && !stored.feeds.sources.some((source) => source.name === name))
    throw new TidesmanError(
      "TM_NOT_FOUND",
      `there is no feed \`${name}\`; \`tidesman feeds list\` names them`,
    );
  const index = openFeeds(stored.feeds, { trusted: true });
  const address = parseAddress(target);
  const isName = address === null && !/[\s:/[\]]/.test(target);
  const wire = isName ? nameToWire(target.replace(/^\*?\./, "")) : null;
  if (address === null && wire === null)
    throw new TidesmanError(
      "TM_USAGE",
      `\`${target}\` is no name and no address; give one without port, path or prefix length`,
    );
  const hits =
    address === null ? index.domain(wire!, 0) : index.address(address, 0, address.length === 4 ? 4 : 16);
  return hits
    .filter(({ feed }) => name === "all" || feed === name)
    .map(({ feed, entry, match }) => ({ feed, entry, match }));
}

/** Bridges as container runtimes name them: no runtime is asked, since an update also works while none runs. */
const BRIDGES = ["docker0", "docker_gwbridge", "br-+", "podman+", "cni+", "nerdctl+", "cbr0"];

/**
 * Addresses of this host's interfaces, and of bridges of containers (`patterns`: those of tidesman.yaml) the whole networks: a
 * list that names them would cut containers off from this host, or from each other.
 */
export function ownNetworks(
  interfaces: NodeJS.Dict<readonly NetworkInterfaceInfo[]>,
  patterns: readonly string[],
): string[] {
  return Object.entries(interfaces).flatMap(([name, addresses = []]) => {
    const isBridge = [...BRIDGES, ...patterns].some((pattern) => interfaceMatches(pattern, name));
    return addresses.map(({ address, cidr }) => (isBridge && cidr ? cidr : address).replace(/%[^/]*/, ""));
  });
}

export interface StoredFeeds {
  readonly feeds: CompiledFeeds;
  readonly records: FeedRecords;
  readonly builtAt: number;
  /** Whether it was compiled from the manifest as it is now. */
  readonly upToDate: boolean;
}

/**
 * The generation on the disk; null when there is none that can be used. `onWarning` is told what could not be. `pause`: as
 * `readGeneration` has it. Throws TM_NOT_PERMITTED, and TM_FEED for a manifest that cannot be read.
 */
export function storedFeeds(
  places: Places,
  onWarning: (message: string) => void,
  pause?: () => void,
): StoredFeeds | null {
  const folder = feedFolder(places);
  const warnings: string[] = [];
  const { generation } = lastGeneration(folder, warnings, pause);
  warnings.forEach(onWarning);
  if (generation === null) return null;
  const { feeds, builtAt, manifest } = generation;
  const upToDate = manifest === digestOf(Buffer.from(readManifestText(feedManifest(places))));
  return { feeds: preparedFeeds(feeds), builtAt, upToDate, records: readRecords(folder) };
}

/** What an update in a process of its own has to say. */
export type UpdateMessage =
  | { readonly kind: "done"; readonly changed: boolean; readonly warnings: readonly string[] }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string };

/** The same as `updateHere` in a process of its own, so that its memory and its work are not the daemon's. */
export function updateInProcess(
  places: Places,
  fetch: UpdateOptions["fetch"],
): Promise<{ readonly changed: boolean; readonly warnings: readonly string[] }> {
  const file = import.meta.url.endsWith(".ts") ? "./intelligence-process.ts" : "./intelligence-process.js";
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(fileURLToPath(new URL(file, import.meta.url)), [], {
      env: { ...process.env, TIDESMAN_UPDATE: JSON.stringify({ places, fetch }) },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      timeout: PROCESS_LIMIT,
    });
    child.once("message", (message: UpdateMessage) => {
      if (message.kind === "done") resolve(message);
      else reject(new TidesmanError(message.code, message.message));
    });
    child.once("error", (cause) => {
      reject(
        new TidesmanError("TM_INTERNAL", `the update of the feeds could not begin: ${cause.message}`, {
          cause,
        }),
      );
    });
    // Behind a message this changes nothing: a promise settles once.
    child.once("exit", (code, signal) => {
      const how = signal === null ? `status ${code}` : signal;
      reject(new TidesmanError("TM_INTERNAL", `the update of the feeds ended with ${how} and no result`));
    });
  });
}

/** One report a feed: what is in force of it, and what became of its source. */
export function feedReports(feeds: CompiledFeeds, records: FeedRecords, now: number): FeedReport[] {
  return feeds.sources.map((source, index) => {
    const status = feeds.statuses[index];
    const record = Object.hasOwn(records, source.name) ? records[source.name]! : NEW_RECORD;
    const declared = source as FeedSource & Partial<DeclaredFeed>;
    const loadedAt =
      status === undefined || (status.error !== null && status.entries === 0) ? null : status.loadedAt;
    return {
      name: source.name,
      kind: source.kind,
      match: source.match,
      format: source.format ?? null,
      path: source.path,
      url: source.url ?? null,
      effect: source.effect ?? null,
      enabled: source.enabled,
      state: source.enabled ? record.state : "off",
      entries: status?.entries ?? 0,
      refused: status?.refused ?? 0,
      samples: [...(status?.samples ?? [])],
      loadedAt: isoOrNull(loadedAt),
      error: source.enabled ? (record.message ?? status?.error ?? null) : null,
      licence: declared.licence ?? null,
      attribution: declared.attribution ?? null,
      interval: source.url === undefined ? null : (declared.interval ?? 0) / 1000,
      checkedAt: isoOrNull(record.checkedAt),
      goodAt: isoOrNull(record.goodAt),
      wantedSince: source.url === undefined ? null : isoOrNull(record.wantedSince),
      dueAt: source.url === undefined ? null : isoOrNull(record.dueAt),
      stale: isStale(declared, record, now),
      failures: record.failures,
      guarded: record.guarded,
      changes: record.changes,
      waiting: record.standing.candidate !== null,
    };
  });
}

function isoOrNull(milliseconds: number | null): string | null {
  return milliseconds === null || milliseconds === 0 ? null : new Date(milliseconds).toISOString();
}
