/**
 * Which findings of a container together are an incident. Pure: fed with findings and the time, in the order in which
 * they come; what it keeps is bounded. A pattern is told each time a finding takes part in it, so that an incident that
 * is open already is given its further evidence.
 *
 * What it misses, on purpose: a beat faster than `beatBurst`, which cannot be told from a resolver that asks again, and
 * one that varies more than `beatVariation`.
 */
import { LRUCache } from "lru-cache";
import type { AttackType, Finding } from "../policy/types.ts";
import type { IncidentKind } from "./incident-record.ts";

/** All thresholds and bounds; times in milliseconds. docs/incidents.md explains them. */
export const INCIDENT_LIMITS = {
  /** So many different attack types within the window, one of them serious: a compromised container. */
  compromiseTypes: 3,
  compromiseWindow: 600_000,
  /** So many suspicious lookups within the window are exfiltration even where no detector says so. */
  exfiltrationRepeats: 5,
  exfiltrationWindow: 600_000,
  /** Contacts with one subject until their beat is judged, and the most of them that are kept. */
  beatContacts: 5,
  beatKept: 8,
  /** Findings closer than this to the one before are one contact. Resolvers ask again after 5 s (resolv.conf(5)). */
  beatBurst: 6_000,
  /** A longer silence begins a new beat. */
  beatSilence: 6 * 3_600_000,
  /** Standard deviation of the intervals, as a share of their mean, up to which a beat is regular. */
  beatVariation: 0.2,
  /** Subjects remembered of a container, and containers. The one that rested longest gives way. */
  subjects: 128,
  containers: 1_000,
} as const;

/** Attack types that tell of an intent by themselves. */
const SERIOUS: ReadonlySet<AttackType> = new Set<AttackType>([
  "feedDNS",
  "feedIP",
  "explicitlyDeniedDNS",
  "explicitlyDeniedIP",
  "explicitlyDeniedOutboundPort",
  "explicitlyDeniedListeningPort",
  "horizontalPortScan",
  "verticalPortScan",
  "rawSocket",
  "spoofedSource",
]);

/** Who is beaten to was listed by a feed, or is not known to the model. */
const BEATEN: ReadonlySet<AttackType> = new Set<AttackType>(["feedDNS", "feedIP", "unexpectedDNS"]);

/** Findings about the guard's own work, or an operator's, rather than a container's. */
const OF_THE_GUARD: ReadonlySet<AttackType> = new Set<AttackType>([
  "rulesetChanged",
  "staleFeed",
  "exempted",
]);

