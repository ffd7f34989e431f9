/**
 * The shapes that the control API answers with, written once: the types in types.ts, the description in
 * /api/openapi.json and the checks of the tests all come from here. Times are ISO 8601 with milliseconds, UTC;
 * durations are seconds; counters count since the daemon started.
 *
 * Length: it is one list of what the API tells; the types, the routes and the description are made from it.
 */
import { z } from "zod";
import { ATTACK_TYPES, CHANGES } from "../policy/types.ts";

const count = z.int().nonnegative();
const time = z.iso.datetime({ precision: 3 });
const seconds = z.number().nonnegative();
const finding = z.enum(["alert", "prevent", "block"]);
const effect = z.enum(["disable", "alert", "prevent", "block"]);
export const INCIDENT_KINDS = [
  "portScan",
  "dataExfiltration",
  "commandAndControl",
  "compromisedContainer",
  "blockedContainer",
  "circuitBreaker",
] as const;
const ofEachKind = z.record(z.enum(INCIDENT_KINDS), count);
const blockAction = z.enum(["stop", "pause", "isolate"]);
const modelState = z.enum(["learning", "active", "archived", "manual"]);

export const reason = z.object({
  kind: z.enum(["denied", "allowed", "feed", "model", "detection", "breaker", "operator", "error"]),
  list: z.string().optional().describe("Place in policy.yaml: `dns.denied`"),
  feed: z.string().optional(),
  entry: z.string().optional().describe("As the operator or the feed wrote it"),
  match: z.enum(["exact", "suffix", "address", "port", "none"]).optional(),
  state: modelState.optional(),
  subject: z
    .string()
    .optional()
    .describe("Hop, address or port this is about, where it is not the subject itself"),
  message: z.string().optional(),
});

export const notice = z.object({
  level: z.enum(["info", "warning"]),
  file: z.string(),
  line: count,
  column: count,
  field: z.string(),
  message: z.string(),
});

export const auditContainer = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  imageDigest: z.string(),
  namespace: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
});

export const auditRecord = z.object({
  id: z.string().describe("ULID; its time part is the time of the first event"),
  time,
  host: z.string(),
  type: z.enum(["dns", "connection", "listeningPort", "portScan", "rawSocket"]),
  attackType: z.enum(ATTACK_TYPES),
  effect: finding,
  container: auditContainer
    .nullable()
    .describe("Null for findings about the host itself; in a fold that of the first event"),
  rule: z.string().nullable(),
  message: z.string(),
  count: count.describe("Events folded into this record"),
  lastTime: time,
  dns: z
    .object({
      name: z.string(),
      type: z.string(),
      answers: z.array(z.string()),
      rcode: z.string().nullable(),
    })
    .nullable(),
  connection: z
    .object({
      protocol: z.string(),
      source: z.string(),
      sourcePort: count,
      destination: z.string(),
      port: count,
      names: z.array(z.string()),
    })
    .nullable(),
  reasons: z.array(reason),
  revision: count,
  fold: z
    .object({
      containers: z
        .array(z.object({ id: z.string(), name: z.string(), count }))
        .describe("At most 100, with the share of each in `count`"),
      continues: z.string().nullable().describe("Id of the fold that this one follows"),
    })
    .optional()
    .describe("Only in a record that stands for alike audits of one image"),
});

