/** What the control API tells, put together from the parts: plain mapping, no logic of its own. */
import { readFileSync } from "node:fs";
import { stringify } from "yaml";
import { type Incident, type IncidentSummary, summaryOf } from "./audit/incident-record.ts";
import type { EvidenceRecord, EvidenceSummary } from "./container/evidence-store.ts";
import type { Container } from "./container/types.ts";
import type * as control from "./control/types.ts";
import type { ContainerReport, ControlDependencies, ModelReport, StatusReport } from "./control/types.ts";
import { version } from "./control/version.ts";
import type { Daemon, Parts } from "./daemon.ts";
import { TidesmanError } from "./errors.ts";
import { exemptionDependencies, exemptionReport } from "./exemption-reports.ts";
import type { PortEntry, Sightings } from "./model/model.ts";
import type { ModelDetail, ModelSummary, ModelChange as StoredChange } from "./model/store.ts";
import { MAX_MODEL_FILE, type ModelFile, modelFile } from "./model/transfer.ts";
import { protocolName } from "./packet/finding.ts";
import { inspectKernel } from "./packet/kernel.ts";
import { replayReport } from "./replay-report.ts";
import { auditContainer, findContainer, profileOf, why } from "./why.ts";

/** Hands the daemon to the control API. Everything throws TM_UNREACHABLE until the daemon has started. */
export function controlDependencies(daemon: Daemon): ControlDependencies {
  return {
    status: () => status(daemon),
    containers: async () =>
      daemon.parts.registry.list().map((container) => containerReport(daemon.parts, container)),
    models: async () => daemon.parts.models.list().map(modelReport),
    async model(key) {
      const model = daemon.parts.models.show(key);
      return model === undefined ? null : modelDetail(model);
    },
    async changeModel(key, change) {
      const model = daemon.parts.models.change(key, storedChange(change));
      // What listens is told once: a model that forgot it learns it by this.
      daemon.parts.sockets.policyChanged();
      return model === undefined ? null : modelReport(model);
    },
    exportModel: async (key) => daemon.parts.models.export(key) ?? null,
    importModel: async (file) => modelReport(daemon.parts.models.import(checkedFile(file))),
    maxModelFile: MAX_MODEL_FILE,
    audits: (filter) => daemon.parts.audits.query(filter),
    subscribe: (listener) => daemon.parts.audits.subscribe(listener),
    subscribeIncidents: (listener) =>
      daemon.parts.incidents.subscribe((incident, isNew) => listener(incidentSummary(incident), isNew)),
    incidents: async (all) => daemon.parts.incidents.list(all).map(incidentSummary),
    incident: async (id) => incidentReport(daemon.parts, daemon.parts.incidents.show(id)),
    acknowledgeIncident: async (id, note) =>
      incidentReport(daemon.parts, daemon.parts.incidents.acknowledge(id, note)),
    async closeIncident(id, note) {
      const incident = daemon.parts.incidents.close(id, note);
      // Somebody has seen to it: what was stopped until now counts no longer.
      if (incident.kind === "circuitBreaker") await daemon.parts.blocking.reset();
      return incidentReport(daemon.parts, incident);
    },
    evidenceList: async () => (await daemon.parts.evidence.list()).map(evidenceSummary),
    evidence: async (which) => evidenceReport(await daemon.parts.evidence.find(which)),
    feeds: async () => daemon.parts.revisions.feedReports(),
    updateFeeds: () => daemon.parts.revisions.updateFeeds("all"),
    loadFeeds: () => daemon.parts.revisions.loadFeeds(),
    policy: async () => policyReport(daemon),
    async reload() {
      const { revisions } = daemon.parts;
      const previousRevision = revisions.revision;
      const read = await revisions.reload();
      return {
        revision: revisions.revision,
        previousRevision,
        rules: read.policy.rules.length,
        notices: [...read.notices],
      };
    },
    replay: (request) => replayReport(daemon, request),
    why: (name, target) =>
      why(
        daemon.parts,
        { internal: daemon.internal(), lookupsRedirected: daemon.config.dns.redirect },
        findContainer(daemon.parts, name),
        target,
      ),
    ...exemptionDependencies(daemon),
    async unblock(name) {
      const { container, result, error } = await daemon.parts.blocker.unblock(name);
      const now = daemon.parts.registry.find(container.id);
      const message = {
        running: "it runs again",
        left: "it did not run when it was blocked, and was left as it is",
        gone: "it was removed meanwhile; nothing was left to undo",
        failed: `its traffic may pass, but it could not be started: ${error ?? "no reason given"}`,
      }[result];
      // The engine's event that says so may be on its way.
      const state = result === "running" ? "running" : (now?.state ?? "exited");
      return { id: container.id, name: container.name, state, message };
    },
  };
}

