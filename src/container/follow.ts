/**
 * Keeps a subscription to the engine's events alive: connects, lists, reads, and connects again with growing waits.
 */
import type { Clock } from "../clock.ts";
import type { DockerApi, EngineEvent } from "./engine.ts";
import type { RegistryState } from "./types.ts";

/** Waits between attempts, milliseconds: doubled from the first to the longest. */
const FIRST_WAIT = 100;
const LONGEST_WAIT = 2_000;
/** Events remembered, so that one which the engine repeats after a reconnect is handled once. */
const MEMORY = 512;

export interface FollowerOptions {
  readonly docker: Pick<DockerApi, "events">;
  readonly clock: Clock;
  readonly onEvent: (event: EngineEvent) => void;
  /** Learns everything anew. Called for each connection, after its subscription began: nothing can change unseen. */
  readonly resync: () => Promise<void>;
  readonly onState: (state: RegistryState) => void;
}

export class Follower {
  readonly #options: FollowerOptions;
  readonly #stopping = new AbortController();
  readonly #handled = new Set<string>();
  #since: string | null = null;
  #state: RegistryState = { connected: false, error: null };

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  get state(): RegistryState {
    return this.#state;
  }

  /** Resolves after `stop`. */
  async run(): Promise<void> {
    const stopping = this.#stopping.signal;
    let wait = FIRST_WAIT;
    while (!stopping.aborted) {
      const connection = new AbortController();
      try {
        const signal = AbortSignal.any([stopping, connection.signal]);
        const events = await this.#options.docker.events(this.#since, signal);
        const reading = this.#read(events);
        const synced = this.#options.resync().then(() => {
          wait = FIRST_WAIT;
          this.#tell({ connected: true, error: null });
        });
        // Whichever fails first ends the other; what the other then says is the same failure told twice.
        reading.catch(() => undefined);
        synced.catch(() => undefined);
        await Promise.race([reading, synced.then(() => reading)]);
        throw new Error("the docker engine closed its event stream");
      } catch (error) {
        if (!stopping.aborted) {
          this.#tell({ connected: false, error: error instanceof Error ? error.message : String(error) });
        }
      } finally {
        connection.abort();
      }
      await this.#pause(wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
    this.#tell({ connected: false, error: null });
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #read(events: AsyncIterable<EngineEvent>): Promise<void> {
    for await (const event of events) {
      if (this.#stopping.signal.aborted) return;
      const key = `${event.time} ${event.type} ${event.action} ${event.id} ${event.attributes.container ?? ""}`;
      if (this.#handled.has(key)) continue;
      this.#handled.add(key);
      if (this.#handled.size > MEMORY) this.#handled.delete(this.#handled.values().next().value ?? "");
      this.#since = event.time;
      this.#options.onEvent(event);
    }
  }

  #tell(state: RegistryState): void {
    if (state.connected === this.#state.connected && state.error === this.#state.error) return;
    this.#state = state;
    this.#options.onState(state);
  }

  #pause(ms: number): Promise<void> {
    const stopping = this.#stopping.signal;
    if (stopping.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(ms, resolve);
      stopping.addEventListener(
        "abort",
        () => {
          timer.cancel();
          resolve();
        },
        { once: true },
      );
    });
  }
}
