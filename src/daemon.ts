/**
 * The only wiring. Starting and stopping have an order, and each step its reason:
 *
 *  1. the files, so that what is wrong with them is said before anything is touched;
 *  2. the control socket, so that two daemons never share a firewall;
 *  3. audits and models: what decisions lead to, and what they rest on;
 *  4. the data thread: queue and sockets are open before any rule sends traffic there;
 *  5. the rule set, then the heartbeat that lets traffic through it;
 *  6. the registry, which tells who the containers are;
 *  7. readiness.
 *
 * Stopping is the reverse: rules go (in open mode) before the queue closes, and what was found is stored before the log
 * closes.
 *
 * Length: it is one list of who is handed what; cut in two, the order would be lost between the halves.
 */
import { join } from "node:path";
import { IncidentLog } from "./audit/incidents.ts";
import { AuditLog } from "./audit/store.ts";
import { Blocking } from "./blocking.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Config, Places } from "./config.ts";
import { Blocker } from "./container/block.ts";
import { DockerClient } from "./container/docker.ts";
import { addressesOf } from "./container/entry.ts";
import { EvidenceTaker } from "./container/evidence.ts";
import { EvidenceStore } from "./container/evidence-store.ts";
import { Registry } from "./container/registry.ts";
import type { Container, RegistryChange } from "./container/types.ts";
import { openConsole } from "./control/console.ts";
import { openControl } from "./control/server.ts";
import { DataThread } from "./data-thread-handle.ts";
import { upstreamsOf } from "./dns/resolvconf.ts";
import type { UpstreamAddress } from "./dns/upstream-server.ts";
import { EXIT, TidesmanError } from "./errors.ts";
import { GivenExemptions } from "./exemptions.ts";
import { Findings } from "./findings.ts";
import { type Log, partLog, systemLogger } from "./log.ts";
import type { ModelSnapshot } from "./model/model.ts";
import { ModelStore } from "./model/store.ts";
import { loadNative } from "./native/native.ts";
import type { Native } from "./native/types.ts";
import { InternalPrefixes } from "./packet/internet.ts";
import { Ruleset } from "./packet/ruleset.ts";
import type { Exemption } from "./policy/exemption.ts";
import { normalizeImage } from "./policy/rules.ts";
import { mayBlock } from "./policy/schema.ts";
import { controlDependencies, greeting } from "./reports.ts";
import { Revisions } from "./revisions.ts";
import { run } from "./run.ts";
import { configNews, makeDirectory, readAll, readText } from "./settings.ts";
import { SocketWatch } from "./socket-watch.ts";
import { surroundingsOf } from "./surroundings.ts";
import { type Notifier, systemdNotifier, takeListenSockets } from "./systemd.ts";
import type { Snapshot, Surroundings } from "./thread.ts";
import { auditContainer } from "./why.ts";

/** How often the kernel's counters are read for what the rate guard dropped; milliseconds. */
const FLOOD_INTERVAL = 5_000;
const LOOKUP_PORT = 53;
/** How often it is asked whether a feed has grown stale; milliseconds. */
const STALE_INTERVAL = 60_000;
/** How often the time of running containers is added to their models; milliseconds. */
const MODEL_INTERVAL = 1_000;
/** How often the data thread is asked whether it lives; three silences and the watchdog is not fed; milliseconds. */
const HEALTH_INTERVAL = 2_000;

/** Runs until SIGTERM or SIGINT. Returns the exit status; throws the TidesmanError that kept it from starting. */
export async function runDaemon(places: Places): Promise<number> {
  // Before the files are read a reload has nothing to do; while it starts, it waits.
  let starting: Promise<void> | undefined;
  process.on("SIGHUP", () => {
    const reload = starting?.then(
      () => daemon.reloadOnSignal(),
      () => undefined,
    );
    reload?.catch((error: unknown) => log.error({ error }, "the reload failed"));
  });
  const config = readAll(places);
  const log = systemLogger(config.log.level);
  const daemon = new Daemon(places, config, log, systemClock);
  const ended = new Promise<number>((resolve) => {
    daemon.onFatal = (error) => {
      log.fatal({ error }, "the daemon cannot go on");
      resolve(EXIT.found);
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(EXIT.ok));
  });
  // Keeps the process alive by itself: all timers of ours let it end.
  const alive = setInterval(() => undefined, 3_600_000);
  starting = daemon.start();
  try {
    await Promise.race([starting, ended]);
    return await ended;
  } finally {
    // Told to stop while it starts, it first comes up: what is half made cannot be undone.
    await starting.catch(() => undefined);
    await daemon.stop();
    clearInterval(alive);
  }
}

