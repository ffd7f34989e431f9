/** The incident record: a public contract (`incidents --json`, the API, the stream of events). */
import type { AttackType, Effect } from "../policy/types.ts";
import type { AuditContainer } from "./record.ts";

export const INCIDENT_KINDS = [
  "portScan",
  "dataExfiltration",
  "commandAndControl",
  "compromisedContainer",
  "blockedContainer",
  "circuitBreaker",
] as const;
export type IncidentKind = (typeof INCIDENT_KINDS)[number];

/** The kind of which one is open for the host; of the others one for each container. */
export const OF_THE_HOST: IncidentKind = "circuitBreaker";

/** `acknowledged` is still open: somebody has seen it. */
export type IncidentState = "open" | "acknowledged" | "closed";

/** Something the container did: a finding, or, in the flight recorder, what its model learned from. */
export interface IncidentEvent {
  /** ISO 8601 with milliseconds, UTC. */
  readonly time: string;
  /** Null for what was no finding. */
  readonly attackType: AttackType | null;
  readonly effect: Exclude<Effect, "disable"> | null;
  readonly message: string;
  /** Identifier of the audit that tells it; null where there is none, or the audit log had no room. */
  readonly audit: string | null;
}

export interface IncidentSummary {
  /** ULID; its time part is the time of the opening. */
  readonly id: string;
  readonly kind: IncidentKind;
  readonly state: IncidentState;
  readonly host: string;
  readonly container: AuditContainer;
  /** What was seen, as a sentence. */
  readonly summary: string;
  readonly openedAt: string;
  /** Its latest evidence. */
  readonly lastAt: string;
  readonly acknowledgedAt: string | null;
  readonly closedAt: string | null;
  /** Of the latest acknowledgement or closing that gave one. */
  readonly note: string | null;
  /** Times that it came again after it was closed. */
  readonly reopened: number;
  /** Findings that are its evidence, whether they are still listed or not. */
  readonly count: number;
  readonly attackTypes: readonly AttackType[];
}

export interface Incident extends IncidentSummary {
  /** Identifiers of audits. */
  readonly audits: readonly string[];
  /** Its evidence in the order in which it came. */
  readonly timeline: readonly IncidentEvent[];
  /** All that the container was seen doing shortly before it opened and while it was open. */
  readonly recorder: readonly IncidentEvent[];
  /** How many of each were left out of the middle, because the lists are bounded. */
  readonly omitted: { readonly audits: number; readonly timeline: number; readonly recorder: number };
}

export function summaryOf(incident: Incident): IncidentSummary {
  const { audits: _audits, timeline: _timeline, recorder: _recorder, omitted: _omitted, ...rest } = incident;
  return rest;
}
