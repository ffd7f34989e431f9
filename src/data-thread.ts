/**
 * The data thread: DNS sockets, packet queue, policy, provenance and answer cache, wired together in a worker of their
 * own, so that a busy main thread never delays a lookup or a packet. It touches no disk, no database and no runtime API.
 * Snapshots come down, findings and observations go up (see thread.ts).
 *
 * Length: the only wiring of this thread, as daemon.ts is of the other.
 */
import { randomInt } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { formatAddress, parseAddress } from "./address.ts";
import { systemClock } from "./clock.ts";
import { ContainerTable, type Resident } from "./container/table.ts";
import type { Container } from "./container/types.ts";
import { weighDetection } from "./detections.ts";
import { portScanOptions } from "./detector-config.ts";
import { type DnsServer, startDns } from "./dns/server.ts";
import { TidesmanError } from "./errors.ts";
import { openFeeds } from "./feed/index.ts";
import { LookupWatch } from "./lookup-watch.ts";
import { type ModelSnapshot, modelKey } from "./model/model.ts";
import { type MutableModelView, openModel } from "./model/view.ts";
import { loadNative } from "./native/native.ts";
import { InternalPrefixes } from "./packet/internet.ts";
import { type PacketHandler, startPackets } from "./packet/queue.ts";
import { ALIVE_ENTRIES, ALIVE_TIMEOUT, SETS } from "./packet/sets.ts";
import { type Exemption, Exemptions } from "./policy/exemption.ts";
import { compilePolicy } from "./policy/policy.ts";
import type { Finding, Observation, Policy, Profile } from "./policy/types.ts";
import { PortScans } from "./port-scans.ts";
import type {
  Answer,
  DataThreadStart,
  FromDataThread,
  Question,
  Snapshot,
  Surroundings,
  ToDataThread,
} from "./thread.ts";

if (parentPort === null) throw new TidesmanError("TM_INTERNAL", "the data thread runs as a worker only");
const port = parentPort;

/** Findings and observations wait at most this long before they go up; milliseconds. */
const BATCH_DELAY = 5;
const BATCH_SIZE = 512;
const HEARTBEAT = 1000;

const native = loadNative();
const start = workerData as DataThreadStart;
const { config } = start;
const table = new ContainerTable();
const models = new Map<string, MutableModelView>();
/** By container. */
const exemptions = new Map<string, Exemptions>();

let policy: Policy;
let surroundings: Surroundings;
let served = new Set<number>();
let internal: InternalPrefixes;
let dns: DnsServer | undefined;
let rulesInForce = "";
const lookups = new LookupWatch({
  clock: systemClock,
  seed: randomInt(0x1_0000_0000),
  config: config.detectors,
  policy: () => policy,
  report,
});
const scans = new PortScans<Resident>({
  native,
  clock: systemClock,
  detector: { ...portScanOptions(config.detectors.portScan), seed: randomInt(0x1_0000_0000) },
  detected(detection, resident) {
    if (resident.profile === null) return;
    const about = { container: resident.container.id, profile: resident.profile, name: null };
    const { finding } = weighDetection(policy, detection, { ...about, time: systemClock.now() });
    if (finding !== null) report(finding, resident);
  },
  failed: (error) => send({ kind: "failure", message: error.message, count: 1 }),
});
let packets: PacketHandler | undefined;

function send(message: FromDataThread): void {
  port.postMessage(message);
}

// ------------------------------------------------------------------------------------------------ what goes up

let findings: Finding[] = [];
let observations: Observation[] = [];
let outstanding = 0;
let timer: { cancel(): void } | undefined;
const dropped = { findings: 0, observations: 0 };

function flush(): void {
  timer?.cancel();
  timer = undefined;
  if (findings.length + observations.length === 0) return;
  outstanding += findings.length + observations.length;
  send({ kind: "events", findings, observations });
  findings = [];
  observations = [];
}

function waiting(): void {
  if (findings.length + observations.length >= BATCH_SIZE) flush();
  else timer ??= systemClock.after(BATCH_DELAY, flush);
}

function room(): boolean {
  return outstanding + findings.length + observations.length < config.audits.queue;
}

/**
 * A finding goes up. `block` also cuts the container off here and now, in the kernel: every address of it enters the
 * set that the rules drop, microseconds after the packet or lookup that caused it was dropped.
 */
function report(finding: Finding, resident: Resident): void {
  if (finding.effect === "block" && !resident.cut && !spared.has(resident)) {
    cut(resident, true);
    send({ kind: "block", container: resident.container.id, finding });
  }
  if (room()) {
    findings.push(finding);
    waiting();
  } else {
    dropped.findings += finding.count;
  }
}