export const feedReport = z.object({
  name: z.string(),
  kind: z.enum(["domain", "address", "url"]),
  match: z.enum(["suffix", "exact"]),
  format: z
    .string()
    .nullable()
    .describe("Format of the list, as named or as detected; null while neither is known"),
  path: z.string().describe("The list on this host; of a fetched one, where its body is kept"),
  url: z.string().nullable().describe("Where it is fetched from, without what is secret"),
  effect: finding.nullable().describe("The feed's own effect; null: that of the rule"),
  enabled: z.boolean(),
  state: z
    .enum(["inUse", "notFetched", "failed", "quarantined", "held", "refused", "off"])
    .describe("Of what its source last gave; whatever it is, the list before it stays in force"),
  entries: count,
  refused: count.describe("Lines that were no entry"),
  samples: z.array(z.string()).describe("The first of them"),
  loadedAt: time.nullable().describe("When the list in force was read"),
  error: z.string().nullable().describe("Why what the source last gave is not in force"),
  licence: z.string().nullable(),
  attribution: z.string().nullable(),
  interval: count.nullable().describe("Seconds between two looks at a fetched list"),
  checkedAt: time.nullable().describe("Last look at the source"),
  goodAt: time.nullable().describe("Last look that it answered well"),
  wantedSince: time.nullable().describe("Since when a fetched list is named and enabled"),
  dueAt: time.nullable(),
  stale: z
    .boolean()
    .describe("Its source has given nothing good for three intervals and a day, or never since it is named"),
  failures: count.describe("Failed looks since the last good one"),
  guarded: z
    .object({ removed: count, samples: z.array(z.string()) })
    .describe("Entries left out: popular names, or addresses in internal networks"),
  changes: z
    .object({
      added: count,
      removed: count,
      addedSamples: z.array(z.string()),
      removedSamples: z.array(z.string()),
      newlyHit: z
        .array(z.object({ model: z.string(), name: z.string(), entry: z.string() }))
        .describe("Learned names that it hits and the list before did not"),
    })
    .nullable()
    .describe("What the latest list that differed changed or, while it waits, would change"),
  waiting: z.boolean().describe("A list waits for approval, or for the end of its quarantine"),
});

const network = z.object({
  id: z.string(),
  name: z.string(),
  bridge: z.string(),
  subnets: z.array(z.string()),
  containers: count,
  veths: count.describe("Bridge ports that are known to belong to a container"),
});

const dns = z.object({
  upstreams: z.array(z.string()),
  lookups: count,
  shortcuts: count.describe("Answered from the cache by a decision taken before"),
  cached: count.describe("Answered from the cache by a new decision"),
  stale: count.describe("Answered from the cache after its time, because no upstream answered"),
  prevented: count,
  refused: count,
  malformed: count,
  limited: count.describe("Dropped because the container asked too often"),
  overloaded: count.describe("Dropped because too much was under way"),
  failed: count.describe("No upstream answered in time"),
  notServed: count.describe("Dropped because they came from an interface that is not served"),
  unknownDropped: count.describe("Dropped because nobody knew their source in time"),
  errors: count.describe("Failures while handling a lookup"),
  waiting: count.describe("Wait for an upstream now"),
  held: count.describe("Wait now for their source to become known"),
  sent: count.describe("Questions sent to upstreams"),
  answered: count.describe("Of these, answered"),
  coalesced: count.describe("Lookups that shared a question under way"),
  silences: count.describe("Times an upstream was passed over because it was silent"),
  unasked: count.describe("Replies that fit no question"),
  malformedAnswers: count,
  expired: count.describe("Questions that ended at the deadline"),
  connections: count.describe("TCP connections of containers now"),
  refusedConnections: count,
  cacheEntries: count,
  bindings: count.describe("Addresses bound to a name that a container resolved"),
});

const packets = z.object({
  packets: count,
  allowed: count,
  denied: count,
  lookups: count.describe("Passed on to the DNS server, which judges them"),
  cut: count.describe("Dropped because their container is blocked"),
  spoofed: count,
  addressOnly: count.describe("Identified by source address alone"),
  held: count.describe("Wait now for their container to become known"),
  heldTotal: count,
  expired: count.describe("Waited in vain"),
  notHeld: count.describe("Could not wait at all"),
  unparseable: count,
  fragments: count,
  otherProtocols: count,
  errors: count.describe("Failures while deciding"),
  failMode: count.describe("Passed or dropped by the fail mode, for any reason"),
});

const queue = z.object({
  number: count,
  length: count.describe("Packets that fit"),
  waiting: count.describe("Packets in it now"),
  overflow: count.describe("Packets that found it full"),
  overruns: count.describe("Packets lost because the socket's buffer was full"),
  rateGuard: count.describe("New connections dropped by the per-container rate guard"),
  verdictErrors: count,
});

export const exemption = z.object({
  container: z.object({ id: z.string(), name: z.string() }),
  entry: z.string().describe("A name pattern, or ADDRESS[:PORT[/PROTOCOL]]"),
  since: time,
  until: time,
  by: z.string().nullable().describe("Who gave it, as the caller said"),
  note: z.string().nullable(),
});
export const givenExemption = exemption.extend({
  notes: z.array(z.string()).describe("What keeps it from having an effect"),
});

