/**
 * Incidents: findings in, a pattern of them recognised (incident-detector.ts), its evidence kept, and everyone who listens
 * told. One incident is open for each kind and container; further evidence is added to it, and one that was closed opens
 * again when its pattern comes again within a day. What nobody closes closes by itself (incident-upkeep.ts).
 *
 * Openings and what operators do are on the disk when the call returns; evidence follows within `SAVE_AFTER`. A disk that
 * fails loses none of it: what could not be written stays in memory and is tried again.
 *
 * Length: what is open, what stands on the disk and who was told change together, in one order.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { Finding, Observation } from "../policy/types.ts";
import { identifierFactory } from "./identifier.ts";
import { IncidentDatabase } from "./incident-database.ts";
import { IncidentDetector, type Sign } from "./incident-detector.ts";
import { eventOf, observed, openAgain, RECORDED, withEvidence, withRecorded } from "./incident-evidence.ts";
import {
  INCIDENT_KINDS,
  type Incident,
  type IncidentEvent,
  type IncidentKind,
  type IncidentSummary,
  OF_THE_HOST,
  summaryOf,
} from "./incident-record.ts";
import { type Closing, type ClosingReason, type IncidentLimits, IncidentUpkeep } from "./incident-upkeep.ts";
import type { AuditContainer } from "./record.ts";

/** Milliseconds after its close in which an incident opens again. */
const REOPENS = 86_400_000;
/** Milliseconds until evidence is written and told. */
const SAVE_AFTER = 5_000;
/** Milliseconds between looks for incidents that are to be closed, and for closed ones that are too old. */
const TEND_EVERY = 60_000;
/** Containers that have a flight recorder. */
const RECORDERS = 1_000;
/** Times the limit of open incidents that may wait for a disk that fails. */
const UNSAVED = 2;
/** Most incidents of one answer. */
const LISTED = 1_000;

export interface IncidentLogOptions {
  /** Database file. */
  readonly file: string;
  readonly host: string;
  readonly clock: Clock;
  readonly limits: IncidentLimits;
  /** Identifiers of the containers that exist; null while that is not known. */
  readonly containers: () => ReadonlySet<string> | null;
  /** Told what an operator should know. */
  readonly onNotice: (message: string) => void;
}

/** Numbers since the start, but for those that are open now. */
export interface IncidentStats {
  /** Not closed; those that somebody has seen among them. */
  readonly open: Readonly<Record<IncidentKind, number>>;
  readonly acknowledged: number;
  /** For the first time or again. */
  readonly opened: Readonly<Record<IncidentKind, number>>;
  readonly closedByItself: Readonly<Record<ClosingReason, number>>;
  /** Why nothing can be written at the moment; null when all is well. */
  readonly error: string | null;
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
  readonly #upkeep: IncidentUpkeep;
  readonly #opened = noneOfAnyKind();
  readonly #closedByItself: Record<ClosingReason, number> = { rested: 0, containerGone: 0, crowded: 0 };
  readonly #tending: { cancel(): void };
  #saving: { cancel(): void } | null = null;
  #error: string | null = null;

