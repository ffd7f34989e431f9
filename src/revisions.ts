/**
 * What is in force: rules and feeds under one revision. A reload reads the files, makes a new revision and hands it down;
 * a file that is refused changes nothing and is remembered for `status`. One reload at a time.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "./clock.ts";
import type { Places } from "./config.ts";
import type { FeedReport } from "./control/types.ts";
import { TidesmanError } from "./errors.ts";
import { giveWay } from "./feed/artefact.ts";
import { openFeeds } from "./feed/index.ts";
import { noFeeds } from "./feed/load.ts";
import { parseManifest } from "./feed/manifest.ts";
import { feedReports, type StoredFeeds, storedFeeds, updateInProcess } from "./intelligence.ts";
import { compilePolicy } from "./policy/policy.ts";
import type { Policy } from "./policy/types.ts";
import { feedManifest, type ReadPolicy, readPolicy, readText } from "./settings.ts";
import type { Snapshot } from "./thread.ts";

export interface RevisionsOptions {
  readonly places: Places;
  /** Name of this host, for scopes. */
  readonly host: string;
  readonly clock: Clock;
  /** Puts a snapshot in force where decisions are taken; resolves when they follow it. */
  readonly install: (snapshot: Snapshot) => Promise<void>;
  /** Told what an operator should know, and what ends nothing. */
  readonly warn: (message: string) => void;
}

/** Why the latest reload was refused. */
export interface ReloadError {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly message: string;
}

type FeedFacts = Pick<StoredFeeds, "builtAt" | "records">;

function factsOf({ builtAt, records }: StoredFeeds): FeedFacts {
  return { builtAt, records };
}

export class Revisions {
  readonly #options: RevisionsOptions;
  #read: ReadPolicy;
  #snapshot: Snapshot;
  #policy: Policy;
  #loadedAt: number;
  #lastError: ReloadError | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  /** What is known of the feeds in force; not the feeds as read again, which would lie in memory twice. */
  #stored: FeedFacts | null;

  private constructor(options: RevisionsOptions, read: ReadPolicy, stored: StoredFeeds | null) {
    this.#options = options;
    this.#read = read;
    this.#stored = stored === null ? null : factsOf(stored);
    this.#snapshot = { revision: 1, policy: read.policy, feeds: stored?.feeds ?? noFeeds(randomBytes(8)) };
    this.#policy = this.#compile();
    this.#loadedAt = options.clock.now();
  }

  /**
   * Reads the files for the first time. Throws TM_POLICY or TM_FEED with all that is wrong with them. Compiled feeds that are
   * on the disk serve at once; where there are none, or of another manifest, the lists of this host are compiled first.
   */
  static async first(options: RevisionsOptions): Promise<Revisions> {
    const { places, warn } = options;
    const read = readPolicy(places);
    const manifest = feedManifest(places);
    parseManifest(readText(manifest, "TM_FEED") ?? "", manifest);
    let stored: StoredFeeds | null = null;
    try {
      stored = storedFeeds(places, warn);
      if (stored === null || !stored.upToDate) {
        await updateInProcess(places, "none");
        stored = storedFeeds(places, warn);
      }
    } catch (error) {
      // A guard without feeds is better than none.
      warn(`the feeds could not be compiled: ${error instanceof Error ? error.message : String(error)}`);
    }
    return new Revisions(options, read, stored);
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }
  get revision(): number {
    return this.#snapshot.revision;
  }
  /** The same revision compiled on this thread: for questions, not for traffic. */
  get policy(): Policy {
    return this.#policy;
  }
  get read(): ReadPolicy {
    return this.#read;
  }
  /** Milliseconds since the epoch. */
  get loadedAt(): number {
    return this.#loadedAt;
  }
  get lastError(): ReloadError | null {
    return this.#lastError;
  }

  /** Reads policy.yaml again. Throws TM_POLICY when it is refused; what was in force stays. */
  reload(): Promise<ReadPolicy> {
    return this.#inTurn(async () => {
      const read = this.#readPolicy();
      await this.#install({ policy: read.policy, feeds: this.#snapshot.feeds });
      this.#read = read;
      this.#loadedAt = this.#options.clock.now();
      this.#lastError = null;
      return read;
    });
  }

  /** Reads feeds and policy again, neither held up by the other. What was refused, and so stays as it was, in words. */
  async reloadAll(): Promise<readonly string[]> {
    const refused: string[] = [];
    const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        refused.push(`the running ${what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    };
    await attempt("feeds stay", () => this.updateFeeds("none"));
    await attempt("policy stays", () => this.reload());
    return refused;
  }

  /**
   * Updates the feeds in a process of their own, then puts them in force. `fetch`: as of an update. What fails leaves what is
   * in force, and is in the reports. Throws TM_FEED for the manifest.
   */
  async updateFeeds(fetch: "all" | "due" | "none"): Promise<readonly FeedReport[]> {
    const { warnings } = await updateInProcess(this.#options.places, fetch);
    warnings.forEach(this.#options.warn);
    return this.loadFeeds();
  }

  /** Puts the compiled feeds on the disk in force, where they are newer. Throws TM_FEED when there are none. */
  loadFeeds(): Promise<readonly FeedReport[]> {
    return this.#inTurn(async () => {
      const { places, warn } = this.#options;
      const stored = storedFeeds(places, warn, giveWay);
      if (stored === null) {
        throw new TidesmanError("TM_FEED", "there are no compiled feeds; run `tidesman feeds update`");
      }
      if (stored.builtAt !== this.#stored?.builtAt) {
        await this.#install({ policy: this.#snapshot.policy, feeds: stored.feeds });
      }
      this.#stored = factsOf(stored);
      return this.feedReports();
    });
  }

  /** What is in force of each feed, and what became of its source. */
  feedReports(): FeedReport[] {
    return feedReports(this.#snapshot.feeds, this.#stored?.records ?? {}, this.#options.clock.now());
  }

  /** The same rules and feeds under a new revision: decisions remembered for the old one no longer count. */
  renew(): Promise<void> {
    return this.#inTurn(() => this.#install({ policy: this.#snapshot.policy, feeds: this.#snapshot.feeds }));
  }

  #readPolicy(): ReadPolicy {
    try {
      return readPolicy(this.#options.places);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#lastError = { time: this.#options.clock.now(), message };
      throw error;
    }
  }

  async #install(rest: Omit<Snapshot, "revision">): Promise<void> {
    const sameRules = rest.policy === this.#snapshot.policy;
    this.#snapshot = { revision: this.#snapshot.revision + 1, ...rest };
    const { revision, feeds } = this.#snapshot;
    this.#policy = sameRules ? this.#policy.withFeeds(openFeeds(feeds), revision) : this.#compile();
    await this.#options.install(this.#snapshot);
  }

  #compile(): Policy {
    const { revision, policy, feeds } = this.#snapshot;
    return compilePolicy(policy, openFeeds(feeds), { revision, host: this.#options.host });
  }

  #inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