function incidentSummary(incident: IncidentSummary): control.IncidentSummary {
  return {
    ...incident,
    container: { ...incident.container, labels: { ...incident.container.labels } },
    attackTypes: [...incident.attackTypes],
  };
}

function evidenceSummary(summary: EvidenceSummary): control.EvidenceSummary {
  const { id, time, container, reason, action, result } = summary;
  return { id, time, container: { ...container, labels: { ...container.labels } }, reason, action, result };
}

function evidenceReport(record: EvidenceRecord): control.EvidenceReport {
  const { took, processes, sockets, interfaces, omitted, complete, recorder } = record;
  return {
    ...evidenceSummary(record),
    took,
    processes: [...processes],
    sockets: sockets.map((one) => ({ ...one, processes: [...one.processes] })),
    interfaces: interfaces.map((one) => ({ ...one, addresses: [...one.addresses] })),
    omitted,
    complete,
    recorder: [...recorder],
  };
}

async function incidentReport(parts: Parts, incident: Incident): Promise<control.IncidentReport> {
  const { audits, timeline, recorder, omitted, container } = incident;
  const evidence = (await parts.evidence.list()).filter((one) => one.container.id === container.id);
  return {
    ...incidentSummary(summaryOf(incident)),
    evidence: evidence.map(({ id }) => id),
    audits: [...audits],
    timeline: [...timeline],
    recorder: [...recorder],
    omitted,
  };
}

/** What an operator wants to know first: what it listens on, what it protects, where its state is. */
export function greeting(daemon: Daemon): readonly string[] {
  const { dns, network, failMode, docker } = daemon.config;
  const { places, parts, upstreams } = daemon;
  const { revisions } = parts;
  const source = revisions.read.text === null ? "built in" : `from ${places.policyFile}`;
  const rules = revisions.snapshot.policy.rules.length;
  const redirected = dns.redirect ? "; port 53 of every address is redirected there" : "";
  return [
    `lookups: port ${dns.port} of container bridges, UDP and TCP${redirected}; forwarded to ${upstreams.map(endpoint).join(", ")}`,
    `connections: of ${network.interfaces.join(", ")} and the engine's bridges, by queue ${network.queue}, fail mode ${failMode}`,
    `containers: of the engine at ${docker.socket}`,
    `policy: revision ${revisions.revision}, ${rules} ${rules === 1 ? "rule" : "rules"} ${source}`,
    `raw sockets: found by ${parts.sockets.rawSource.source === "trace" ? "tracing" : "looking at tables"}${parts.sockets.rawSource.reason === null ? "" : ` (${parts.sockets.rawSource.reason})`}`,
    `control: ${places.runtimeDirectory}/control.sock; state: ${places.stateDirectory}`,
  ];
}

/** `ADDRESS:PORT`, an IPv6 address in brackets. */
const endpoint = ({ address, port }: { readonly address: string; readonly port: number }): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();
const isoOrNull = (milliseconds: number): string | null => (milliseconds === 0 ? null : iso(milliseconds));

function containerReport(parts: Parts, container: Container): ContainerReport {
  const profile = profileOf(parts, container);
  const { state, pid, startedAt, networkMode, networks } = container;
  return {
    ...auditContainer(container),
    state,
    pid,
    startedAt: isoOrNull(startedAt),
    networkMode,
    networks: networks.map(({ name, bridge, veth, addresses }) => ({
      name,
      bridge,
      veth,
      addresses: [...addresses],
    })),
    rule: profile.rule,
    dnsEffect: profile.dnsEffect,
    networkEffect: profile.networkEffect,
    model: profile.model === null ? null : { key: profile.model.key, state: profile.model.state },
  };
}