/** Of a container that scans no ports or places are learned; its names are. */
function observe(observation: Observation): void {
  const resident = observation.kind === "name" ? undefined : table.byId(observation.container);
  if (resident !== undefined && scans.isScanning(resident)) return;
  if (room()) {
    observations.push(observation);
    waiting();
  } else {
    dropped.observations++;
  }
}

function unknown(vethIndex: number, source: string): void {
  send({ kind: "unknown", vethIndex, source });
}

// ------------------------------------------------------------------------------------------------ what comes down

/** Addresses of each cut container that stand in the kernel's sets. */
const cutAddresses = new Map<string, Set<string>>();

/** A set may have been taken away by somebody: that is told, and must not undo the decision that led here. */
function inKernel(change: () => void): void {
  try {
    change();
  } catch (error) {
    send({ kind: "failure", message: error instanceof Error ? error.message : String(error), count: 1 });
  }
}

/** Those that the circuit breaker keeps from being stopped. */
const spared = new WeakSet<Resident>();

function spare(resident: Resident): void {
  spared.add(resident);
  if (resident.container.state !== "blocked") cut(resident, false);
}

/** Cuts a container off or lets it go. Addresses it has lost leave the sets, so that their next owner is not cut. */
function cut(resident: Resident, on: boolean): void {
  resident.cut = on;
  const wanted = new Set(on ? resident.container.networks.flatMap((network) => network.addresses) : []);
  release(resident.container.id, wanted);
  for (const address of wanted) {
    inKernel(() => native.ipsetAdd(address.includes(":") ? SETS.cut6 : SETS.cut4, address));
  }
  if (on) cutAddresses.set(resident.container.id, wanted);
}

function release(id: string, keep: ReadonlySet<string>): void {
  for (const address of cutAddresses.get(id) ?? []) {
    if (keep.has(address)) continue;
    inKernel(() => native.ipsetDelete(address.includes(":") ? SETS.cut6 : SETS.cut4, address));
  }
  cutAddresses.delete(id);
}

function modelOf(container: Container): MutableModelView | null {
  const key = modelKey(container);
  return key === null ? null : (models.get(key) ?? null);
}

function profileOf(container: Container): Profile {
  return policy.profileFor(container, modelOf(container), exemptions.get(container.id) ?? null);
}

/** A profile of its own has an index of its own, so that nothing decided before holds for it, and the reverse. */
function exempt(id: string, list: readonly Exemption[]): void {
  if (list.length === 0) exemptions.delete(id);
  else exemptions.set(id, new Exemptions(list));
  const resident = table.byId(id);
  if (resident !== undefined) resident.profile = profileOf(resident.container);
}

/** Feeds alone are taken over without compiling a rule again: no lookup waits for that. */
function install(snapshot: Snapshot): void {
  const { revision } = snapshot;
  const feeds = openFeeds(snapshot.feeds, { trusted: true });
  const rules = JSON.stringify(snapshot.policy);
  policy =
    rules === rulesInForce
      ? policy.withFeeds(feeds, revision)
      : compilePolicy(snapshot.policy, feeds, { revision, host: config.host });
  rulesInForce = rules;
  table.assign(profileOf);
  send({ kind: "installed", revision: snapshot.revision });
}

/** A model that is known stays the same object, and with it the profiles that rest on it. */
function updateModels(snapshots: readonly ModelSnapshot[], remove: readonly string[]): void {
  let reassign = false;
  for (const snapshot of snapshots) {
    const known = models.get(snapshot.key);
    reassign ||= known === undefined;
    if (known === undefined) models.set(snapshot.key, openModel(snapshot));
    else known.replace(snapshot);
  }
  for (const key of remove) reassign = models.delete(key) || reassign;
  if (reassign) table.assign(profileOf);
}

function forget(resident: Resident): void {
  dns?.forget(resident);
  lookups.forget(resident.container.id);
  scans.forget(resident);
}

function updateContainers(upsert: readonly Container[], remove: readonly string[]): void {
  for (const id of remove) {
    const resident = table.remove(id);
    if (resident !== undefined) forget(resident);
    release(id, new Set());
  }
  for (const container of upsert) {
    const before = table.byId(container.id);
    const resident = table.upsert(container);
    if (before !== undefined && before !== resident) forget(before);
    resident.profile = profileOf(container);
    if (resident.cut) cut(resident, true);
  }
  packets?.containersChanged();
  dns?.containersChanged();
}

function updateSurroundings(next: Surroundings): void {
  surroundings = next;
  served = new Set(next.interfaces.map((guarded) => guarded.index));
  internal = new InternalPrefixes([...next.internal, ...config.network.internal]);
}

/** Index of the guarded interface that owns a local address (a TCP connection tells no other); 0 when none does. */
function bridgeAddress(address: Uint8Array): number {
  const text = formatAddress(address);
  return surroundings.interfaces.find((guarded) => guarded.addresses.includes(text))?.index ?? 0;
}