export class Daemon {
  readonly places: Places;
  readonly config: Config;
  readonly clock: Clock;
  readonly startedAt: number;
  /** Called once when the daemon can no longer do its work. */
  onFatal: (error: Error) => void = () => undefined;
  readonly #log: Log;
  readonly #native: Native;
  readonly #notifier: Notifier;
  readonly #warnings = new Set<string>();
  /** Undone in reverse order when the daemon stops. */
  readonly #closers: (() => Promise<void> | void)[] = [];
  #parts: Parts | undefined;
  #upstreams: readonly UpstreamAddress[] = [];
  /** State of each model when it was last told. */
  readonly #modelStates = new Map<string, string>();
  /** Containers whose old lookups were forgotten. */
  readonly #met = new Set<string>();
  #bridges = "";
  #healthyAt: number;

  /** Throws TM_NATIVE_MISSING when the addon was not built. */
  constructor(places: Places, config: Config, log: Log, clock: Clock) {
    this.places = places;
    this.config = config;
    this.clock = clock;
    this.startedAt = clock.now();
    this.#log = log;
    this.#healthyAt = clock.monotonic();
    this.#native = loadNative();
    this.#notifier = systemdNotifier({ environment: process.env, clock, onError: (text) => log.warn(text) });
  }

  /** Throws TM_UNREACHABLE while the daemon is still starting. */
  get parts(): Parts {
    if (this.#parts !== undefined) return this.#parts;
    throw new TidesmanError("TM_UNREACHABLE", "the daemon is still starting; try again in a moment");
  }

  /** What an operator should put right. */
  get warnings(): readonly string[] {
    return [...this.#warnings];
  }

  /** Where lookups are forwarded to. */
  get upstreams(): readonly UpstreamAddress[] {
    return this.#upstreams;
  }

  /** Identifiers of all containers; null while the runtime does not tell. */
  #existing(): ReadonlySet<string> | null {
    const registry = this.#parts?.registry;
    if (registry === undefined || !registry.state.connected) return null;
    return new Set(registry.list().map(({ id }) => id));
  }

  /** What does not count as Internet now. */
  internal(): InternalPrefixes {
    return new InternalPrefixes([...this.#surroundings().internal, ...this.config.network.internal]);
  }

  #surroundings(): Surroundings {
    const networks = this.#parts?.registry.networks() ?? [];
    return surroundingsOf(this.#native.links(), networks, this.config.network.interfaces);
  }

  async start(): Promise<void> {
    const { config, clock, places } = this;
    this.#upstreams = upstreamsOf(config.dns, (path) => readText(path, "TM_CONFIG") ?? "");
    const revisions = await Revisions.first({
      places,
      host: config.host,
      clock,
      install: (snapshot) => this.#install(snapshot),
      warn: (message) => this.#warn(message),
    });
    for (const { file, line, message } of revisions.read.notices)
      this.#log.warn(`${file}:${line}: ${message}`);
    makeDirectory(places.stateDirectory, 0o700);
    makeDirectory(places.runtimeDirectory, 0o755);

    const api = { dependencies: controlDependencies(this), clock, log: partLog(this.#log, "control") };
    const { runtimeDirectory, stateDirectory } = places;
    const control = await openControl({ runtimeDirectory, group: config.control.group, ...api });
    this.#closers.push(() => control.close());
    const webConsole = await openConsole({ ...config.console, stateDirectory, ...api });
    this.#closers.push(() => webConsole?.close());

    const audits = await AuditLog.open({
      file: join(places.stateDirectory, "audits.db"),
      host: config.host,
      ...config.audits,
      clock,
      onNotice: (message) => this.#log.warn({ part: "audits" }, message),
    });
    this.#closers.push(() => audits.close());
    const incidents = new IncidentLog({
      file: join(places.stateDirectory, "incidents.db"),
      host: config.host,
      clock,
      limits: config.incidents,
      containers: () => this.#existing(),
      onNotice: (message) => this.#log.warn({ part: "incidents" }, message),
    });
    this.#closers.push(() => incidents.stop());
    const models = new ModelStore({
      file: join(places.stateDirectory, "models.db"),
      clock,
      ...config.models,
      onChange: (snapshot) => this.#modelChanged(snapshot),
      onRemove: (key) => this.#modelRemoved(key),
      ...(config.models.auditUpdates ? { onNews: (news) => this.#parts?.findings.newAfterUpdate(news) } : {}),
      onNotice: (message) => this.#log.warn({ part: "models" }, message),
    });
    this.#closers.push(() => models.close());

    for (const model of models.snapshot()) this.#modelStates.set(model.key, stateOf(model));
    const data = await DataThread.start(
      {
        config,
        upstreams: this.#upstreams,
        snapshot: revisions.snapshot,
        models: models.snapshot(),
        surroundings: this.#surroundings(),
        sockets: takeListenSockets(process.env, (message) => this.#log.warn(message)),
      },
      {
        events: (findings, observations) => {
          const parts = this.#parts;
          // First, so that a finding takes out of a model what came with it.
          if (observations.length > 0) models.observe(observations);
          for (const finding of findings) parts?.findings.audit(parts.blocking.told(finding));
          incidents.saw(observations);
        },
        block: (container, finding) => this.parts.blocking.cutOff(container, finding),
        unknown: (vethIndex, source) => this.#parts?.registry.hint(vethIndex, source),
        failure: (message, count) => this.#log.error({ part: "data", count }, `failed to decide: ${message}`),
        lapsed: () => this.#forgetLookups(running(this.parts.registry)),
        died: (error) => this.onFatal(error),
      },
      clock,
    );
    this.#closers.push(() => data.stop());

    const ruleset = new Ruleset({
      config: config.network,
      dns: { port: config.dns.port, redirect: config.dns.redirect, rate: config.dns.rate },
      failMode: config.failMode,
      run,
      clock,
      native: this.#native,
      warn: (message) => this.#warn(message),
    });
    this.#closers.push(() => {
      data.send({ kind: "disarmed" });
      return ruleset.remove();
    });
    await ruleset.install([]);
    data.send({ kind: "armed" });

    const log = partLog(this.#log, "containers");
    const docker = new DockerClient({ socket: config.docker.socket });
    const taker = new EvidenceTaker({ native: this.#native, clock });
    this.#closers.push(() => taker.stop());
    if (canBlock(revisions.snapshot)) taker.start();
    const evidence = new EvidenceStore({
      directory: join(places.stateDirectory, "evidence"),
      onNotice: (message) => log.warn({}, message),
    });
    const blocker = await Blocker.open({
      docker,
      native: this.#native,
      clock,
      ...config.block,
      file: join(places.stateDirectory, "blocked.json"),
      cut: (id, on, addresses) => {
        data.send({ kind: "cut", container: id, cut: on });
        this.#inBackground(on ? ruleset.cut(addresses) : ruleset.uncut(addresses));
      },
      onChange: (id) => this.#parts?.registry.touch(id),
      evidence: {
        take: (container) => taker.take(container),
        save: (container, taken, about) =>
          evidence.save({
            ...about,
            container: auditContainer(container),
            ...taken,
            recorder: incidents.recorder(container.id),
          }),
      },
      log,
    });
    this.#closers.push(() => blocker.stop());
    const exemptions = await GivenExemptions.open({
      file: join(places.stateDirectory, "exemptions.json"),
      clock,
      log: partLog(this.#log, "exemptions"),
      apply: (id, list) => this.#exempt(id, list),
    });
    this.#closers.push(() => exemptions.stop());
    const registry = new Registry({
      docker,
      native: this.#native,
      clock,
      normalizeImage,
      onChange: (change) => this.#containersChanged(change),
      onState: ({ connected, error }) => {
        if (connected) log.info(`following the container engine at ${config.docker.socket}`);
        else if (error !== null) log.warn(`${error}; waiting for it`);
      },
      isBlocked: (id) => blocker.isBlocked(id),
      log,
    });
    this.#closers.push(() => registry.stop());
    const sockets = new SocketWatch({
      parts: () => this.parts,
      native: this.#native,
      clock,
      log: partLog(this.#log, "sockets"),
      config: config.detectors.sockets,
    });
    this.#closers.push(() => sockets.stop());
    const blocking = new Blocking({ blocker, registry, data, clock, log });
    const findings = new Findings({
      audits,
      incidents,
      registry,
      models,
      revisions,
      clock,
      native: this.#native,
    });
    this.#parts = {
      audits,
      incidents,
      models,
      revisions,
      data,
      ruleset,
      docker,
      blocker,
      blocking,
      exemptions,
      taker,
      evidence,
      registry,
      sockets,
      findings,
    };
    // What changed since the data thread was given them.
    for (const model of models.snapshot()) this.#modelChanged(model);
    this.#inBackground(exemptions.start());
    sockets.start();
    registry.start();
    this.#watchOver();
    for (const line of greeting(this)) this.#log.info(line);
    // Lists of this host may have changed while nobody ran; what is in force serves meanwhile.
    this.#inBackground(revisions.updateFeeds("none"));
    await this.#notifier.ready(`revision ${revisions.revision}, fail mode ${config.failMode}`);
  }

  /** Undoes what was done, the last first. A step that fails does not keep the others from being undone. */
  async stop(): Promise<void> {
    void this.#notifier.stopping();
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        this.#log.error({ error }, "could not stop cleanly");
      }
    }
  }

  #watchOver(): void {
    const { data, ruleset, registry, models, findings, revisions } = this.parts;
    const watch = ruleset.watch((detail) => {
      this.#log.warn({ part: "rules" }, `somebody changed our rules; they are in place again: ${detail}`);
      findings.rulesetChanged(detail);
    });
    const watchdog = this.#notifier.watch(
      () => this.clock.monotonic() - this.#healthyAt < 3 * HEALTH_INTERVAL,
    );
    this.#closers.push(
      () => watch.close(),
      () => watchdog.cancel(),
      this.#native.watchLinks(() => this.#surroundingsChanged()),
    );
    const every = (ms: number, task: () => Promise<void>): void => {
      const timer = this.clock.every(ms, () => this.#inBackground(task()));
      this.#closers.push(() => timer.cancel());
    };
    every(FLOOD_INTERVAL, async () => findings.floods(await ruleset.readFloods()));
    every(STALE_INTERVAL, async () => findings.staleFeeds(revisions.feedReports()));
    every(MODEL_INTERVAL, async () => models.running(running(registry)));
    every(HEALTH_INTERVAL, async () => {
      if ((await data.stats()) !== null) this.#healthyAt = this.clock.monotonic();
    });
  }

  /** For what nobody waits for: a failure is logged, and ends nothing. */
  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#log.error({ error }, error instanceof Error ? error.message : ""));
  }

  #warn(message: string): void {
    this.#warnings.add(message);
    this.#log.warn(message);
  }

  // ---------------------------------------------------------------------------------------------- what happens

  #containersChanged(change: RegistryChange): void {
    const { registry, data, blocker, exemptions, ruleset, models, findings, sockets } = this.parts;
    for (const id of change.remove) {
      const container = registry.find(id);
      if (container !== undefined) findings.ended(container);
    }
    // At once, before the runtime gives the address to somebody else: the next owner inherits no connection.
    this.#inBackground(
      Promise.try(() => change.gone.map((address) => this.#native.conntrackDelete(address))),
    );
    // Before the containers, whose held packets are decided by it as soon as they are known.
    models.running(running(registry));
    data.send({ kind: "containers", upsert: change.upsert, remove: change.remove });
    for (const { id } of change.upsert) {
      if (blocker.isBlocked(id)) data.send({ kind: "cut", container: id, cut: true });
    }
    this.#forgetLookups(change.upsert.filter(({ id }) => !this.#met.has(id)));
    for (const { id } of change.upsert) this.#met.add(id);
    for (const id of change.remove) this.#met.delete(id);
    exemptions.gone(change.remove);
    blocker.observe(change);
    sockets.containersChanged(change.upsert, change.remove);
    this.#inBackground(
      ruleset.uncut(change.gone).then(() => ruleset.setKnown(running(registry).flatMap(addressesOf))),
    );
    if (change.networks !== undefined) this.#surroundingsChanged();
  }

  /**
   * Where the kernel sends the packets of a flow is settled by the first: one to port 53 that began while nobody
   * redirected it would go on past us for ever. Forgotten, its next packet is a first one again.
   */
  #forgetLookups(containers: readonly Container[]): void {
    if (!this.config.dns.redirect) return;
    for (const address of containers.flatMap(addressesOf)) this.#native.conntrackDelete(address, LOOKUP_PORT);
  }

  /** When it returns the data thread decides by them, and what is under way is judged again. */
  async #exempt(id: string, list: readonly Exemption[]): Promise<void> {
    const { data, registry, ruleset } = this.parts;
    data.send({ kind: "exemptions", container: id, exemptions: list });
    if ((await data.stats()) === null)
      throw new TidesmanError("TM_UNREACHABLE", "the data thread does not answer; restart the daemon");
    const container = registry.find(id);
    for (const address of container === undefined ? [] : addressesOf(container)) ruleset.requeue(address);
  }

  /** New entries need no new revision; a model that changes its state does: what was decided before is stale. */
  #modelChanged(snapshot: ModelSnapshot): void {
    if (this.#parts === undefined) return;
    const { data, revisions } = this.#parts;
    data.send({ kind: "models", models: [snapshot], remove: [] });
    const before = this.#modelStates.get(snapshot.key);
    const state = stateOf(snapshot);
    this.#modelStates.set(snapshot.key, state);
    if (before !== undefined && before !== state) this.#inBackground(revisions.renew());
  }

  #modelRemoved(key: string): void {
    this.#modelStates.delete(key);
    this.#parts?.data.send({ kind: "models", models: [], remove: [key] });
  }

