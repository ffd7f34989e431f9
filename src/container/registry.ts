/**
 * Who is behind an address: the live picture of the engine's containers and networks.
 *
 * Three sources, each trusted for what it knows best. *Events* come in order and say at once that a life began or ended.
 * *Questions* (inspect, network inspect, lists) say what is so; an answer is believed only if no event about the
 * container arrived since it was asked for. The *kernel* says which veth on the host leads into which namespace.
 *
 * Length: events, questions and links each end in the same few steps on one map of containers, whose order is the point.
 *
 * dockerd holds back an inspect while it starts the container, and the container's first packet can precede the `start`
 * event. So a container that is being started is learned without inspect: `network connect` names container and network,
 * the network's own list gives addresses and hardware address, the list of containers gives the facts, and its namespace
 * is the one new file in the runtime's folder whose interface has that hardware address.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Native } from "../native/types.ts";
import { Catalogue } from "./catalogue.ts";
import {
  type ContainerSummary,
  type DockerApi,
  type EngineEvent,
  isGone,
  type NetworkDetail,
} from "./engine.ts";
import { Entry } from "./entry.ts";
import { Follower } from "./follow.ts";
import { Inquiry, isAsListed, isRunning } from "./inquire.ts";
import { Locator } from "./locate.ts";
import { Publication } from "./publish.ts";
import type { Container, GuardedNetwork, RegistryChange, RegistryState } from "./types.ts";
import { Work } from "./work.ts";

export interface RegistryOptions {
  readonly docker: Pick<DockerApi, "containers" | "container" | "image" | "networks" | "network" | "events">;
  readonly native: Pick<Native, "links" | "watchLinks">;
  readonly clock: Clock;
  /** `nginx` -> `docker.io/library/nginx:latest`; also takes `repository@digest`. */
  readonly normalizeImage: (image: string) => string;
  readonly onChange: (change: RegistryChange) => void;
  readonly onState: (state: RegistryState) => void;
  readonly log: Pick<Log, "debug">;
  /** Whether the container is stopped by a `block`; its state is `blocked` then. Call `touch` when the answer changes. */
  readonly isBlocked?: (id: string) => boolean;
  /** Where the runtime keeps network namespaces; other places are learned from the engine. */
  readonly namespaceDirectories?: readonly string[];
}

/** Questions at once, urgent ones not counted; more would only wait inside dockerd. */
const CONCURRENCY = 12;
/** Waits after a failed question, milliseconds: doubled from the first to the longest. */
const FIRST_RETRY = 50;
const LONGEST_RETRY = 5_000;
/** A container that is said to join a network is looked for there this often; the last waits make about 20 s. */
const JOIN_RETRIES = 10;
/** Everything is compared with the engine's lists this often, in case an event never came. */
const RECONCILE_EVERY = 60_000;
/** Addresses from router advertisements come when the container has run for a moment. */
const AUTOCONFIGURED_AFTER = 2_500;
/** Changes of links come in bursts: the first is looked at at once, those that follow within this time together. */
const LINKS_PAUSE = 10;
/** A known container whose packets keep asking (it forges addresses) is read again this often at most. */
const HINT_PAUSE = 20;
/** A veth that leads to no known container is asked about this often at most. */
const UNKNOWN_PAUSE = 200;

