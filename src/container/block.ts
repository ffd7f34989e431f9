/**
 * Stops a container that a decision blocks, keeps it stopped, and undoes it.
 *
 * When this begins, the data thread has dropped the packet or lookup and cut the container's addresses off in the
 * kernel. The order here, and why:
 *
 * 1. remember it on disk, with the restart policy, before anything changes: whatever happens, it can be undone;
 * 2. set the restart policy to `no`: else dockerd brings the container back;
 *    Meanwhile evidence of it is taken (evidence.ts), which may take a moment and no longer;
 * 3. reset its connections: peers learn at once, and nothing retransmits into the cut;
 * 4. isolate, pause or kill it (stop.ts);
 * 5. delete its conntrack entries, last, so that none is made anew: a later owner of the address inherits nothing.
 *
 * Each step tolerates that the container is gone. Whoever starts it again meets step 3 again, until it is unblocked.
 *
 * Length: doing and undoing share one list of who is blocked, and each other's races.
 */
import type { Clock } from "../clock.ts";
import type { Config } from "../config.ts";
import { TidesmanError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Native } from "../native/types.ts";
import type { WholeFile } from "../whole-file.ts";
import { type BlockedContainer, type BlockedState, blockedFile } from "./blocked.ts";
import { Breaker, type BreakerLimits } from "./breaker.ts";
import { type ContainerDetail, type DockerApi, isGone, type RestartPolicy } from "./engine.ts";
import { addressesOf } from "./entry.ts";
import type { Evidence } from "./evidence.ts";
import { isIsolated, isolationGap, restoreVeths } from "./isolate.ts";
import { type HostProcesses, hostProcesses } from "./processes.ts";
import { type Stopped, stopContainer } from "./stop.ts";
import type { Container, RegistryChange } from "./types.ts";

/** Deadlines, milliseconds from the call. The questions come first and may not eat the time of the kill. */
const QUESTION_TIME = 300;
const STOP_TIME = 1_500;
/** After that long, what was stopped is looked at once more. */
const CHECK_AFTER = 1_000;
/** How often removed containers are looked for, and how long they are remembered: an engine that restarts may not know them yet. */
const SWEEP_EVERY = 60_000;
const REMEMBER_GONE = 2 * 60_000;

export interface BlockerOptions {
  readonly docker: Pick<DockerApi, "container" | "setRestartPolicy" | "kill" | "pause" | "unpause" | "start">;
  readonly native: Pick<Native, "resetConnections" | "conntrackDelete" | "links" | "setLink">;
  readonly clock: Clock;
  readonly action: Config["block"]["action"];
  /** How many containers rules may stop. */
  readonly breaker: BreakerLimits;
  /** Where the blocked containers are kept, usually `blocked.json` in the state directory. */
  readonly file: string;
  /** Cuts the traffic of a container off (`on`), or lets it pass again. `addresses`: all that it was seen with. */
  readonly cut: (container: string, on: boolean, addresses: readonly string[]) => void;
  /** The container became blocked, or is no longer: its state in the registry changed. */
  readonly onChange?: (container: string) => void;
  /** What is taken before the container is changed, and kept when that is done. `take` must not reject. */
  readonly evidence: {
    take(container: Container): Promise<Evidence>;
    save(container: Container, evidence: Evidence, about: EvidenceSubject): Promise<unknown>;
  };
  /** Default: the processes of this host. */
  readonly processes?: HostProcesses;
  readonly log: Pick<Log, "info" | "warn" | "error">;
}

/** What evidence is about. */
export interface EvidenceSubject {
  /** The finding that led to the block. */
  readonly reason: string;
  readonly action: BlockedContainer["action"];
  /** What became of the container. */
  readonly result: Stopped["result"];
}

/** What was done about a container, for the log and the audit. */
export interface BlockOutcome extends Stopped {
  readonly container: string;
  readonly conntrackDeleted: number;
  /** Milliseconds from the call until it was stopped. */
  readonly took: number;
  /** Steps that failed, in words; the others were done. */
  readonly failures: readonly string[];
}

export interface UnblockOutcome {
  readonly container: BlockedContainer;
  /** `running`: it runs again; `left`: it did not run when it was blocked; `gone`: it was removed meanwhile. */
  readonly result: "running" | "left" | "gone" | "failed";
  /** Why it could not be started or resumed; it is no longer blocked all the same. */
  readonly error: string | null;
}