function modelReport(model: ModelSummary): ModelReport {
  const { learnedTime, learningTime, trialUntil, createdAt, changedAt, ...rest } = model;
  return {
    key: rest.key,
    image: rest.image,
    state: rest.state,
    learned: learnedTime / 1000,
    learningTime: learningTime / 1000,
    containers: rest.containers,
    names: rest.names,
    outboundPorts: rest.outboundPorts,
    listeningPorts: rest.listeningPorts,
    internalDestinations: rest.internalDestinations,
    locked: rest.locked,
    trialUntil: trialUntil === null ? null : iso(trialUntil),
    predecessor: rest.predecessor,
    saturation: rest.saturation,
    trust: rest.trust,
    dropped: rest.dropped,
    createdAt: iso(createdAt),
    changedAt: iso(changedAt),
  };
}

function storedChange(change: control.ModelChange): StoredChange {
  return change.action === "extend" ? { ...change, time: change.time * 1000 } : change;
}

/** Problems of a model's file that are told at once. */
const MAX_TOLD = 20;

function checkedFile(file: unknown): ModelFile {
  const { success, data, error } = modelFile.safeParse(file);
  if (success) return data;
  const told = error.issues.slice(0, MAX_TOLD).map(({ path, message }) => `${path.join(".")}: ${message}`);
  const left = error.issues.length - told.length;
  const more = left === 0 ? "" : `; and ${left} more`;
  throw new TidesmanError("TM_USAGE", `the file holds no model: ${told.join("; ")}${more}`, { cause: error });
}

function modelDetail(model: ModelDetail): control.ModelDetail {
  const sightings = ({ firstSeen, lastSeen, count, container, inherited = false }: Sightings) => ({
    firstSeen: iso(firstSeen),
    lastSeen: iso(lastSeen),
    count,
    container,
    inherited,
  });
  const port = (entry: PortEntry) => ({
    protocol: protocolName(entry.protocol),
    port: entry.port,
    ...sightings(entry),
  });
  const { names, outboundPorts, listeningPorts, internalDestinations } = model.entries;
  return {
    ...modelReport(model),
    entries: {
      names: names.map(({ name, members = [], ...seen }) => ({
        name,
        ...sightings(seen),
        members: [...members],
      })),
      outboundPorts: outboundPorts.map(port),
      listeningPorts: listeningPorts.map(port),
      internalDestinations: internalDestinations.map((one) => ({ subnet: one.subnet, ...port(one) })),
    },
  };
}

function policyReport(daemon: Daemon): Awaited<ReturnType<ControlDependencies["policy"]>> {
  const { revisions } = daemon.parts;
  const { read, snapshot } = revisions;
  return {
    revision: snapshot.revision,
    file: read.text === null ? null : daemon.places.policyFile,
    loadedAt: iso(revisions.loadedAt),
    text: read.text ?? stringify(read.policy),
    rules: read.policy.rules,
    notices: [...read.notices],
  };
}

