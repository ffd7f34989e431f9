/** A control server with scripted answers, and the real command line run against it. */
import { type ChildProcess, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AuditFilter } from "../../src/audit/filter.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { systemClock } from "../../src/clock.ts";
import type { FileReaders, Intelligence } from "../../src/control/cli/context.ts";
import { Output } from "../../src/control/cli/output.ts";
import { runProgram } from "../../src/control/cli/program.ts";
import { type ControlServer, openControl } from "../../src/control/server.ts";
import type {
  ContainerReport,
  ControlDependencies,
  EvidenceReport,
  ExemptionReport,
  FeedReport,
  IncidentReport,
  IncidentSummary,
  ModelChange,
  ModelDetail,
  PolicyReport,
  ReplayReport,
  StatusReport,
  WhyReport,
} from "../../src/control/types.ts";
import { TidesmanError } from "../../src/errors.ts";
import { createLogger } from "../../src/log.ts";
import type { ModelFile } from "../../src/model/transfer.ts";

export const TIME = "2026-11-24T02:33:39.497Z";
const DIGEST = `sha256:${"1f".repeat(32)}`;

export const container: ContainerReport = {
  id: "c0ffee".repeat(10),
  name: "web-frontend-with-a-rather-long-name-that-goes-on-1",
  image: "docker.io/library/nginx:1.27",
  imageDigest: DIGEST,
  namespace: null,
  labels: { "com.docker.compose.project": "shop", evil: "\u001b[31mred\u001b[0m" },
  state: "running",
  pid: 4711,
  startedAt: TIME,
  networkMode: "bridge",
  networks: [
    {
      name: "bridge",
      bridge: "docker0",
      veth: "veth1234567",
      addresses: ["172.17.0.2", "2001:db8::242:ac11:2", "fe80::1"],
    },
  ],
  rule: "payments and everything that belongs to them in this cluster",
  dnsEffect: "prevent",
  networkEffect: "alert",
  model: { key: DIGEST, state: "learning" },
};

export const feed: FeedReport = {
  name: "urlhaus",
  kind: "domain",
  match: "suffix",
  format: "hosts",
  path: "/etc/tidesman/feeds/urlhaus.txt",
  url: null,
  effect: null,
  enabled: true,
  state: "inUse",
  entries: 123_456,
  refused: 2,
  samples: ["line 3: not a name", "line 9: <html>"],
  loadedAt: TIME,
  error: null,
  licence: "CC0",
  attribution: "abuse.ch",
  interval: null,
  checkedAt: TIME,
  goodAt: TIME,
  wantedSince: null,
  dueAt: null,
  stale: false,
  failures: 0,
  guarded: { removed: 1, samples: ["popular.example"] },
  changes: {
    added: 2,
    removed: 1,
    addedSamples: [".new.example", "newer.example"],
    removedSamples: ["old.example"],
    newlyHit: [{ model: DIGEST, name: "api.new.example", entry: ".new.example" }],
  },
  waiting: false,
};

export const incident: IncidentReport = {
  id: "01KB0000000000000000000001",
  kind: "portScan",
  state: "open",
  host: "h1",
  container: audit(1).container ?? {
    id: "c1",
    name: "web",
    image: "",
    imageDigest: "",
    namespace: null,
    labels: {},
  },
  summary: "scanned 26 ports of 203.0.113.10",
  openedAt: TIME,
  lastAt: TIME,
  acknowledgedAt: null,
  closedAt: null,
  note: null,
  reopened: 0,
  count: 2,
  attackTypes: ["verticalPortScan"],
  evidence: ["20261124T023339497Z-c0ffeec0ffee"],
  audits: ["01KB0000000000000000000002"],
  timeline: [
    { time: TIME, attackType: "verticalPortScan", effect: "alert", message: "scanned 26 ports", audit: null },
  ],
  recorder: [{ time: TIME, attackType: null, effect: null, message: "looked up good.example", audit: null }],
  omitted: { audits: 0, timeline: 1, recorder: 0 },
};

const {
  evidence: _evidence,
  audits: _audits,
  timeline: _timeline,
  recorder: _recorder,
  omitted: _omitted,
  ...summary
} = incident;

/** The same without its evidence. */
export const incidentSummary: IncidentSummary = summary;