function answer(question: Question): Answer {
  if (question.kind === "names") {
    const resident = table.byId(question.container);
    const bytes = parseAddress(question.address);
    const names =
      resident === undefined || bytes === null || dns === undefined
        ? []
        : dns.names(resident, bytes, 0, bytes.length);
    return { kind: "names", names };
  }
  if (question.kind === "resolved") {
    const resident = table.byId(question.container);
    return { kind: "resolved", names: resident === undefined ? [] : (dns?.resolved(resident) ?? []) };
  }
  if (dns === undefined || packets === undefined) {
    throw new TidesmanError("TM_INTERNAL", "the data thread has not started yet");
  }
  return {
    kind: "stats",
    stats: {
      revision: policy.revision,
      containers: table.size,
      dns: dns.stats(),
      packets: packets.stats(),
      dropped,
    },
  };
}

// ------------------------------------------------------------------------------------------------ the dead man's switch

/**
 * In open mode the rules send traffic to us only while these entries live; each beat renews them. A thread that hangs,
 * a process that is stopped or killed, stops beating, and the kernel lets traffic pass by itself.
 */
function beat(): void {
  const now = systemClock.monotonic();
  if (now - lastBeat > ALIVE_TIMEOUT * 1000) send({ kind: "lapsed" });
  lastBeat = now;
  reportFailedLookups();
  for (const entry of ALIVE_ENTRIES) {
    inKernel(() => native.ipsetAdd(entry.includes(":") ? SETS.alive6 : SETS.alive4, entry, ALIVE_TIMEOUT));
  }
}

let failedLookups = 0;

function reportFailedLookups(): void {
  const { errors = 0, lastError = "" } = dns?.stats() ?? {};
  if (errors > failedLookups) send({ kind: "failure", message: lastError, count: errors - failedLookups });
  failedLookups = errors;
}

let lastBeat = Number.POSITIVE_INFINITY;
let beating: { cancel(): void } | undefined;

async function stop(): Promise<void> {
  beating?.cancel();
  packets?.close();
  scans.close();
  await dns?.close();
  flush();
  send({ kind: "stopped" });
  port.close();
}

function receive(message: ToDataThread): void {
  switch (message.kind) {
    case "snapshot":
      install(message.snapshot);
      break;
    case "models":
      updateModels(message.models, message.remove);
      break;
    case "surroundings":
      updateSurroundings(message.surroundings);
      break;
    case "containers":
      updateContainers(message.upsert, message.remove);
      break;
    case "exemptions":
      exempt(message.container, message.exemptions);
      break;
    case "cut": {
      const resident = table.byId(message.container);
      if (resident === undefined) break;
      spared.delete(resident);
      cut(resident, message.cut);
      break;
    }
    case "spare": {
      const resident = table.byId(message.container);
      if (resident !== undefined) spare(resident);
      break;
    }
    case "armed":
      beat();
      beating ??= systemClock.every(HEARTBEAT, beat);
      break;
    case "disarmed":
      beating?.cancel();
      break;
    case "taken":
      outstanding -= message.events;
      break;
    case "ask":
      send({ kind: "answer", id: message.id, answer: answer(message.question) });
      break;
    case "stop":
      void stop();
      break;
  }
}

async function main(): Promise<void> {
  updateSurroundings(start.surroundings);
  install(start.snapshot);
  updateModels(start.models, []);
  packets = startPackets({
    native,
    clock: systemClock,
    config: config.network,
    failMode: config.failMode,
    lookupsRedirected: config.dns.redirect,
    dnsPort: config.dns.port,
    table,
    policy: () => policy,
    internal: () => internal,
    names: (resident, bytes, offset, length) => dns?.names(resident, bytes, offset, length) ?? [],
    report,
    observe,
    contact: (resident, packet, bytes, facts) => scans.contact(resident, packet, bytes, facts),
    unknown,
    failed: (error, count) => send({ kind: "failure", message: error.stack ?? error.message, count }),
  });
  dns = await startDns({
    native,
    clock: systemClock,
    config: config.dns,
    upstreams: start.upstreams,
    sockets: start.sockets,
    table,
    policy: () => policy,
    serves: (index) => served.has(index),
    bridgeAddress,
    report,
    observe,
    watch: lookups.watch,
    unknown: (source) => unknown(0, source),
  });
  port.on("message", receive);
  send({ kind: "ready" });
}

main().catch((error: unknown) => {
  const known = error instanceof TidesmanError;
  send({
    kind: "failed",
    code: known ? error.code : "TM_INTERNAL",
    message: error instanceof Error ? error.message : String(error),
  });
  packets?.close();
  port.close();
});