  /** Bridges came, went, or got other addresses. */
  #surroundingsChanged(): void {
    const { registry, data, ruleset } = this.parts;
    const networks = registry.networks();
    data.send({ kind: "surroundings", surroundings: this.#surroundings() });
    const bridges = [...new Set(networks.map((network) => network.bridge))].sort();
    if (bridges.join(" ") === this.#bridges) return;
    this.#bridges = bridges.join(" ");
    this.#inBackground(ruleset.install(bridges));
  }

  // ---------------------------------------------------------------------------------------------- reloading

  async reloadOnSignal(): Promise<void> {
    await this.#notifier.reloading();
    const news = configNews(this.places, this.config);
    if (news !== null) this.#log.warn(news);
    for (const refusal of await this.parts.revisions.reloadAll()) this.#log.error(refusal);
    await this.#notifier.ready(
      `revision ${this.parts.revisions.revision}, fail mode ${this.config.failMode}`,
    );
  }

  /**
   * Puts a snapshot in force on the data thread. When it decides there, flows that were judged before lose their mark, so
   * that their next packet is judged again: a change of verdict also ends what is under way.
   */
  async #install(snapshot: Snapshot): Promise<void> {
    const { data, registry, ruleset } = this.parts;
    const installed = data.installed(snapshot.revision);
    data.send({ kind: "snapshot", snapshot });
    await installed;
    for (const address of running(registry).flatMap(addressesOf)) ruleset.requeue(address);
    this.parts.sockets.policyChanged();
    if (canBlock(snapshot)) this.parts.taker.start();
    const rules = snapshot.policy.rules.length;
    this.#log.info(
      { part: "policy", revision: snapshot.revision },
      `${rules} ${rules === 1 ? "rule" : "rules"} in force`,
    );
  }
}

/** What the daemon is made of, once it has started. */
export interface Parts {
  readonly audits: AuditLog;
  readonly incidents: IncidentLog;
  readonly models: ModelStore;
  readonly revisions: Revisions;
  readonly data: DataThread;
  readonly ruleset: Ruleset;
  readonly docker: DockerClient;
  readonly blocker: Blocker;
  readonly blocking: Blocking;
  readonly exemptions: GivenExemptions;
  readonly taker: EvidenceTaker;
  readonly evidence: EvidenceStore;
  readonly registry: Registry;
  readonly sockets: SocketWatch;
  readonly findings: Findings;
}

/** What of a model decides whether decisions taken before still hold. */
function stateOf({ state, learning }: ModelSnapshot): string {
  return `${state} ${learning}`;
}

/** Whether the worker that takes evidence should be at hand: it costs some 15 MB (twice as much from TypeScript). */
function canBlock({ policy, feeds }: Snapshot): boolean {
  return mayBlock(policy) || feeds.sources.some(({ effect }) => effect === "block");
}

function running(registry: Registry): readonly Container[] {
  return registry.list().filter(({ state, networks }) => state !== "exited" && networks.length > 0);
}