export const evidence: EvidenceReport = {
  id: "20261124T023339497Z-c0ffeec0ffee",
  time: TIME,
  container: incident.container,
  reason: "lookup of evil.example (A) is listed by feed urlhaus",
  action: "stop",
  result: "killed",
  took: 12,
  processes: [
    {
      pid: 4711,
      innerPid: 1,
      parent: 4700,
      user: 0,
      group: 0,
      name: "sh",
      executable: "/usr/lib/a/rather/long/path/to/an/executable/bin/sh",
      commandLine: "sh -c \u001b[31mwhile true; do curl http://evil.example/a-long-path-that-goes-on; done",
      startedAt: TIME,
    },
  ],
  sockets: [
    {
      protocol: "tcp",
      state: "established",
      local: "[2001:db8::242:ac11:2]:40000",
      remote: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:443",
      user: 0,
      processes: [4711, 4712],
    },
    { protocol: "packet", state: null, local: "EtherType 0x0003", remote: null, user: 0, processes: [] },
  ],
  interfaces: [{ name: "eth0", hardwareAddress: "02:42:ac:11:00:02", addresses: ["172.17.0.2/16"] }],
  omitted: { processes: 0, sockets: 3 },
  complete: true,
  recorder: [{ time: TIME, attackType: null, effect: null, message: "looked up good.example", audit: null }],
};

export const exemption: ExemptionReport = {
  container: { id: container.id, name: container.name },
  entry: ".a-name-that-is-rather-long.registry.internal.example",
  since: TIME,
  until: "2026-11-24T03:33:39.497Z",
  by: "alice",
  note: "INC-4711: deploys hang, \u001b[31m the feed errs",
};

export const status: StatusReport = {
  version: "0.1.0",
  host: "h1",
  pid: 4242,
  startedAt: TIME,
  uptime: 93_784,
  failMode: "open",
  docker: { state: "connected", socket: "/var/run/docker.sock", version: "20.10.24", error: null },
  networks: [
    {
      id: "n1",
      name: "bridge",
      bridge: "docker0",
      subnets: ["172.17.0.0/16", "2001:db8:1::/64"],
      containers: 2,
      veths: 2,
    },
  ],
  listening: [
    { use: "dns", protocol: "udp", address: "172.17.0.1:5303" },
    { use: "dns", protocol: "udp", address: "[2001:db8:1::1]:5303" },
    { use: "dns", protocol: "tcp", address: "172.17.0.1:5303" },
    { use: "control", protocol: "unix", address: "/run/tidesman/control.sock" },
  ],
  containers: {
    total: 3,
    running: 2,
    blocked: [
      {
        id: "b1",
        name: "miner",
        action: "stop",
        reason: "lookup of evil.example (A) is listed by feed urlhaus",
        since: TIME,
      },
    ],
  },
  block: {
    action: "stop",
    stoppedLately: 1,
    refused: 3,
    spared: [{ id: "s1", name: "web-2", reason: "1 of the 2 containers of its image is stopped by rules" }],
  },
  dns: {
    upstreams: ["192.0.2.1:53"],
    lookups: 1_234_567,
    shortcuts: 1_000_000,
    cached: 34_567,
    stale: 0,
    prevented: 12,
    refused: 0,
    malformed: 3,
    limited: 0,
    overloaded: 0,
    failed: 1,
    notServed: 0,
    unknownDropped: 0,
    errors: 0,
    waiting: 1,
    held: 0,
    sent: 200_000,
    answered: 199_999,
    coalesced: 10,
    silences: 0,
    unasked: 0,
    malformedAnswers: 0,
    expired: 1,
    connections: 0,
    refusedConnections: 0,
    cacheEntries: 4_321,
    bindings: 99,
  },
  packets: {
    packets: 5_000,
    allowed: 4_900,
    denied: 60,
    lookups: 30,
    cut: 10,
    spoofed: 0,
    addressOnly: 0,
    held: 0,
    heldTotal: 4,
    expired: 0,
    notHeld: 0,
    unparseable: 0,
    fragments: 0,
    otherProtocols: 0,
    errors: 0,
    failMode: 0,
  },
  queue: {
    number: 5303,
    length: 16_384,
    waiting: 0,
    overflow: 7,
    overruns: 0,
    rateGuard: 5,
    verdictErrors: 0,
  },
  policy: {
    revision: 17,
    file: "/etc/tidesman/policy.yaml",
    rules: 2,
    loadedAt: TIME,
    lastError: {
      time: TIME,
      message:
        "/etc/tidesman/policy.yaml:4:11: rules[0].dns.effect: `prevnt` is not allowed (did you mean `prevent`?)",
    },
  },
  feeds: [feed],
  models: { learning: 1, active: 1, archived: 0, manual: 0 },
  exemptions: [exemption],
  rawSockets: { source: "tables", reason: "tracefs is not mounted" },
  audits: {
    accepted: 100,
    folded: 40,
    dropped: 0,
    waiting: 0,
    stored: 60,
    bytes: 98_304,
    oldest: TIME,
    error: null,
  },
  incidents: {
    open: {
      portScan: 2,
      dataExfiltration: 0,
      commandAndControl: 1,
      compromisedContainer: 0,
      blockedContainer: 0,
      circuitBreaker: 0,
    },
    acknowledged: 1,
    opened: {
      portScan: 5,
      dataExfiltration: 0,
      commandAndControl: 1,
      compromisedContainer: 0,
      blockedContainer: 0,
      circuitBreaker: 0,
    },
    closedByItself: { rested: 2, containerGone: 1, crowded: 1 },
    error: null,
  },
  dropped: { findings: 0, observations: 0 },
  warnings: [
    "bridge-nf-call-iptables is off: traffic between containers of one bridge is not seen; sysctl -w net.bridge.bridge-nf-call-iptables=1",
  ],
};

