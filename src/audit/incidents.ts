/**
 * Incidents: findings in, a pattern of them recognised (incident-detector.ts), its evidence kept, and everyone who listens
 * told. One incident is open for each kind and container; further evidence is added to it, and one that was closed opens
 * again when its pattern comes again within a day.
 *
 * Openings and what operators do are on the disk when the call returns; evidence follows within `SAVE_AFTER`. A disk that
 * fails loses none of it: what could not be written stays in memory and is tried again.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { Finding, Observation } from "../policy/types.ts";
import { identifierFactory } from "./identifier.ts";
import { IncidentDatabase } from "./incident-database.ts";
import { IncidentDetector, type Sign } from "./incident-detector.ts";
import {
  type Incident,
  type IncidentEvent,
  type IncidentKind,
  type IncidentSummary,
  summaryOf,
} from "./incident-record.ts";
import type { AuditContainer } from "./record.ts";

/** Milliseconds after its close in which an incident opens again. */
const REOPENS = 86_400_000;
/** Milliseconds that a closed incident is kept. */
const KEPT = 90 * 86_400_000;
/** Milliseconds until evidence is written and told. */
const SAVE_AFTER = 5_000;
/** Events that the flight recorder of a container holds, and containers that have one. */
const RECORDED = 100;
const RECORDERS = 1_000;
/** Most of each list of an incident, and how many of its beginning are never left out. */
const BOUNDS = {
  audits: { most: 500, head: 100 },
  timeline: { most: 200, head: 50 },
  recorder: { most: 300, head: RECORDED },
} as const;
/** Most incidents of one answer. */
const LISTED = 1_000;

export interface IncidentLogOptions {
  /** Database file. */
  readonly file: string;
  readonly host: string;
  readonly clock: Clock;
  /** Told what an operator should know. */
  readonly onNotice: (message: string) => void;
}

/** `isNew`: it was opened, for the first time or again. */
export type IncidentListener = (incident: IncidentSummary, isNew: boolean) => void;

export class IncidentLog {
  readonly #options: IncidentLogOptions;
  readonly #database: IncidentDatabase;
  readonly #detector = new IncidentDetector();
  readonly #identifier = identifierFactory();
  readonly #recorders = new LRUCache<string, IncidentEvent[]>({ max: RECORDERS });
  /** Not closed, by container and kind. */
  readonly #open = new Map<string, Map<IncidentKind, Incident>>();
  /** Number of the latest evidence in each open incident. */
  readonly #seen = new Map<string, number>();
  /** Changed since they were last written, by identifier. */
  readonly #unsaved = new Map<string, Incident>();
  /** Incidents whose further evidence listeners have still to be told of. */
  readonly #evidence = new Set<string>();
  readonly #listeners = new Set<IncidentListener>();
  #saving: { cancel(): void } | null = null;
  #failing = false;

  /** Throws TM_STORE when nothing can be written there. */
  constructor(options: IncidentLogOptions) {
    this.#options = options;
    this.#database = new IncidentDatabase(options.file, options.onNotice);
    this.#database.prune(options.clock.now() - KEPT);
    for (const incident of this.#database.open()) this.#hold(incident);
  }

  /** Takes a finding with the audit that tells it. Does not throw: a failing disk is told as a notice. */
  observe(finding: Finding, audit: string | null, container: AuditContainer | null): void {
    if (container === null) return;
    this.#record(container.id, eventOf(finding, audit));
    for (const sign of this.#detector.observe(finding, audit, this.#options.clock.now())) {
      this.#signed(sign, container);
    }
  }

  /** What models learn from also goes into the flight recorders. */
  saw(observations: readonly Observation[]): void {
    for (const observation of observations) {
      const time = new Date(observation.time).toISOString();
      const message = describe(observation);
      this.#record(observation.container, { time, attackType: null, effect: null, message, audit: null });
    }
  }

  /** Oldest first; the newest thousand of them with `all`, else those that are not closed. Throws TM_STORE. */
  list(all: boolean): readonly IncidentSummary[] {
    if (!all) return [...this.#held()].sort((a, b) => (a.id < b.id ? -1 : 1)).map(summaryOf);
    this.#save();
    return this.#database.newest(LISTED).map(summaryOf);
  }

  /** By identifier or the beginning of one. Throws TM_NOT_FOUND, TM_STORE. */
  show(id: string): Incident {
    this.#save();
    const found = id === "" ? [] : this.#database.beginning(id.toUpperCase());
    const [incident] = found;
    if (incident !== undefined && found.length === 1) {
      return this.#open.get(incident.container.id)?.get(incident.kind) ?? incident;
    }
    throw new TidesmanError(
      "TM_NOT_FOUND",
      found.length === 0
        ? `no incident \`${id}\`; \`tidesman incidents list --all\` lists them`
        : `several incidents begin with \`${id}\`; give more of it`,
    );
  }

  /** Throws TM_NOT_FOUND, TM_STORE, and TM_USAGE for a closed one. */
  acknowledge(id: string, note: string | null): Incident {
    const incident = this.#unclosed(id);
    const acknowledgedAt = this.#now();
    return this.#operated({
      ...incident,
      state: "acknowledged",
      acknowledgedAt,
      note: note ?? incident.note,
    });
  }

