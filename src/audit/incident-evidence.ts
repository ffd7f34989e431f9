/** What an incident keeps of findings and observations, in bounded lists. Pure. */
import type { Finding, Observation } from "../policy/types.ts";
import type { Sign } from "./incident-detector.ts";
import { type Incident, type IncidentEvent, OF_THE_HOST } from "./incident-record.ts";
import type { AuditContainer } from "./record.ts";

/** Events that the flight recorder of a container holds. */
export const RECORDED = 100;

/** Most of each list of an incident, and how many of its beginning are never left out. */
const BOUNDS = {
  audits: { most: 500, head: 100 },
  timeline: { most: 200, head: 50 },
  recorder: { most: 300, head: RECORDED },
} as const;

/**
 * The incident with what of the sign's evidence is newer than number `seen`. Facts of the container and the summary are the
 * latest; an incident of the host keeps its first container, and its evidence names those that it is of.
 */
export function withEvidence(
  incident: Incident,
  sign: Sign,
  seen: number,
  container: AuditContainer,
): Incident {
  const fresh = sign.evidence.filter(({ number }) => number > seen);
  const isOfTheHost = sign.kind === OF_THE_HOST;
  const events = fresh.map(({ finding, audit }) => {
    const event = eventOf(finding, audit);
    return isOfTheHost ? { ...event, message: `${container.name}: ${event.message}` } : event;
  });
  const audits = keep(
    incident.audits,
    fresh.flatMap(({ audit }) => (audit === null || incident.audits.includes(audit) ? [] : [audit])),
    BOUNDS.audits,
  );
  const timeline = keep(incident.timeline, events, BOUNDS.timeline);
  return {
    ...incident,
    container: isOfTheHost ? incident.container : container,
    summary: sign.summary,
    lastAt: [incident.lastAt, ...events.map(({ time }) => time)].sort().at(-1) ?? incident.lastAt,
    count: incident.count + fresh.reduce((sum, { finding }) => sum + finding.count, 0),
    attackTypes: [...new Set([...incident.attackTypes, ...fresh.map(({ finding }) => finding.attackType)])],
    audits: [...new Set(audits.kept)],
    timeline: timeline.kept,
    omitted: {
      audits: incident.omitted.audits + audits.omitted,
      timeline: incident.omitted.timeline + timeline.omitted,
      recorder: incident.omitted.recorder,
    },
  };
}

/** The incident with what the container did besides. */
export function withRecorded(incident: Incident, events: readonly IncidentEvent[]): Incident {
  const { kept, omitted } = keep(incident.recorder, events, BOUNDS.recorder);
  const all = { ...incident.omitted, recorder: incident.omitted.recorder + omitted };
  return { ...incident, recorder: kept, omitted: all };
}

/** A closed one, open again. */
export function openAgain(closed: Incident, recorder: readonly IncidentEvent[]): Incident {
  return {
    ...withRecorded(closed, recorder),
    state: "open",
    acknowledgedAt: null,
    closedAt: null,
    reopened: closed.reopened + 1,
  };
}

export function eventOf(finding: Finding, audit: string | null): IncidentEvent {
  const { time, attackType, effect, message } = finding;
  return { time: new Date(time).toISOString(), attackType, effect, message, audit };
}

/** What the container's model learned from. */
export function observed(observation: Observation): IncidentEvent {
  const time = new Date(observation.time).toISOString();
  return { time, attackType: null, effect: null, message: describe(observation), audit: null };
}

function describe(observation: Observation): string {
  if (observation.kind === "name") return `looked up ${observation.name}`;
  if (observation.kind === "internalDestination")
    return `connected inside to ${observation.subnet} port ${observation.port}`;
  const did = observation.kind === "outboundPort" ? "connected to the Internet, port" : "listens on port";
  return `${did} ${observation.port} (IP protocol ${observation.protocol})`;
}

/** `list` with `more` behind it; what is too much is left out of the middle, behind the head. */
function keep<T>(
  list: readonly T[],
  more: readonly T[],
  { most, head }: { readonly most: number; readonly head: number },
): { readonly kept: readonly T[]; readonly omitted: number } {
  const all = [...list, ...more];
  const omitted = Math.max(0, all.length - most);
  return { kept: omitted === 0 ? all : [...all.slice(0, head), ...all.slice(head + omitted)], omitted };
}