  /** Throws TM_STORE when nothing can be written there. */
  constructor(options: IncidentLogOptions) {
    this.#options = options;
    this.#database = new IncidentDatabase(options.file, options.onNotice);
    this.#upkeep = new IncidentUpkeep(options.limits, options.containers);
    this.#prune();
    for (const incident of this.#database.open()) this.#hold(incident);
    this.#tend();
    this.#tending = options.clock.every(TEND_EVERY, () => this.#tend());
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
    for (const observation of observations) this.#record(observation.container, observed(observation));
  }

  /** The flight recorder of a container: what it was seen doing lately, oldest first. */
  recorder(container: string): readonly IncidentEvent[] {
    return [...(this.#recorders.get(container) ?? [])];
  }

  /** The latest first; a thousand of them with `all`, else those that are not closed. Throws TM_STORE. */
  list(all: boolean): readonly IncidentSummary[] {
    if (!all) return [...this.#held()].sort((a, b) => (a.id < b.id ? 1 : -1)).map(summaryOf);
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
    this.#prune();
    return closed;
  }

  stats(): IncidentStats {
    const open = noneOfAnyKind();
    let acknowledged = 0;
    for (const { kind, state } of this.#held()) {
      open[kind]++;
      if (state === "acknowledged") acknowledged++;
    }
    const [opened, closedByItself] = [{ ...this.#opened }, { ...this.#closedByItself }];
    return { open, acknowledged, opened, closedByItself, error: this.#error };
  }

  /** Calls back when an incident opens, has more evidence, or was acknowledged or closed. Returns the unsubscriber. */
  subscribe(listener: IncidentListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes what waits. */
  stop(): void {
    this.#tending.cancel();
    this.#saving?.cancel();
    this.#save();
    this.#database.close();
  }

  *#held(): Generator<Incident> {
    for (const kinds of this.#open.values()) yield* kinds.values();
  }

  #hold(incident: Incident): void {
    const kinds = this.#open.get(incident.container.id) ?? new Map<IncidentKind, Incident>();
    this.#open.set(incident.container.id, kinds.set(incident.kind, incident));
  }

  #signed(sign: Sign, from: AuditContainer): void {
    // One for the host: the others that are spared are evidence of the same.
    const shared =
      sign.kind === OF_THE_HOST ? this.#held().find(({ kind }) => kind === OF_THE_HOST) : undefined;
    const container = shared?.container ?? from;
    const open = this.#open.get(container.id)?.get(sign.kind);
    const before = open ?? this.#again(sign.kind, container.id);
    const incident = before ?? this.#first(sign, container);
    const seen = this.#seen.get(incident.id) ?? 0;
    const changed = withEvidence(incident, sign, seen, from);
    this.#seen.set(incident.id, sign.evidence.at(-1)?.number ?? seen);
    this.#hold(changed);
    this.#change(changed, open === undefined);
    if (open === undefined) this.#makeRoom(changed.id);
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
    // One that closed by itself a moment ago may not be written yet.
    const waiting = [...this.#unsaved.values()].find(
      (one) => one.container.id === container && one.kind === kind && Date.parse(one.closedAt ?? "") > since,
    );
    const closed = waiting ?? this.#attempt(() => this.#database.closed(container, kind, since));
    if (closed === undefined) return undefined;
    return openAgain(closed, this.#recorders.get(container) ?? []);
  }

  #record(container: string, event: IncidentEvent): void {
    const recorder = this.#recorders.get(container) ?? [];
    recorder.push(event);
    if (recorder.length > RECORDED) recorder.shift();
    this.#recorders.set(container, recorder);
    for (const incident of [...(this.#open.get(container)?.values() ?? [])]) {
      const changed = withRecorded(incident, [event]);
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
    if (incident.state === "closed") this.#leave(incident);
    else this.#hold(incident);
    this.#tell(incident, false);
    return incident;
  }

  #leave({ id, kind, container }: Incident): void {
    const kinds = this.#open.get(container.id);
    kinds?.delete(kind);
    if (kinds?.size === 0) this.#open.delete(container.id);
    this.#seen.delete(id);
    this.#evidence.delete(id);
    this.#detector.settle(container.id, kind);
  }

  // ---------------------------------------------------------------------------------------------- by itself

  #tend(): void {
    for (const closing of this.#upkeep.due([...this.#held()], this.#options.clock.now())) {
      this.#closeByItself(closing);
    }
    this.#makeRoom(null);
    this.#attempt(() => {
      this.#save();
      this.#prune();
    });
  }

  #makeRoom(latest: string | null): void {
    for (const closing of this.#upkeep.crowded([...this.#held()], latest)) {
      const { incident } = closing;
      this.#options.onNotice(
        `incident ${incident.id} (${incident.kind} of \`${incident.container.name}\`) gives way: ` +
          `more than ${this.#options.limits.limit} are open (incidents.limit)`,
      );
      this.#closeByItself(closing);
    }
  }

  /** Unlike an operator's closing this one does not wait for the disk; where it fails, it is written later. */
  #closeByItself({ incident, reason, note }: Closing): void {
    const closed: Incident = { ...incident, state: "closed", closedAt: this.#now(), note };
    this.#unsaved.set(closed.id, closed);
    this.#closedByItself[reason]++;
    this.#leave(closed);
    this.#tell(closed, false);
    this.#saveLater();
    this.#shed();
  }

  /** What waits for a disk that fails is bounded: the first that closed are given up. */
  #shed(): void {
    const most = UNSAVED * this.#options.limits.limit;
    for (const [id, { state }] of this.#unsaved) {
      if (this.#unsaved.size <= most) return;
      if (state !== "closed") continue;
      this.#unsaved.delete(id);
      this.#options.onNotice(`incident ${id} is lost: it closed while nothing could be written`);
    }
  }

  /** Throws TM_STORE. */
  #prune(): void {
    this.#database.prune(this.#options.clock.now() - this.#options.limits.retention.age);
  }

  // ---------------------------------------------------------------------------------------------- to the disk

  #change(incident: Incident, isNew: boolean): void {
    this.#unsaved.set(incident.id, incident);
    if (isNew) {
      this.#opened[incident.kind]++;
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
    if (this.#error !== null) this.#options.onNotice("incidents are written again");
    this.#error = null;
  }

  #attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (this.#error === null) this.#options.onNotice(message);
      this.#error = message;
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

function noneOfAnyKind(): Record<IncidentKind, number> {
  return Object.fromEntries(INCIDENT_KINDS.map((kind) => [kind, 0])) as Record<IncidentKind, number>;
}