  /** Throws TM_NOT_FOUND, TM_STORE, and TM_USAGE for one that is closed already. */
  close(id: string, note: string): Incident {
    const closed = this.#operated({ ...this.#unclosed(id), state: "closed", closedAt: this.#now(), note });
    this.#database.prune(this.#options.clock.now() - KEPT);
    return closed;
  }

  /** How many are not closed. */
  counts(): Readonly<Record<IncidentKind, number>> {
    const counts: Record<IncidentKind, number> = {
      portScan: 0,
      dataExfiltration: 0,
      commandAndControl: 0,
      compromisedContainer: 0,
    };
    for (const { kind } of this.#held()) counts[kind]++;
    return counts;
  }

  /** Calls back when an incident opens, has more evidence, or was acknowledged or closed. Returns the unsubscriber. */
  subscribe(listener: IncidentListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes what waits. */
  stop(): void {
    this.#saving?.cancel();
    this.#save();
    this.#database.close();
  }

  *#held(): Iterable<Incident> {
    for (const kinds of this.#open.values()) yield* kinds.values();
  }

  #hold(incident: Incident): void {
    const kinds = this.#open.get(incident.container.id) ?? new Map<IncidentKind, Incident>();
    this.#open.set(incident.container.id, kinds.set(incident.kind, incident));
  }

  #signed(sign: Sign, container: AuditContainer): void {
    const open = this.#open.get(container.id)?.get(sign.kind);
    const before = open ?? this.#again(sign.kind, container.id);
    const incident = before ?? this.#first(sign, container);
    const seen = this.#seen.get(incident.id) ?? 0;
    const fresh = sign.evidence.filter(({ number }) => number > seen);
    const events = fresh.map(({ finding, audit }) => eventOf(finding, audit));
    const audits = keep(
      incident.audits,
      fresh.flatMap(({ audit }) => (audit === null || incident.audits.includes(audit) ? [] : [audit])),
      BOUNDS.audits,
    );
    const timeline = keep(incident.timeline, events, BOUNDS.timeline);
    const changed: Incident = {
      ...incident,
      container,
      summary: sign.summary,
      lastAt: [incident.lastAt, ...events.map(({ time }) => time)].sort().at(-1)!,
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
    this.#seen.set(incident.id, sign.evidence.at(-1)?.number ?? seen);
    this.#hold(changed);
    this.#change(changed, open === undefined);
  }

  #first(sign: Sign, container: AuditContainer): Incident {
    const now = this.#now();
    return {
      id: this.#identifier(this.#options.clock.now()),
      kind: sign.kind,
      state: "open",
      host: this.#options.host,
      container,
      summary: sign.summary,
      openedAt: now,
      lastAt: new Date(sign.evidence[0]?.finding.time ?? this.#options.clock.now()).toISOString(),
      acknowledgedAt: null,
      closedAt: null,
      note: null,
      reopened: 0,
      count: 0,
      attackTypes: [],
      audits: [],
      timeline: [],
      recorder: [...(this.#recorders.get(container.id) ?? [])],
      omitted: { audits: 0, timeline: 0, recorder: 0 },
    };
  }

  /** One that was closed lately, open again. */
  #again(kind: IncidentKind, container: string): Incident | undefined {
    const since = this.#options.clock.now() - REOPENS;
    const closed = this.#attempt(() => this.#database.closed(container, kind, since));
    if (closed === undefined) return undefined;
    const recorder = keep(closed.recorder, this.#recorders.get(container) ?? [], BOUNDS.recorder);
    return {
      ...closed,
      state: "open",
      acknowledgedAt: null,
      closedAt: null,
      reopened: closed.reopened + 1,
      recorder: recorder.kept,
      omitted: { ...closed.omitted, recorder: closed.omitted.recorder + recorder.omitted },
    };
  }

  #record(container: string, event: IncidentEvent): void {
    const recorder = this.#recorders.get(container) ?? [];
    recorder.push(event);
    if (recorder.length > RECORDED) recorder.shift();
    this.#recorders.set(container, recorder);
    for (const incident of [...(this.#open.get(container)?.values() ?? [])]) {
      const { kept, omitted } = keep(incident.recorder, [event], BOUNDS.recorder);
      const all = { ...incident.omitted, recorder: incident.omitted.recorder + omitted };
      const changed = { ...incident, recorder: kept, omitted: all };
      this.#hold(changed);
      this.#unsaved.set(changed.id, changed);
      this.#saveLater();
    }
  }

  #unclosed(id: string): Incident {
    const incident = this.show(id);
    if (incident.state !== "closed") return incident;
    throw new TidesmanError(
      "TM_USAGE",
      `incident \`${incident.id}\` is closed; it opens again when it comes again`,
    );
  }

  /** What an operator did holds only if it is on the disk. */
  #operated(incident: Incident): Incident {
    this.#database.save([incident]);
    this.#unsaved.delete(incident.id);
    if (incident.state === "closed") {
      const kinds = this.#open.get(incident.container.id);
      kinds?.delete(incident.kind);
      if (kinds?.size === 0) this.#open.delete(incident.container.id);
      this.#seen.delete(incident.id);
      this.#detector.settle(incident.container.id, incident.kind);
    } else this.#hold(incident);
    this.#tell(incident, false);
    return incident;
  }

  #change(incident: Incident, isNew: boolean): void {
    this.#unsaved.set(incident.id, incident);
    if (isNew) {
      this.#attempt(() => this.#save());
      this.#tell(incident, true);
    } else {
      this.#evidence.add(incident.id);
      this.#saveLater();
    }
  }

  #saveLater(): void {
    this.#saving ??= this.#options.clock.after(SAVE_AFTER, () => {
      this.#saving = null;
      this.#attempt(() => this.#save());
      if (this.#unsaved.size > 0) this.#saveLater();
      for (const incident of [...this.#held()].filter(({ id }) => this.#evidence.has(id))) {
        this.#tell(incident, false);
      }
      this.#evidence.clear();
    });
  }