const seen = { firstSeen: TIME, lastSeen: TIME, count: 12, container: "web", inherited: false };

export const model: ModelDetail = {
  key: DIGEST,
  image: "docker.io/library/nginx:1.27",
  state: "learning",
  learned: 1_800,
  learningTime: 3_600,
  containers: 1,
  names: 2,
  outboundPorts: 1,
  listeningPorts: 1,
  internalDestinations: 1,
  locked: false,
  trialUntil: null,
  predecessor: `sha256:${"2e".repeat(32)}`,
  saturation: 7.25,
  trust: "learning",
  dropped: 3,
  createdAt: TIME,
  changedAt: TIME,
  entries: {
    names: [
      { name: "*.cdn.example.com", ...seen, inherited: true, members: ["a.cdn.example.com"] },
      { name: "api.stripe.com", ...seen, members: [] },
    ],
    outboundPorts: [{ protocol: "tcp", port: 443, ...seen }],
    listeningPorts: [{ protocol: "tcp", port: 8_080, ...seen }],
    internalDestinations: [{ subnet: "10.0.0.0/24", protocol: "tcp", port: 5_432, ...seen }],
  },
};

const { entries: _entries, ...modelSummary } = model;

/** The same as a file. */
export const modelFile: ModelFile = {
  format: "tidesman-model",
  version: 1,
  key: DIGEST,
  image: model.image,
  exportedAt: TIME,
  names: [{ name: "api.stripe.com", firstSeen: TIME, lastSeen: TIME, count: 12, container: "web" }],
  outboundPorts: [],
  listeningPorts: [],
  internalDestinations: [],
};

export const policy: PolicyReport = {
  revision: 17,
  file: "/etc/tidesman/policy.yaml",
  loadedAt: TIME,
  text: "version: 1\nrules:\n  - name: payments\n    dns: { effect: prevent }\n",
  rules: [{ name: "payments", dns: { effect: "prevent" } }],
  notices: [
    {
      level: "info",
      file: "policy.yaml",
      line: 4,
      column: 9,
      field: "rules[0].network.portScan",
      message: "is not active yet",
    },
  ],
};

