/**
 * What is in force: rules and feeds under one revision. A reload reads the files, makes a new revision and hands it down;
 * a file that is refused changes nothing and is remembered for `status`. One reload at a time.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "./clock.ts";
import type { Places } from "./config.ts";
import { compileInWorker } from "./feed/compile-in-worker.ts";
import { openFeeds } from "./feed/index.ts";
import type { CompiledFeeds } from "./feed/types.ts";
import { compilePolicy } from "./policy/policy.ts";
import type { Policy } from "./policy/types.ts";
import { feedManifest, type ReadPolicy, readPolicy } from "./settings.ts";
import type { Snapshot } from "./thread.ts";

export interface RevisionsOptions {
  readonly places: Places;
  /** Name of this host, for scopes. */
  readonly host: string;
  readonly clock: Clock;
  /** Puts a snapshot in force where decisions are taken; resolves when they follow it. */
  readonly install: (snapshot: Snapshot) => Promise<void>;
}

/** Why the latest reload was refused. */
export interface ReloadError {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly message: string;
}

export class Revisions {
  readonly #options: RevisionsOptions;
  /** Keys the hash of the feed tables; secret, so that nobody can craft names that collide. */
  readonly #seed: Buffer;
  #read: ReadPolicy;
  #snapshot: Snapshot;
  #policy: Policy;
  #loadedAt: number;
  #lastError: ReloadError | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: RevisionsOptions, read: ReadPolicy, feeds: CompiledFeeds, seed: Buffer) {
    this.#options = options;
    this.#seed = seed;
    this.#read = read;
    this.#snapshot = { revision: 1, policy: read.policy, feeds };
    this.#policy = this.#compile();
    this.#loadedAt = options.clock.now();
  }

  /** Reads the files for the first time. Throws TM_POLICY or TM_FEED with all that is wrong with them. */
  static async first(options: RevisionsOptions): Promise<Revisions> {
    const read = readPolicy(options.places);
    const seed = randomBytes(8);
    const feeds = await compileInWorker({
      manifest: feedManifest(options.places),
      bodies: bodiesOf(options.places),
      seed,
    });
    return new Revisions(options, read, feeds, seed);
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

  /** Reads all feeds again. A list that cannot be read keeps its last form and says so in its status. */
  updateFeeds(): Promise<CompiledFeeds> {
    return this.#inTurn(async () => {
      const { policy, feeds: previous } = this.#snapshot;
      const feeds = await compileInWorker({
        manifest: feedManifest(this.#options.places),
        bodies: bodiesOf(this.#options.places),
        seed: this.#seed,
        previous,
      });
      await this.#install({ policy, feeds });
      return feeds;
    });
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
    this.#snapshot = { revision: this.#snapshot.revision + 1, ...rest };
    this.#policy = this.#compile();
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

/** Where fetched lists are kept. */
function bodiesOf(places: Places): string {
  return join(places.stateDirectory, "feeds", "bodies");
}