export class Blocker {
  readonly #options: BlockerOptions;
  readonly #processes: HostProcesses;
  readonly #file: WholeFile<BlockedState>;
  readonly #breaker: Breaker;
  readonly #blocked = new Map<string, BlockedContainer>();
  readonly #acting = new Map<string, Promise<BlockOutcome>>();
  /** Blocked containers that run or are being started, as last heard of. */
  readonly #seen = new Map<string, Container>();
  /** Blocked containers that stand on the disk as they are here. */
  readonly #saved = new Set<string>();
  /** Blocked a moment ago: evidence of them is to be taken. */
  readonly #fresh = new Set<string>();
  /** Being unblocked: not to be stopped meanwhile. */
  readonly #releasing = new Map<string, Promise<void>>();
  readonly #sweep: { cancel(): void };
  #stopped = false;

  private constructor(
    options: BlockerOptions,
    file: WholeFile<BlockedState>,
    { containers, stops }: BlockedState,
  ) {
    this.#options = options;
    this.#breaker = new Breaker(options.breaker, stops);
    this.#processes = options.processes ?? hostProcesses;
    this.#file = file;
    for (const container of containers) {
      this.#blocked.set(container.id, container);
      this.#saved.add(container.id);
    }
    this.#sweep = options.clock.every(SWEEP_EVERY, () => void this.#forgetGone());
  }

  /**
   * Reads who is blocked; to be done before the registry starts, so that none of them is taken for free. Throws TM_STORE
   * when the file cannot be read.
   */
  static async open(options: BlockerOptions): Promise<Blocker> {
    const file = blockedFile(options.file);
    return new Blocker(options, file, await file.read((message) => options.log.error({}, message)));
  }

  /** Resolves when nothing is being done any more. Blocked containers stay blocked. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sweep.cancel();
    await Promise.all(this.#acting.values());
  }

  blocked(): readonly BlockedContainer[] {
    return [...this.#blocked.values()];
  }

  isBlocked(id: string): boolean {
    return this.#blocked.has(id);
  }

  /** Of the limits, how many were stopped within their time. */
  get stoppedLately(): number {
    return this.#breaker.lately(this.#options.clock.now());
  }

  /**
   * Why the breaker does not let a rule stop the container; null: it does, and counts it as stopped from now on.
   * `replicas`: ids of the containers of its image that exist and are not stopped by others.
   */
  refusal(id: string, replicas: readonly string[]): string | null {
    const now = this.#options.clock.now();
    const refusal = this.#breaker.refusal(id, replicas, (other) => this.#blocked.has(other), now);
    if (refusal === null) this.#breaker.count(id, now);
    return refusal;
  }

  /** An operator has looked: what was stopped so far counts no longer. Throws TM_STORE. */
  async resetBreaker(): Promise<void> {
    this.#breaker.reset();
    await this.#write();
  }