export const replayReport = z.object({
  file: z.string(),
  rules: count,
  revision: count.describe("Of the policy in force, which it is compared with"),
  since: time,
  until: time,
  sample: z
    .object({
      audits: count,
      findings: count.describe("The sum of their counts"),
      unjudged: count.describe("Findings that no rule decided, or of which too little was kept"),
      drifted: count.describe("Findings that the policy in force would tell otherwise today"),
      guessed: count.describe("Findings judged by the labels of another container of the image"),
      models: count,
      idleModels: count.describe("Left out, since no container has their image now"),
      entries: count.describe("Names, ports and places that models hold"),
      unjudgedEntries: count,
      lookups: count.describe("Names that containers resolved in the last ten minutes or longer"),
    })
    .describe("What was judged again"),
  totals: z
    .record(z.enum(CHANGES), z.object({ audits: count, models: count, lookups: count }))
    .describe("Findings, entries of models, and names resolved lately, that would go otherwise"),
  groups: z.array(
    z.object({
      change: z.enum(CHANGES),
      source: z.enum(["audits", "models", "lookups"]),
      image: z.string(),
      rules: z.object({ before: z.string().nullable(), after: z.string().nullable() }),
      effects: z.object({ before: finding.nullable(), after: finding.nullable() }),
      attackType: z.enum(ATTACK_TYPES).nullable(),
      count: count,
      containers: z.array(z.string()).describe("At most 20"),
      moreContainers: count,
      samples: z.array(z.object({ message: z.string(), count })).describe("The most frequent"),
    }),
  ),
  omitted: count.describe("Counted in the totals and in no group, since there were too many"),
  notes: z.array(z.string()).describe("What the sample is, and is not"),
});

export const statusReport = z.object({
  version: z.string(),
  host: z.string(),
  pid: count,
  startedAt: time,
  uptime: seconds,
  failMode: z.enum(["open", "closed"]),
  docker: z.object({
    state: z.enum(["connected", "waiting", "notPermitted"]),
    socket: z.string(),
    version: z.string().nullable(),
    error: z.string().nullable().describe("Why it is not connected"),
  }),
  networks: z.array(network),
  listening: z.array(
    z.object({
      use: z.enum(["dns", "control", "console"]),
      protocol: z.enum(["udp", "tcp", "unix"]),
      address: z.string().describe("`ADDRESS:PORT`, `[ADDRESS]:PORT`, or a path"),
    }),
  ),
  containers: z.object({
    total: count,
    running: count,
    blocked: z.array(
      z.object({ id: z.string(), name: z.string(), action: blockAction, reason: z.string(), since: time }),
    ),
  }),
  block: z.object({
    action: blockAction.describe("What `block` does to a container"),
    stoppedLately: count.describe("Containers that rules stopped within `block.breaker.within`"),
    refused: count.describe("Findings that would have stopped their container, had the breaker let them"),
    spared: z
      .array(z.object({ id: z.string(), name: z.string(), reason: z.string() }))
      .describe("Containers that run only because of the breaker"),
  }),
  dns,
  packets,
  queue,
  policy: z.object({
    revision: count,
    file: z.string().nullable().describe("Null: the built-in rules, there is no file"),
    rules: count,
    loadedAt: time,
    lastError: z
      .object({ time, message: z.string() })
      .nullable()
      .describe("Of the latest reload, when it was refused"),
  }),
  feeds: z.array(feedReport),
  models: z.object({ learning: count, active: count, archived: count, manual: count }),
  exemptions: z.array(exemption).describe("In the order in which they end"),
  rawSockets: z.object({
    source: z.enum(["trace", "tables"]).describe("`tables`: those that live for moments are not seen"),
    reason: z.string().nullable().describe("Why there is no trace"),
  }),
  audits: z.object({
    accepted: count,
    folded: count.describe("Raised the count of a record that was open"),
    dropped: count.describe("Refused because too much waited for the disk, or lost on the way"),
    waiting: count,
    stored: count,
    bytes: count,
    oldest: time.nullable(),
    error: z.string().nullable().describe("Why nothing can be written at the moment"),
  }),
  incidents: z.object({
    open: ofEachKind.describe("Not closed, acknowledged ones among them"),
    acknowledged: count,
    opened: ofEachKind.describe("For the first time or again"),
    closedByItself: z
      .object({ rested: count, containerGone: count, crowded: count })
      .describe("No new evidence for long; the container gone for long; too many open"),
    error: z.string().nullable().describe("Why nothing can be written at the moment"),
  }),
  dropped: z.object({
    findings: count.describe("Lost between the data thread and the audit log"),
    observations: count.describe("Lost between the data thread and the models"),
  }),
  warnings: z.array(z.string()).describe("What an operator should put right"),
});