export class Registry {
  readonly #options: RegistryOptions;
  readonly #docker: RegistryOptions["docker"];
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #catalogue: Catalogue;
  readonly #inquiry: Inquiry;
  readonly #publication: Publication;
  readonly #locator: Locator;
  readonly #follower: Follower;
  readonly #work: Work;
  readonly #networkWork: Work;
  readonly #identifying = new Set<number>();
  #comparing: Promise<void> | null = null;
  #linksAt = Number.NEGATIVE_INFINITY;
  #linksTimer: { cancel(): void } | null = null;
  #reconcile: { cancel(): void } | null = null;
  #unwatch: (() => void) | null = null;
  #following: Promise<void> | null = null;
  #stopped = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#docker = options.docker;
    this.#clock = options.clock;
    this.#publication = new Publication(options.onChange, options.isBlocked ?? (() => false));
    this.#locator = new Locator({
      native: options.native,
      namespaceDirectories: options.namespaceDirectories ?? ["/run/docker/netns"],
      onFailure: (path, error) => this.#note(error, path),
    });
    this.#catalogue = new Catalogue(options.docker, () => this.#guard());
    this.#inquiry = new Inquiry({
      docker: options.docker,
      catalogue: this.#catalogue,
      locator: this.#locator,
      normalizeImage: options.normalizeImage,
      isStale: (entry, version) => this.#isStale(entry, version),
    });
    this.#follower = new Follower({
      docker: options.docker,
      clock: options.clock,
      onEvent: (event) => this.#handle(event),
      resync: () => this.#resync(true),
      onState: options.onState,
    });
    this.#work = new Work(CONCURRENCY, (id) => this.#refresh(id));
    this.#networkWork = new Work(1, () => this.#refreshNetworks());
  }

  /** Connects to the engine, and keeps connecting, until `stop`. Once only. Throws what `watchLinks` throws. */
  start(): void {
    this.#unwatch = this.#options.native.watchLinks(() => this.#linksChanged());
    this.#reconcile = this.#clock.every(RECONCILE_EVERY, () => {
      if (this.state.connected) this.#compareSoon();
    });
    this.#following = this.#follower.run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#follower.stop();
    this.#unwatch?.();
    this.#reconcile?.cancel();
    this.#linksTimer?.cancel();
    await this.#following;
  }

  get state(): RegistryState {
    return this.#follower.state;
  }

  /** Every container that the engine knows, running or not. */
  list(): readonly Container[] {
    const containers: Container[] = [];
    for (const entry of this.#entries.values()) {
      const container = this.#publication.snapshot(entry);
      if (container !== null) containers.push(container);
    }
    return containers;
  }

  /** By name, by id, or by the beginning of an id that fits one container only. */
  find(nameOrIdPrefix: string): Container | undefined {
    const wanted = nameOrIdPrefix.replace(/^\//, "");
    if (wanted === "") return undefined;
    const containers = this.list();
    const exact = containers.find(({ id, name }) => id === wanted || name === wanted);
    if (exact !== undefined) return exact;
    const fitting = containers.filter(({ id }) => id.startsWith(wanted));
    return fitting.length === 1 ? fitting[0] : undefined;
  }

  /** The networks that have a bridge on this host. */
  networks(): readonly GuardedNetwork[] {
    return this.#locator.guarded;
  }

  /** Something outside (a `block`) changed the container's state: tells the listener. */
  touch(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#publication.publish(entry);
  }

  /**
   * A packet from this veth is being held: finds out now who it is. `source`: the packet's source address, for the log
   * only, since it may be forged. A veth that is known is told again, with what its namespace shows by now.
   */
  hint(vethIndex: number, source: string): void {
    if (this.#stopped) return;
    const known = this.#publication.byVeth(vethIndex);
    if (known !== undefined) {
      const now = this.#clock.monotonic();
      if (now - known.hintedAt < HINT_PAUSE) return;
      known.hintedAt = now;
      this.#locator.locate(known);
      this.#publication.publish(known, true);
      return;
    }
    if (this.#identifying.has(vethIndex)) return;
    this.#locator.expire();
    if (this.#locator.host.byIndex(vethIndex) === undefined) return;
    this.#locateAll();
    if (this.#publication.byVeth(vethIndex) !== undefined) return;
    this.#identifying.add(vethIndex);
    void this.#identify(vethIndex, source)
      .catch((error: unknown) => this.#note(error, "the sender of a packet"))
      .finally(() => this.#clock.after(UNKNOWN_PAUSE, () => this.#identifying.delete(vethIndex)));
  }

  // ---------------------------------------------------------------------------------------------- events

  #handle(event: EngineEvent): void {
    if (event.type === "network") this.#handleNetwork(event);
    else if (event.type === "container" && event.id !== "") this.#handleContainer(event);
  }

  #handleContainer({ action, id, attributes }: EngineEvent): void {
    switch (action) {
      case "create":
        void this.#changed(this.#ensure(id));
        break;
      case "start": {
        const entry = this.#ensure(id);
        entry.phase = "running";
        void this.#changed(entry);
        break;
      }
      case "pause":
      case "unpause": {
        const entry = this.#ensure(id);
        entry.paused = action === "pause";
        void this.#changed(entry);
        // Forced, since a blocked container shows one state whether it is paused or not.
        this.#publication.publish(entry, true);
        break;
      }
      case "rename": {
        const entry = this.#ensure(id);
        const name = attributes.name?.replace(/^\//, "");
        if (entry.facts !== null && name) entry.facts = { ...entry.facts, name };
        entry.summary = null;
        void this.#changed(entry);
        this.#publication.publish(entry);
        break;
      }
      case "die":
      case "died": {
        const entry = this.#ensure(id);
        entry.everRan = true;
        entry.end();
        void this.#changed(entry);
        this.#publication.publish(entry);
        break;
      }
      case "destroy":
      case "remove":
        this.#forget(id);
        break;
    }
  }

  #handleNetwork({ action, id, attributes }: EngineEvent): void {
    const container = attributes.container ?? "";
    if (action === "connect" && container !== "") {
      const entry = this.#ensure(container);
      if (entry.phase === "stopped") entry.phase = "joining";
      entry.joining.add(id);
      void this.#changed(entry);
    } else if (action === "disconnect" && container !== "") {
      const entry = this.#entries.get(container);
      if (entry === undefined) return;
      entry.attachments.delete(id);
      entry.joining.delete(id);
      if (entry.phase === "joining" && entry.joining.size === 0) entry.end();
      void this.#changed(entry);
      this.#publication.publish(entry);
    } else void this.#networkWork.ask("networks");
  }

  #ensure(id: string): Entry {
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      entry = new Entry(id);
      this.#entries.set(id, entry);
    }
    return entry;
  }

  /** Something new is known to have happened to it: older answers no longer count, and it is asked about. */
  #changed(entry: Entry): Promise<void> {
    entry.version++;
    return this.#work.ask(entry.id, true);
  }

  #forget(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.version++;
    entry.end();
    this.#publication.publish(entry);
    this.#entries.delete(id);
    this.#work.forget(id);
  }

  // ---------------------------------------------------------------------------------------------- questions

  async #refresh(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined || this.#stopped) return;
    const version = entry.version;
    try {
      if (entry.phase === "running") await this.#inspect(entry);
      else if (entry.phase === "joining") await this.#join(entry);
      else if (entry.facts === null || entry.summary !== null || entry.doubted) await this.#describe(entry);
      if (entry.phase !== "joining") entry.failures = 0;
    } catch (error) {
      if (this.#isStale(entry, version)) return;
      if (isGone(error)) {
        this.#forget(id);
        return;
      }
      this.#note(error, `container ${id}`);
      this.#askAgain(entry);
    }
  }

  /** Whether what was asked at `version` no longer counts. Then whoever raised the version has asked anew. */
  #isStale(entry: Entry, version: number): boolean {
    return this.#stopped || entry.version !== version || this.#entries.get(entry.id) !== entry;
  }

  #askAgain(entry: Entry): void {
    const wait = Math.min(FIRST_RETRY * 2 ** entry.failures++, LONGEST_RETRY);
    this.#clock.after(wait, () => {
      if (!this.#stopped && this.#entries.get(entry.id) === entry) void this.#work.ask(entry.id);
    });
  }

  async #inspect(entry: Entry): Promise<void> {
    if (!(await this.#inquiry.inspect(entry))) return;
    this.#publication.publish(entry);
    const { startedAt } = entry;
    if (startedAt === 0) return;
    this.#clock.after(AUTOCONFIGURED_AFTER, () => {
      if (entry.startedAt === startedAt && !this.#stopped) this.#look(entry);
    });
  }

  async #join(entry: Entry): Promise<void> {
    const joined = await this.#inquiry.join(entry);
    if (joined === "dropped") return;
    if (entry.phase !== "joining") {
      // The list showed that it runs already.
      void this.#changed(entry);
      return;
    }
    this.#publication.publish(entry);
    this.#locateAll();
    if (joined === "complete") entry.failures = 0;
    else if (entry.failures < JOIN_RETRIES) this.#askAgain(entry);
    else {
      // Its start failed while nobody told us.
      entry.end();
      this.#publication.publish(entry);
    }
  }

  async #describe(entry: Entry): Promise<void> {
    if (await this.#inquiry.describe(entry)) void this.#changed(entry);
  }

  async #refreshNetworks(): Promise<void> {
    if (this.#stopped) return;
    try {
      this.#setNetworks(await this.#docker.networks());
    } catch (error) {
      this.#note(error, "networks");
      this.#clock.after(LONGEST_RETRY, () => this.#networkWork.ask("networks"));
    }
  }

  #setNetworks(networks: readonly NetworkDetail[]): void {
    this.#locator.expire();
    this.#catalogue.replace(networks);
  }

  #guard(): void {
    if (this.#locator.guard(this.#catalogue.networks())) this.#publication.networks(this.#locator.guarded);
  }

  // ---------------------------------------------------------------------------------------------- everything anew

  /**
   * Compares everything with the engine's lists. `full`: asks about every container that runs, as after a connection
   * was made; else only about those that the list shows differently.
   */
  async #resync(full: boolean): Promise<void> {
    const versions = new Map<string, number>();
    for (const entry of this.#entries.values()) versions.set(entry.id, entry.version);
    const [networks, summaries] = await Promise.all([this.#docker.networks(), this.#docker.containers()]);
    if (this.#stopped) return;
    this.#setNetworks(networks);
    const listed = new Set<string>();
    for (const summary of summaries) {
      listed.add(summary.id);
      const known = this.#entries.get(summary.id);
      if (known === undefined || versions.get(summary.id) === known.version) {
        this.#compare(known ?? this.#ensure(summary.id), summary, full);
        continue;
      }
      // An event arrived meanwhile, and the list may be older than it: ask again about this one.
      known.doubted = true;
      void this.#work.ask(summary.id);
    }
    for (const [id, version] of versions) {
      if (!listed.has(id) && this.#entries.get(id)?.version === version) this.#forget(id);
    }
    await this.#work.idle();
    if (full) return;
    for (const entry of this.#entries.values()) {
      if (entry.phase !== "running") continue;
      // One turn of the loop each: reading a hundred namespaces takes a moment, and a held packet must not wait for it.
      await new Promise(setImmediate);
      if (this.#stopped) return;
      this.#look(entry);
    }
  }

  #compare(entry: Entry, summary: ContainerSummary, full: boolean): void {
    if (isRunning(summary)) {
      if (!full && isAsListed(entry, summary)) return;
      entry.phase = "running";
      entry.version++;
      void this.#work.ask(entry.id);
      return;
    }
    if (entry.phase === "running") {
      entry.end();
      this.#publication.publish(entry);
    }
    entry.version++;
    entry.summary = summary;
    void this.#work.ask(entry.id);
  }

  /** Compares with the lists now, unless that is being done. */
  #compareSoon(): void {
    this.#comparing ??= this.#resync(false)
      .catch((error: unknown) => this.#note(error, "the list of containers"))
      .finally(() => {
        this.#comparing = null;
      });
  }

  // ---------------------------------------------------------------------------------------------- the kernel

  #linksChanged(): void {
    this.#locator.expire();
    if (this.#stopped || this.#linksTimer !== null) return;
    const passed = this.#clock.monotonic() - this.#linksAt;
    if (passed >= LINKS_PAUSE) {
      this.#followLinks();
      return;
    }
    this.#linksTimer = this.#clock.after(LINKS_PAUSE - passed, () => {
      this.#linksTimer = null;
      this.#followLinks();
    });
  }

  #followLinks(): void {
    this.#linksAt = this.#clock.monotonic();
    this.#guard();
    for (const [index, entry] of this.#publication.veths()) {
      if (this.#locator.host.byIndex(index) !== undefined) continue;
      entry.detach(index);
      this.#publication.publish(entry);
    }
    this.#locateAll();
  }

  /** Finds the interfaces of every container that misses one. */
  #locateAll(): void {
    for (const entry of this.#entries.values()) {
      if (entry.unlocated && entry.namespacePath !== "") this.#look(entry);
    }
    for (const entry of this.#locator.search(this.#entries.values())) this.#publication.publish(entry);
  }

  #look(entry: Entry): void {
    this.#locator.locate(entry);
    this.#publication.publish(entry);
  }

  /** Asks the engine who is on the bridge of a veth behind which nobody is known. */
  async #identify(vethIndex: number, source: string): Promise<void> {
    const { host } = this.#locator;
    const link = host.byIndex(vethIndex);
    if (link === undefined) return;
    const bridge = host.bridgeOf(link);
    for (const { id } of this.networks().filter((network) => network.bridge === bridge)) {
      const detail = await this.#catalogue.ask(id);
      const asked: Promise<void>[] = [];
      for (const containerId of detail?.containers.keys() ?? []) {
        // Docker lists the gateways of swarm networks among the containers, under ids of their own kind.
        if (!/^[0-9a-f]{64}$/.test(containerId)) continue;
        const entry = this.#ensure(containerId);
        if (entry.attachments.get(id)?.veth) continue;
        if (entry.phase === "stopped") entry.phase = "joining";
        entry.joining.add(id);
        asked.push(this.#changed(entry));
      }
      await Promise.all(asked);
    }
    if (this.#stopped) return;
    if (this.#publication.byVeth(vethIndex) === undefined) {
      this.#options.log.debug(
        { veth: link.name, source },
        "a packet comes from a veth of no known container",
      );
    }
    // Either nobody is known yet, or an event is late or lost: then the lists tell whether it runs.
    this.#compareSoon();
  }

  #note(error: unknown, about: string): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.log.debug({ about, reason }, "could not learn about a container");
  }
}