  /** Throws TM_STORE. */
  #save(): void {
    if (this.#unsaved.size === 0) return;
    this.#database.save(this.#unsaved.values());
    this.#unsaved.clear();
    if (this.#failing) this.#options.onNotice("incidents are written again");
    this.#failing = false;
  }

  #attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!this.#failing) this.#options.onNotice(error instanceof Error ? error.message : String(error));
      this.#failing = true;
      this.#saveLater();
      return undefined;
    }
  }

  #tell(incident: Incident, isNew: boolean): void {
    const summary = summaryOf(incident);
    for (const listener of this.#listeners) {
      try {
        listener(summary, isNew);
      } catch (error) {
        this.#options.onNotice(
          `a listener of incidents failed: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
  }

  #now(): string {
    return new Date(this.#options.clock.now()).toISOString();
  }
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

function eventOf(finding: Finding, audit: string | null): IncidentEvent {
  const { time, attackType, effect, message } = finding;
  return { time: new Date(time).toISOString(), attackType, effect, message, audit };
}

function describe(observation: Observation): string {
  if (observation.kind === "name") return `looked up ${observation.name}`;
  if (observation.kind === "internalDestination")
    return `connected inside to ${observation.subnet} port ${observation.port}`;
  const did = observation.kind === "outboundPort" ? "connected to the Internet, port" : "listens on port";
  return `${did} ${observation.port} (IP protocol ${observation.protocol})`;
}