export const containerReport = z.object({
  id: z.string(),
  name: z.string(),
  image: z.string(),
  imageDigest: z.string(),
  namespace: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  state: z.enum(["created", "running", "paused", "exited", "blocked"]),
  pid: count,
  startedAt: time.nullable(),
  networkMode: z.string(),
  networks: z.array(
    z.object({ name: z.string(), bridge: z.string(), veth: z.string(), addresses: z.array(z.string()) }),
  ),
  rule: z.string().nullable().describe("The rule that governs it; null: none does"),
  dnsEffect: effect,
  networkEffect: effect,
  model: z.object({ key: z.string(), state: modelState }).nullable(),
});

export const modelReport = z.object({
  key: z.string().describe("Image digest, with `@namespace` behind it where there is one"),
  image: z.string(),
  state: modelState,
  learned: seconds.describe("Container run time it has learned from"),
  learningTime: seconds.describe("Run time after which it becomes active"),
  containers: count.describe("Running now"),
  names: count,
  outboundPorts: count,
  listeningPorts: count,
  internalDestinations: count,
  locked: z.boolean().describe("It judges, and changes only by an operator's hand"),
  trialUntil: time.nullable().describe("Until when an active model is on trial; null: it is not"),
  predecessor: z.string().nullable().describe("Key of the model that it began with"),
  saturation: z
    .number()
    .nonnegative()
    .nullable()
    .describe("New entries per hour of run time, lately; null: too little ran to tell"),
  trust: z.enum(["learning", "settling", "settled"]),
  dropped: count.describe("Entries not taken because it was full"),
  createdAt: time,
  changedAt: time,
});

const learnedEntry = {
  firstSeen: time,
  lastSeen: time,
  count,
  container: z.string().describe("Who taught it"),
  inherited: z.boolean().describe("Taken over from the model of an earlier image"),
};
const learnedPort = z.object({ protocol: z.string(), port: count, ...learnedEntry });

export const modelDetail = modelReport.extend({
  entries: z.object({
    names: z.array(
      z.object({
        name: z.string(),
        ...learnedEntry,
        members: z.array(z.string()).describe("Names that a wildcard was generalised from"),
      }),
    ),
    outboundPorts: z.array(learnedPort),
    listeningPorts: z.array(learnedPort),
    internalDestinations: z.array(learnedPort.extend({ subnet: z.string().describe("A /24, or a /64") })),
  }),
});

/** Seconds of the longest extension: 90 days, as long as a learning time may be. */
const MAX_EXTENSION = 90 * 86_400;

export const modelChange = z.discriminatedUnion("action", [
  z.strictObject({
    action: z.literal("relearn"),
    afresh: z.boolean().default(false).describe("Forget everything first"),
  }),
  z.strictObject({ action: z.literal("extend"), time: z.number().positive().max(MAX_EXTENSION) }),
  z.strictObject({ action: z.enum(["manual", "stop", "lock", "unlock"]) }),
  z.strictObject({
    action: z.enum(["forget", "expand"]),
    entry: z.string().min(1).max(1_024).describe("As the model shows it: a name, `443/tcp`, `listen:80/tcp`"),
  }),
]);

/** What of a model's file is known here; the daemon checks the rest. */
export const modelFile = z
  .looseObject({ format: z.literal("tidesman-model"), version: z.int() })
  .describe("A model as a file, as docs/models.md describes it");

const incidentEvent = z.object({
  time,
  attackType: z.enum(ATTACK_TYPES).nullable().describe("Null for what was no finding"),
  effect: finding.nullable(),
  message: z.string(),
  audit: z.string().nullable().describe("Identifier of the audit that tells it"),
});