/** `changes`: whether something would go otherwise. */
export function replay(file: string, changes: boolean): ReplayReport {
  const none = { audits: 0, models: 0, lookups: 0 };
  return {
    file,
    rules: 2,
    revision: 17,
    since: TIME,
    until: TIME,
    sample: {
      audits: 320,
      findings: 1_234,
      unjudged: 3,
      drifted: 5,
      guessed: 0,
      models: 12,
      idleModels: 1,
      entries: 2_310,
      unjudgedEntries: 0,
      lookups: 40,
    },
    totals: {
      newlyDenied: changes ? { ...none, audits: 9 } : none,
      newlyBlocked: none,
      newlyAudited: none,
      noLongerDenied: none,
      noLongerBlocked: none,
      noLongerAudited: none,
    },
    groups: changes
      ? [
          {
            change: "newlyDenied",
            source: "audits",
            image: "docker.io/library/nginx:1.27",
            rules: { before: "payments", after: "payments, stricter" },
            effects: { before: "alert", after: "block" },
            attackType: "explicitlyDeniedDNS",
            count: 9,
            containers: [container.name, "web-2", "web-3", "web-4"],
            moreContainers: 2,
            samples: [
              { message: "lookup of api.example (A) is in denied names (api.example)", count: 8 },
              { message: "lookup of \u001b[31mx.example (A) is in denied names (x.example)", count: 1 },
            ],
          },
        ]
      : [],
    omitted: 0,
    notes: ["both policies were asked with the feeds and models in force now"],
  };
}

export function audit(index: number, more: Partial<AuditRecord> = {}): AuditRecord {
  const time = new Date(Date.parse(TIME) + index * 1_000).toISOString();
  return {
    id: `01JDE${String(index).padStart(21, "0")}`,
    time,
    host: "h1",
    type: "dns",
    attackType: "feedDNS",
    effect: "prevent",
    container: {
      id: container.id,
      name: "web",
      image: container.image,
      imageDigest: DIGEST,
      namespace: null,
      labels: {},
    },
    rule: "payments",
    message: `lookup of n${index}.evil.example (A) is listed by feed urlhaus`,
    count: 1,
    lastTime: time,
    dns: { name: `n${index}.evil.example`, type: "A", answers: [], rcode: null },
    connection: null,
    reasons: [{ kind: "feed", feed: "urlhaus", entry: "evil.example", match: "suffix" }],
    revision: 17,
    ...more,
  };
}

/** One that stands for two containers. */
export function fold(index: number, count = 9): AuditRecord {
  return audit(index, {
    count,
    message: `many alike in 2 containers of docker.io/library/nginx:1.27 (web, web-2): lookup of n${index}`,
    fold: {
      containers: [
        { id: container.id, name: "web", count: count - 1 },
        { id: "feedface00", name: "web-2", count: 1 },
      ],
      continues: null,
    },
  });
}

export function why(target: string, dropped: boolean): WhyReport {
  return {
    container: audit(0).container!,
    state: "running",
    rule: "payments",
    dnsEffect: "prevent",
    networkEffect: "alert",
    model: { key: DIGEST, state: "active" },
    target,
    judgements: [
      {
        event: "query",
        subject: `${target} (A)`,
        message: dropped
          ? `lookup of ${target} (A) is listed by feed urlhaus`
          : `lookup of ${target} (A) is allowed`,
        verdict: dropped ? "drop" : "allow",
        effect: dropped ? "prevent" : null,
        attackType: dropped ? "feedDNS" : null,
        rule: "payments",
        reasons: dropped
          ? [
              { kind: "feed", feed: "urlhaus", entry: target, match: "suffix" },
              { kind: "denied", list: "dns.denied", entry: ".example", match: "suffix" },
              { kind: "model", state: "active" },
              { kind: "detection", list: "network.unresolved", match: "none" },
            ]
          : [{ kind: "allowed", list: "dns.allowed", entry: target, match: "exact" }],
      },
    ],
    names: [],
    notes: ["A reply is judged once more when it comes."],
    revision: 17,
  };
}

/** Answers by script; `audits` holds what is stored, `emit` tells subscribers. */
export class Script implements ControlDependencies {
  stored: AuditRecord[] = [];
  calls: string[] = [];
  failure: Error | null = null;
  feedError: string | null = null;
  readonly #listeners = new Set<(record: AuditRecord, isNew: boolean) => void>();

  readonly #incidentListeners = new Set<(incident: IncidentSummary, isNew: boolean) => void>();