async function status(daemon: Daemon): Promise<StatusReport> {
  const { parts, config, places, clock } = daemon;
  const { registry, revisions, audits, incidents, models, blocker, blocking } = parts;
  const data = await parts.data.stats();
  if (data === null)
    throw new TidesmanError("TM_UNREACHABLE", "the data thread does not answer; restart the daemon");
  const { dns, packets } = data;
  const kernel = queueCounters(config.network.queue);
  const containers = registry.list();
  const { connected, error } = registry.state;
  const states = models.list().map((model) => model.state);
  const stored = audits.stats();
  return {
    version: version(),
    host: config.host,
    pid: process.pid,
    startedAt: iso(daemon.startedAt),
    uptime: Math.round((clock.now() - daemon.startedAt) / 1000),
    failMode: config.failMode,
    docker: {
      state: connected ? "connected" : error?.includes("permi") ? "notPermitted" : "waiting",
      socket: config.docker.socket,
      version: connected ? parts.docker.engine : null,
      error,
    },
    networks: registry.networks().map(({ id, name, bridge, subnets }) => {
      const attached = containers.filter(({ networks }) => networks.some((network) => network.id === id));
      const veths = attached.filter(({ networks }) =>
        networks.some((network) => network.id === id && network.vethIndex !== 0),
      );
      return { id, name, bridge, subnets: [...subnets], containers: attached.length, veths: veths.length };
    }),
    listening: [
      { use: "dns", protocol: "udp", address: `0.0.0.0:${config.dns.port}` },
      { use: "dns", protocol: "udp", address: `[::]:${config.dns.port}` },
      { use: "dns", protocol: "tcp", address: `0.0.0.0:${config.dns.port}` },
      { use: "dns", protocol: "tcp", address: `[::]:${config.dns.port}` },
      { use: "control", protocol: "unix", address: `${places.runtimeDirectory}/control.sock` },
      ...(config.console.port === 0
        ? []
        : [{ use: "console" as const, protocol: "tcp" as const, address: endpoint(config.console) }]),
    ],
    containers: {
      total: containers.length,
      running: containers.filter(({ state }) => state === "running").length,
      blocked: blocker.blocked().map(({ id, name, action, reason, time }) => ({
        id,
        name,
        action,
        reason,
        since: iso(time),
      })),
    },
    block: {
      action: config.block.action,
      stoppedLately: blocker.stoppedLately,
      refused: blocking.refused,
      spared: [...blocking.spared()],
    },
    dns: { ...counters(dns, ["lastError"]), upstreams: daemon.upstreams.map(endpoint) },
    packets: counters(packets, ["queue"]),
    queue: {
      number: config.network.queue,
      length: config.network.queueLength,
      waiting: kernel.waiting,
      overflow: kernel.overflow,
      overruns: packets.queue.overruns,
      rateGuard: parts.findings.rateGuardDrops,
      verdictErrors: packets.queue.verdictErrors,
    },
    policy: {
      revision: revisions.revision,
      file: revisions.read.text === null ? null : places.policyFile,
      rules: revisions.snapshot.policy.rules.length,
      loadedAt: iso(revisions.loadedAt),
      lastError:
        revisions.lastError === null
          ? null
          : { time: iso(revisions.lastError.time), message: revisions.lastError.message },
    },
    feeds: revisions.feedReports(),
    models: {
      learning: states.filter((state) => state === "learning").length,
      active: states.filter((state) => state === "active").length,
      archived: states.filter((state) => state === "archived").length,
      manual: states.filter((state) => state === "manual").length,
    },
    exemptions: parts.exemptions.list().map(exemptionReport),
    rawSockets: parts.sockets.rawSource,
    audits: { ...stored, oldest: stored.oldest === null ? null : iso(stored.oldest) },
    incidents: incidents.stats(),
    dropped: data.dropped,
    warnings: [...daemon.warnings, ...inspectKernel(), ...coverageWarnings(containers)],
  };
}

function counters<Stats extends object, Left extends keyof Stats>(
  stats: Stats,
  left: readonly Left[],
): Omit<Stats, Left> {
  const rest: Partial<Stats> = { ...stats };
  for (const key of left) delete rest[key];
  return rest as Omit<Stats, Left>;
}

/** Containers that cross no guarded bridge are not seen; an operator has to know which. */
function coverageWarnings(containers: readonly Container[]): string[] {
  const unseen = containers.filter(
    ({ state, networkMode, networks }) =>
      state === "running" && (networkMode === "host" || networks.some(({ bridge }) => bridge === "")),
  );
  if (unseen.length === 0) return [];
  const names = unseen.map(({ name }) => name).join(", ");
  return [`not seen, because they cross no bridge of this host (host network, macvlan): ${names}`];
}

/** Packets that wait in the kernel's queue, and that found it full (nfnetlink_queue.c, seq_show). */
function queueCounters(number: number): { readonly waiting: number; readonly overflow: number } {
  let text = "";
  try {
    text = readFileSync("/proc/self/net/netfilter/nfnetlink_queue", "utf8");
  } catch {
    // A kernel without procfs for it has the numbers nowhere else; zero is what an absent queue has, too.
  }
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/).map(Number);
    if (fields[0] === number) return { waiting: fields[2] ?? 0, overflow: fields[5] ?? 0 };
  }
  return { waiting: 0, overflow: 0 };
}