export const incidentSummary = z.object({
  id: z.string(),
  kind: z.enum(INCIDENT_KINDS),
  state: z.enum(["open", "acknowledged", "closed"]),
  host: z.string(),
  container: auditContainer,
  summary: z.string(),
  openedAt: time,
  lastAt: time.describe("Its latest evidence"),
  acknowledgedAt: time.nullable(),
  closedAt: time.nullable(),
  note: z.string().nullable(),
  reopened: count.describe("Times that it came again after it was closed"),
  count: count.describe("Findings that are its evidence"),
  attackTypes: z.array(z.enum(ATTACK_TYPES)),
});

export const evidenceSummary = z.object({
  id: z.string(),
  time,
  container: auditContainer,
  reason: z.string().describe("The finding that led to the block"),
  action: blockAction,
  result: z.enum(["killed", "paused", "isolated", "stopped", "gone", "failed"]),
});

export const evidence = evidenceSummary.extend({
  took: count.describe("Milliseconds"),
  processes: z.array(
    z.object({
      pid: count,
      innerPid: count.describe("In the container's own numbering"),
      parent: count,
      user: count,
      group: count,
      name: z.string(),
      executable: z.string(),
      commandLine: z.string().describe("Its beginning; may hold secrets"),
      startedAt: time.nullable(),
    }),
  ),
  sockets: z.array(
    z.object({
      protocol: z.enum(["tcp", "udp", "raw", "packet"]),
      state: z.string().nullable(),
      local: z.string(),
      remote: z.string().nullable(),
      user: count,
      processes: z.array(count).describe("Host pids of those who hold it"),
    }),
  ),
  interfaces: z.array(
    z.object({ name: z.string(), hardwareAddress: z.string(), addresses: z.array(z.string()) }),
  ),
  omitted: z.object({ processes: count, sockets: count }),
  complete: z.boolean().describe("False when time ran out, or the container had ended"),
  recorder: z.array(incidentEvent).describe("What it was seen doing before"),
});

export const incident = incidentSummary.extend({
  evidence: z.array(z.string()).describe("Identifiers of the evidence of its container, the latest first"),
  audits: z.array(z.string()),
  timeline: z.array(incidentEvent).describe("Its evidence in the order in which it came"),
  recorder: z.array(incidentEvent).describe("All that the container was seen doing around it"),
  omitted: z
    .object({ audits: count, timeline: count, recorder: count })
    .describe("What was left out of the middle, because the lists are bounded"),
});

export const policyReport = z.object({
  revision: count,
  file: z.string().nullable(),
  loadedAt: time,
  text: z.string().describe("The rules in force, as YAML; the file's own text where there is one"),
  rules: z.array(z.record(z.string(), z.json())).describe("The same, parsed"),
  notices: z.array(notice),
});

export const reloadOutcome = z.object({
  revision: count,
  previousRevision: count,
  rules: count,
  notices: z.array(notice),
});

export const judgement = z.object({
  event: z.enum(["query", "answer", "connection"]),
  subject: z.string().describe("`evil.example (A)`, `203.0.113.1:443/tcp`"),
  message: z.string().describe("The decision as a sentence, as an audit would tell it"),
  verdict: z.enum(["allow", "drop"]),
  effect: finding.nullable().describe("Null: nothing was found"),
  attackType: z.enum(ATTACK_TYPES).nullable(),
  rule: z.string().nullable(),
  reasons: z.array(reason).describe("All that spoke, the deciding one first"),
});

export const whyReport = z.object({
  container: auditContainer,
  state: z.enum(["created", "running", "paused", "exited", "blocked"]),
  rule: z.string().nullable(),
  dnsEffect: effect,
  networkEffect: effect,
  model: z.object({ key: z.string(), state: modelState }).nullable(),
  target: z.string(),
  judgements: z.array(judgement),
  names: z.array(z.string()).describe("Names this container resolved the address from"),
  notes: z.array(z.string()).describe("What else bears on it"),
  revision: count,
});

export const unblockOutcome = z.object({
  id: z.string(),
  name: z.string(),
  state: z.enum(["created", "running", "paused", "exited", "blocked"]),
  message: z.string().describe("What was undone"),
});

export const failure = z.object({ code: z.string(), message: z.string() });