  get subscribers(): number {
    return this.#listeners.size + this.#incidentListeners.size;
  }
  emitIncident(incident: IncidentSummary, isNew = true): void {
    for (const listener of this.#incidentListeners) listener(incident, isNew);
  }
  emit(record: AuditRecord, isNew = true): void {
    for (const listener of this.#listeners) listener(record, isNew);
  }
  async #answer<T>(call: string, value: T): Promise<T> {
    this.calls.push(call);
    if (this.failure !== null) throw this.failure;
    return value;
  }
  status = () => this.#answer("status", status);
  containers = () => this.#answer("containers", [container]);
  models = () => this.#answer("models", [modelSummary]);
  /** Besides the scripted one. */
  others: ModelDetail[] = [];
  maxModelFile = 1024 * 1024;
  model = (key: string) => {
    const found = [model, ...this.others].find((one) => one.key.includes(key));
    return this.#answer(`model ${key}`, found ?? null);
  };
  changeModel = (key: string, change: ModelChange) =>
    this.#answer(
      `changeModel ${key} ${JSON.stringify(change)}`,
      model.key.includes(key) ? { ...modelSummary, locked: change.action === "lock" } : null,
    );
  exportModel = (key: string) =>
    this.#answer(`exportModel ${key}`, model.key.includes(key) ? modelFile : null);
  importModel = (file: unknown) =>
    this.#answer(`importModel ${JSON.stringify(file)}`, { ...modelSummary, locked: true });
  feeds = () => this.#answer("feeds", [feed]);
  incidents = (all: boolean) => {
    return this.#answer(`incidents ${all}`, [incidentSummary]);
  };
  incident = (id: string) => {
    if (!incident.id.startsWith(id))
      throw new TidesmanError("TM_NOT_FOUND", `there is no incident \`${id}\``);
    return this.#answer(`incident ${id}`, incident);
  };
  acknowledgeIncident = (id: string, note: string | null) =>
    this.#answer(`ack ${id}`, { ...incident, state: "acknowledged" as const, note });
  closeIncident = (id: string, note: string) =>
    this.#answer(`close ${id}`, { ...incident, state: "closed" as const, note });
  evidenceList = () => {
    const { id, time, container, reason, action, result } = evidence;
    return this.#answer("evidenceList", [{ id, time, container, reason, action, result }]);
  };
  evidence = (which: string) => {
    if (!["web", evidence.id].includes(which))
      throw new TidesmanError("TM_NOT_FOUND", `there is no evidence of \`${which}\``);
    return this.#answer(`evidence ${which}`, evidence);
  };
  updateFeeds = () =>
    this.#answer("updateFeeds", [
      {
        ...feed,
        error: this.feedError,
        state: this.feedError === null ? ("inUse" as const) : ("failed" as const),
      },
    ]);
  loadFeeds = () =>
    this.#answer("loadFeeds", [
      {
        ...feed,
        error: this.feedError,
        state: this.feedError === null ? ("inUse" as const) : ("failed" as const),
      },
    ]);
  policy = () => this.#answer("policy", policy);
  reload = () =>
    this.#answer("reload", { revision: 18, previousRevision: 17, rules: 2, notices: policy.notices });
  replay: ControlDependencies["replay"] = ({ text, file, since }) =>
    this.#answer(`replay ${since}`, replay(file, text.includes("strict")));
  subscribe = (listener: (record: AuditRecord, isNew: boolean) => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };
  subscribeIncidents = (listener: (incident: IncidentSummary, isNew: boolean) => void) => {
    this.#incidentListeners.add(listener);
    return () => void this.#incidentListeners.delete(listener);
  };
  audits = (filter: AuditFilter) => {
    let found = this.stored.filter((one) => filter.after === undefined || one.id > filter.after);
    if (filter.since !== undefined) found = found.filter((one) => Date.parse(one.lastTime) >= filter.since!);
    const limit = filter.limit ?? 1_000;
    return this.#answer(
      `audits ${JSON.stringify(filter)}`,
      filter.after === undefined ? found.slice(-limit) : found.slice(0, limit),
    );
  };
  why: ControlDependencies["why"] = (name, target) => {
    if (name !== "web" && name !== "miner")
      throw new TidesmanError("TM_NOT_FOUND", `no container \`${name}\`; \`tidesman containers\` lists them`);
    const text = target.kind === "name" ? target.name : `${target.address}:${target.port}/${target.protocol}`;
    const report = why(text, text.includes("evil") || text.startsWith("203.0.113."));
    return this.#answer(`why ${text}`, name === "miner" ? { ...report, state: "blocked" } : report);
  };
  exemptions = () => this.#answer("exemptions", [exemption]);
  exempt: ControlDependencies["exempt"] = (name, request) => {
    if (name !== "web") throw new TidesmanError("TM_NOT_FOUND", `there is no container \`${name}\``);
    const { target: entry, by: _by, ...rest } = request;
    return this.#answer(`exempt ${entry} ${JSON.stringify(rest)}`, {
      ...exemption,
      entry,
      notes: ["the container is blocked: nothing of it passes until `tidesman unblock`"],
    });
  };
  withdrawExemptions: ControlDependencies["withdrawExemptions"] = (name, target) => {
    if (name !== "web") throw new TidesmanError("TM_NOT_FOUND", `container \`${name}\` has no exemption`);
    return this.#answer(`withdraw ${target}`, [exemption]);
  };
  unblock: ControlDependencies["unblock"] = (name) => {
    if (name !== "miner") throw new TidesmanError("TM_NOT_FOUND", `no container \`${name}\` is blocked`);
    return this.#answer("unblock", {
      id: "b1",
      name,
      state: "exited",
      message: "its restart policy is back",
    });
  };
}