/** What detectors say of lookups that carry data, and of names that were generated. */
const CARRIES_DATA = /data sent over DNS|tunnel|exfiltrat/i;
const GENERATED = /names that malware generates/i;
/** Names stand between backticks: a container chooses them, and is not to choose what it is taken for. */
const NAMES = /`[^`]*`/g;

export interface Evidence {
  /** Counts up over all evidence of a detector. */
  readonly number: number;
  readonly finding: Finding;
  /** Identifier of its audit. */
  readonly audit: string | null;
}

/** A pattern that holds now. */
export interface Sign {
  readonly kind: IncidentKind;
  readonly summary: string;
  /** Oldest first; the finding that was just observed is the last. */
  readonly evidence: readonly Evidence[];
}

/** Contacts with one name or address. */
interface Beat {
  /** Time of the latest finding, which may belong to the latest contact. */
  last: number;
  /** The first finding of each contact. */
  contacts: Evidence[];
}

interface Watched {
  /** The latest finding of each attack type. */
  readonly types: Map<AttackType, Evidence>;
  /** The latest suspicious lookups. */
  suspicious: Evidence[];
  readonly beats: LRUCache<string, Beat>;
}

export class IncidentDetector {
  readonly #containers = new LRUCache<string, Watched>({ max: INCIDENT_LIMITS.containers });
  #number = 0;

  /** Containers that something is remembered of. */
  get size(): number {
    return this.#containers.size;
  }

  /** The patterns that `finding` takes part in. `now`: milliseconds since the epoch. */
  observe(finding: Finding, audit: string | null, now: number): readonly Sign[] {
    const id = finding.container;
    if (id === null || OF_THE_GUARD.has(finding.attackType)) return [];
    let watched = this.#containers.get(id);
    if (watched === undefined) {
      watched = { types: new Map(), suspicious: [], beats: new LRUCache({ max: INCIDENT_LIMITS.subjects }) };
      this.#containers.set(id, watched);
    }
    const evidence: Evidence = { number: ++this.#number, finding, audit };
    return [
      scan(evidence),
      exfiltration(watched, evidence, now),
      beat(watched, evidence),
      compromise(watched, evidence, now),
      block(evidence),
      breaker(evidence),
    ].filter((sign) => sign !== null);
  }

  /** What led to an incident of that kind is settled: it takes a pattern from the beginning to find it again. */
  settle(container: string, kind: IncidentKind): void {
    const watched = this.#containers.get(container);
    if (watched === undefined) return;
    if (kind === "compromisedContainer") watched.types.clear();
    if (kind === "dataExfiltration") watched.suspicious = [];
    if (kind === "commandAndControl") watched.beats.clear();
  }
}

function scan(evidence: Evidence): Sign | null {
  const { attackType, message } = evidence.finding;
  if (attackType !== "horizontalPortScan" && attackType !== "verticalPortScan") return null;
  return { kind: "portScan", summary: message, evidence: [evidence] };
}

function exfiltration(watched: Watched, evidence: Evidence, now: number): Sign | null {
  const { attackType, message, reasons } = evidence.finding;
  if (attackType !== "suspiciousDNS") return null;
  const said = [message, ...reasons.map((reason) => reason.message ?? "")].join("\n").replaceAll(NAMES, "");
  // Generated names look for a master; they carry nothing away.
  if (GENERATED.test(said)) return null;
  const { exfiltrationRepeats, exfiltrationWindow } = INCIDENT_LIMITS;
  watched.suspicious = [...watched.suspicious, evidence]
    .filter((one) => now - one.finding.time < exfiltrationWindow)
    .slice(-exfiltrationRepeats);
  if (CARRIES_DATA.test(said)) return { kind: "dataExfiltration", summary: message, evidence: [evidence] };
  if (watched.suspicious.length < exfiltrationRepeats) return null;
  const summary = `${exfiltrationRepeats} suspicious lookups within ${exfiltrationWindow / 60_000} minutes`;
  return { kind: "dataExfiltration", summary, evidence: watched.suspicious };
}

function beat(watched: Watched, evidence: Evidence): Sign | null {
  const { attackType, dns, connection, time } = evidence.finding;
  if (!BEATEN.has(attackType)) return null;
  const subject = dns?.name.toLowerCase() ?? connection?.destination;
  if (subject === undefined) return null;
  const known = watched.beats.get(subject);
  const { beatBurst, beatSilence, beatKept, beatContacts } = INCIDENT_LIMITS;
  if (known === undefined || time - known.last > beatSilence) {
    watched.beats.set(subject, { last: time, contacts: [evidence] });
    return null;
  }
  const isSame = time - known.last < beatBurst;
  known.last = Math.max(known.last, time);
  if (isSame) return null;
  known.contacts = [...known.contacts, evidence].slice(-beatKept);
  const interval = known.contacts.length < beatContacts ? null : regularInterval(known.contacts);
  if (interval === null) return null;
  const every =
    interval < 120_000 ? `${Math.round(interval / 1_000)} s` : `${Math.round(interval / 60_000)} min`;
  const summary = `contacts ${subject} about every ${every}`;
  return { kind: "commandAndControl", summary, evidence: known.contacts };
}

/** Mean interval of contacts, milliseconds; null where it varies. */
function regularInterval(contacts: readonly Evidence[]): number | null {
  const intervals = contacts.slice(1).map((one, index) => one.finding.time - contacts[index]!.finding.time);
  const mean = intervals.reduce((sum, one) => sum + one, 0) / intervals.length;
  const variance = intervals.reduce((sum, one) => sum + (one - mean) ** 2, 0) / intervals.length;
  return Math.sqrt(variance) <= INCIDENT_LIMITS.beatVariation * mean ? mean : null;
}

function block(evidence: Evidence): Sign | null {
  const { effect, message } = evidence.finding;
  return effect === "block"
    ? { kind: "blockedContainer", summary: `blocked: ${message}`, evidence: [evidence] }
    : null;
}

function breaker(evidence: Evidence): Sign | null {
  const reason = evidence.finding.reasons.find(({ kind }) => kind === "breaker");
  if (reason === undefined) return null;
  return {
    kind: "circuitBreaker",
    summary: `containers are not stopped: ${reason.message ?? "the breaker is open"}`,
    evidence: [evidence],
  };
}

function compromise(watched: Watched, evidence: Evidence, now: number): Sign | null {
  const { compromiseTypes, compromiseWindow } = INCIDENT_LIMITS;
  watched.types.set(evidence.finding.attackType, evidence);
  for (const [type, one] of watched.types) {
    if (now - one.finding.time >= compromiseWindow) watched.types.delete(type);
  }
  const types = [...watched.types.keys()];
  if (types.length < compromiseTypes || !types.some((type) => SERIOUS.has(type))) return null;
  return {
    kind: "compromisedContainer",
    summary: `${types.length} kinds of attack within ${compromiseWindow / 60_000} minutes: ${types.sort().join(", ")}`,
    evidence: [...watched.types.values()].sort((a, b) => a.number - b.number),
  };
}