  #write(): Promise<void> {
    return this.#file.write({ containers: this.blocked(), stops: this.#breaker.stops() });
  }

  /** Stops the container. Calls for one that is being stopped get the same outcome. Does not reject. */
  block(container: Container, reason: string): Promise<BlockOutcome> {
    const { id, name, image, state } = container;
    const releasing = this.#releasing.get(id);
    if (releasing !== undefined) return releasing.then(() => this.block(container, reason));
    if (!this.#blocked.has(id)) {
      this.#blocked.set(id, {
        id,
        name,
        image,
        reason,
        time: this.#options.clock.now(),
        action: this.#options.action,
        restartPolicy: null,
        ran: state !== "exited",
        addresses: [],
        goneAt: null,
      });
      this.#seen.set(id, container);
      this.#fresh.add(id);
      this.#options.onChange?.(id);
    }
    return this.#enforce(container);
  }

  /** To be called with every change of the registry: a blocked container that runs again is stopped again. */
  observe(change: RegistryChange): void {
    for (const id of change.remove) this.#seen.delete(id);
    for (const container of change.upsert) {
      if (!this.#blocked.has(container.id)) continue;
      this.#seen.set(container.id, container);
      this.#options.cut(container.id, true, addressesOf(container));
      // While it is being started it has no process to be stopped yet.
      if (container.pid === 0 || this.#releasing.has(container.id)) continue;
      if (!this.#isCutAtLinks(container)) void this.#enforce(container);
    }
  }

  /**
   * Undoes a block: the restart policy is restored, the traffic let through, and the container resumed or started if it
   * ran when it was blocked. Throws TM_NOT_FOUND when no such container is blocked, TM_DOCKER when the engine cannot be
   * asked, and TM_UNREACHABLE when the daemon has just started; then everything is as before.
   */
  async unblock(nameOrId: string): Promise<UnblockOutcome> {
    const id = this.#find(nameOrId);
    if (this.#releasing.has(id)) throw notBlocked(nameOrId);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#releasing.set(id, promise);
    try {
      await this.#acting.get(id);
      return await this.#undo(id, nameOrId);
    } finally {
      this.#releasing.delete(id);
      resolve();
    }
  }

  async #undo(id: string, nameOrId: string): Promise<UnblockOutcome> {
    const container = this.#blocked.get(id);
    if (container === undefined) throw notBlocked(nameOrId);
    const { docker } = this.#options;
    let detail: ContainerDetail | null = null;
    try {
      detail = await docker.container(id);
      if (container.restartPolicy !== null && comesBack(container.restartPolicy)) {
        await docker.setRestartPolicy(id, container.restartPolicy);
      }
    } catch (error) {
      if (!isGone(error)) throw error;
      detail = null;
    }
    const seen = this.#seen.get(id);
    if (container.action === "isolate" && seen === undefined && detail !== null && detail.pid !== 0) {
      // Released now, its veths would stay down: the registry has not told of it since the daemon started.
      throw new TidesmanError("TM_UNREACHABLE", "the container is not known yet; try again in a moment");
    }
    await this.#release(container);
    if (detail === null) return { container, result: "gone", error: null };
    try {
      if (container.action === "isolate" && seen !== undefined) restoreVeths(this.#options.native, seen);
      if (!container.ran) return { container, result: "left", error: null };
      if (detail.state === "paused") await docker.unpause(id);
      else if (detail.state !== "running") await docker.start(id);
      return { container, result: "running", error: null };
    } catch (error) {
      return { container, result: "failed", error: messageOf(error) };
    }
  }

  #find(nameOrId: string): string {
    const wanted = nameOrId.replace(/^\//, "");
    const all = this.blocked();
    // Names are reused: the one blocked last is the one that exists, those before it are gone and only remembered.
    const exact = all.findLast(({ id, name }) => id === wanted || name === wanted);
    if (exact !== undefined) return exact.id;
    const fitting = wanted === "" ? [] : all.filter(({ id }) => id.startsWith(wanted));
    if (fitting.length !== 1) throw notBlocked(nameOrId);
    return fitting[0]!.id;
  }

  async #release(container: BlockedContainer): Promise<void> {
    this.#blocked.delete(container.id);
    this.#seen.delete(container.id);
    try {
      await this.#write();
    } catch (error) {
      this.#blocked.set(container.id, container);
      throw error;
    }
    this.#saved.delete(container.id);
    this.#options.cut(container.id, false, container.addresses);
    this.#options.onChange?.(container.id);
  }

  // ---------------------------------------------------------------------------------------------- stopping

  /** `patient`: what may be better in a moment is left for `#check`. */
  #enforce(container: Container, patient = true): Promise<BlockOutcome> {
    let acting = this.#acting.get(container.id);
    if (acting === undefined) {
      acting = this.#act(container, patient).finally(() => {
        this.#acting.delete(container.id);
        if (!this.#stopped) this.#options.clock.after(CHECK_AFTER, () => this.#check(container.id));
      });
      this.#acting.set(container.id, acting);
    }
    return acting;
  }

  /** Was it started again while it was being stopped, or did stopping fail? */
  #check(id: string): void {
    const container = this.#seen.get(id);
    const blocked = this.#blocked.get(id);
    if (container === undefined || blocked === undefined || container.pid === 0) return;
    if (this.#stopped || this.#releasing.has(id) || this.#isCutAtLinks(container)) return;
    if (blocked.action === "stop" || (blocked.action === "isolate" && isolationGap(container) === null)) {
      void this.#enforce(container, false);
      return;
    }
    void this.#options.docker.container(id).then(
      ({ state }) => {
        if (state === "running" && this.#blocked.has(id) && !this.#releasing.has(id))
          void this.#enforce(container, false);
      },
      (error: unknown) => {
        if (!isGone(error) && this.#blocked.has(id) && !this.#releasing.has(id))
          void this.#enforce(container, false);
      },
    );
  }

  /** Whether it is isolated, and nothing is left to do. */
  #isCutAtLinks(container: Container): boolean {
    if (this.#blocked.get(container.id)?.action !== "isolate") return false;
    try {
      return isIsolated(this.#options.native, container);
    } catch {
      // Then it is tried again, and what is wrong is told.
      return false;
    }
  }

  async #act(container: Container, patient: boolean): Promise<BlockOutcome> {
    const { clock, docker, native, evidence, log } = this.#options;
    const { id } = container;
    const taking = this.#fresh.delete(id) ? evidence.take(container) : null;
    const began = clock.monotonic();
    const failures: string[] = [];
    const failed = (step: string, error: unknown): void => {
      if (!isGone(error)) failures.push(`${step}: ${messageOf(error)}`);
    };
    let detail: ContainerDetail | null = null;
    let gone = false;
    try {
      detail = await docker.container(id, QUESTION_TIME);
    } catch (error) {
      gone = isGone(error);
      failed("inspect", error);
    }
    await this.#remember(container, detail, gone).catch((error: unknown) => failed("remember", error));
    const blocked = this.#blocked.get(id);
    if (detail !== null && !detail.autoRemove && comesBack(detail.restartPolicy)) {
      const restartPolicy = { name: "no", maximumRetryCount: 0 };
      await docker
        .setRestartPolicy(id, restartPolicy, QUESTION_TIME)
        .catch((error: unknown) => failed("restart policy", error));
    }
    const taken = await taking;
    const stopped: Stopped = gone
      ? { result: "gone", bySignal: false, connectionsReset: 0 }
      : await stopContainer({
          ...this.#options,
          processes: this.#processes,
          container,
          detail,
          action: blocked?.action ?? this.#options.action,
          patient,
          deadline: began + STOP_TIME,
          failed,
        });
    let conntrackDeleted = 0;
    for (const address of new Set([...addressesOf(container), ...(blocked?.addresses ?? [])])) {
      try {
        conntrackDeleted += native.conntrackDelete(address);
      } catch (error) {
        failed(`conntrack entries of ${address}`, error);
      }
    }
    const took = clock.monotonic() - began;
    const { reason = "", action = this.#options.action } = blocked ?? {};
    if (taken !== null) {
      await evidence
        .save(container, taken, { reason, action, result: stopped.result })
        .catch((error: unknown) => failed("evidence", error));
    }
    const outcome = { container: id, ...stopped, conntrackDeleted, took, failures };
    const level = failures.length === 0 ? "info" : "warn";
    log[level](outcome, `container \`${container.name}\` is blocked: ${stopped.result}`);
    return outcome;
  }

  async #remember(container: Container, detail: ContainerDetail | null, gone: boolean): Promise<void> {
    const known = this.#blocked.get(container.id);
    if (known === undefined) return;
    const restarting = detail?.state === "running" || detail?.state === "restarting";
    const next: BlockedContainer = {
      ...known,
      // Only the first answer tells the user's policy; later ones may tell ours.
      restartPolicy: known.restartPolicy ?? detail?.restartPolicy ?? null,
      ran: known.ran || restarting,
      addresses: [...new Set([...known.addresses, ...addressesOf(container)])],
      goneAt: gone ? (known.goneAt ?? this.#options.clock.now()) : null,
    };
    this.#blocked.set(container.id, next);
    if (this.#saved.has(container.id) && JSON.stringify(known) === JSON.stringify(next)) return;
    this.#saved.delete(container.id);
    await this.#write();
    this.#saved.add(container.id);
  }

  // ---------------------------------------------------------------------------------------------- forgetting

  async #forgetGone(): Promise<void> {
    const now = this.#options.clock.now();
    for (const container of this.blocked()) {
      let goneAt: number | null = null;
      try {
        await this.#options.docker.container(container.id);
      } catch (error) {
        // An engine that does not answer says nothing about the container.
        if (!isGone(error)) continue;
        goneAt = container.goneAt ?? now;
      }
      const current = this.#blocked.get(container.id);
      if (current === undefined || this.#stopped) continue;
      try {
        if (goneAt !== null && now - goneAt >= REMEMBER_GONE) await this.#release(current);
        else if (current.goneAt !== goneAt) {
          this.#blocked.set(container.id, { ...current, goneAt });
          await this.#write();
        }
      } catch (error) {
        this.#options.log.error({ error }, "cannot update the list of blocked containers");
      }
    }
  }
}

/** Whether the engine starts a container of that policy again by itself. */
function comesBack({ name }: RestartPolicy): boolean {
  return name !== "" && name !== "no";
}

function notBlocked(nameOrId: string): TidesmanError {
  return new TidesmanError(
    "TM_NOT_FOUND",
    `no blocked container is called \`${nameOrId}\`; \`tidesman status\` lists those that are`,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