export interface Logged {
  readonly lines: string[];
  readonly server: ControlServer;
}

export async function serve(
  runtimeDirectory: string,
  dependencies: ControlDependencies,
  group = "",
): Promise<Logged> {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ level: "debug", readable: false, colour: false, write });
  const server = await openControl({ runtimeDirectory, group, dependencies, clock: systemClock, log });
  return { lines, server };
}

/** Compiled code is shared by the many processes of a run, as by those of an installation. */
const COMPILE_CACHE = join(tmpdir(), `tidesman-test-cache-${process.getuid?.() ?? 0}`);

/** The test runner puts a loader of its own into every child that it sees; `env` takes it out again. */
const PLAIN = ["-u", "NODE_OPTIONS"];

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function start(
  args: readonly string[],
  options: {
    wrapper?: readonly string[];
    environment?: Record<string, string>;
    /** Standard input; none when absent. */
    input?: string;
  } = {},
): ChildProcess {
  const command = [...PLAIN, ...(options.wrapper ?? []), process.execPath, MAIN, ...args];
  const child = spawn("env", command, {
    stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE, ...options.environment },
  });
  child.stdin?.end(options.input);
  return child;
}

/** Runs the command line to its end. */
export function tidesman(args: readonly string[], options: Parameters<typeof start>[1] = {}): Promise<Ran> {
  return finish(start(args, options));
}

/** Everything a process said, once it has ended. */
export function finish(child: ChildProcess): Promise<Ran> {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((resolve) => child.on("close", (code) => resolve({ status: code, stdout, stderr })));
}

/** The longest line, in characters. */
export function longest(text: string): number {
  return Math.max(...text.split("\n").map((line) => line.length));
}

export const scriptedIntelligence: Intelligence = {
  update: async (_places, { only = ["urlhaus"] }) => ({ warnings: [], taken: only, news: [] }),
  reports: () => null,
  test: (_places, name, target) =>
    name === "urlhaus" && target.endsWith("evil.example")
      ? [{ feed: name, entry: "evil.example", match: "suffix" }]
      : [],
  rollback: () => ({ builtAt: Date.parse(TIME), left: Date.parse(TIME) + 1000, feeds: ["urlhaus"] }),
  approve(_places, name) {
    if (name !== "urlhaus") throw new TidesmanError("TM_NOT_FOUND", `nothing of \`${name}\` waits`);
  },
};

/** Runs the command line inside this process: no terminal, nothing of the outside but the socket. */
export async function within(
  args: readonly string[],
  readers: () => Promise<FileReaders> = () => Promise.reject(new Error("no files are read here")),
  intelligence: () => Promise<Intelligence> = async () => scriptedIntelligence,
): Promise<Ran> {
  let stdout = "";
  let stderr = "";
  const print = (text: string): void => {
    stdout += text;
  };
  const status = await runProgram(args, {
    context: {
      output: new Output({ write: print }, {}),
      complain: (text) => {
        stderr += text;
      },
      now: Date.now,
      readers,
      intelligence,
      doctor: async () => async () => [
        { check: "daemon", level: "ok", message: "runs as process 4711", remedy: null },
        { check: "queue", level: "warning", message: "packets found it full", remedy: "raise it" },
        { check: "clock", level: "unknown", message: "it cannot be told", remedy: null },
      ],
      runDaemon: () => Promise.reject(new Error("no daemon is started here")),
    },
    print,
    resolve: (path) => path,
    debug: false,
  });
  return { status, stdout, stderr };
}
