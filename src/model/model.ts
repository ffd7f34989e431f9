/**
 * What the containers of one image normally do: names they looked up, ports they used. Pure state; time is a parameter.
 *
 *     learning ──(learning time of container run time)──▶ active
 *        ▲ │                                              ▲ │
 *        │ └────(no container of the image runs)──▶ archived ┘      and back to what it was when one runs again
 *     manual: learns until an operator ends it; archived and revived like the others
 *
 * Run time is cumulative: two containers that run for half an hour teach as long as one that runs for an hour.
 */
import type { ContainerFacts, ModelState, Observation } from "../policy/types.ts";

/** Entries that one model may hold; what comes past that is counted and dropped. */
export const MAX_NAMES = 10_000;
export const MAX_PORTS = 4_096;
/** How long a model is kept after the last container of its image is gone; milliseconds. */
export const ARCHIVE_TIME = 24 * 60 * 60 * 1000;

/** A model as the data thread needs it. Plain data (it crosses threads). */
export interface ModelSnapshot {
  /** Image digest, with `@namespace` behind it where there is one. */
  readonly key: string;
  readonly state: ModelState;
  /** True while observations are learned instead of judged. */
  readonly learning: boolean;
  /** Presentation form; `*.example.com` stands for every name below `example.com`. */
  readonly names: readonly string[];
  readonly outboundPorts: readonly LearnedPort[];
}

export interface LearnedPort {
  /** IP protocol number. */
  readonly protocol: number;
  readonly port: number;
}

/** When and how often an entry was observed; times in milliseconds since the epoch. */
export interface Sightings {
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly count: number;
  /** Id of the container that taught it. */
  readonly container: string;
}

export interface NameEntry extends Sightings {
  readonly name: string;
}

export interface PortEntry extends Sightings, LearnedPort {}

/** A model's own facts, without its entries: what is stored in one row. */
export interface ModelRecord {
  readonly key: string;
  /** Latest image name seen with the digest. */
  readonly image: string;
  readonly state: ModelState;
  /** State before it was archived, and the one that it will have again; equals `state` otherwise. */
  readonly livelyState: Exclude<ModelState, "archived">;
  /** Container run time that it learned from; milliseconds. */
  readonly learnedTime: number;
  readonly createdAt: number;
  /** Latest change of state. */
  readonly changedAt: number;
  /** When it became active; null before that. */
  readonly activeSince: number | null;
  /** When the last container of its image was gone; null while one runs. */
  readonly archivedAt: number | null;
  /** Entries not taken because the model was full. */
  readonly dropped: number;
}

/** What has to be stored of a model. */
export interface ModelChanges {
  readonly record: ModelRecord;
  readonly names: readonly NameEntry[];
  readonly ports: readonly PortEntry[];
}

/** The model that a container teaches: by image digest and namespace. Null when the runtime knows no digest. */
export function modelKey({ imageDigest, namespace }: ContainerFacts): string | null {
  if (imageDigest === "") return null;
  return namespace === null ? imageDigest : `${imageDigest}@${namespace}`;
}

export class Model {
  #record: ModelRecord;
  readonly #names = new Map<string, NameEntry>();
  readonly #ports = new Map<number, PortEntry>();
  /** What `saved` has not confirmed yet. */
  #unsaved = false;
  readonly #unsavedNames = new Set<string>();
  readonly #unsavedPorts = new Set<number>();

  /** A model as it was stored. */
  constructor(record: ModelRecord, names: Iterable<NameEntry> = [], ports: Iterable<PortEntry> = []) {
    this.#record = record;
    for (const entry of names) this.#names.set(entry.name, entry);
    for (const entry of ports) this.#ports.set(portKey(entry), entry);
  }

  /** A model that begins to learn now. */
  static begin(key: string, image: string, now: number): Model {
    const unset = { activeSince: null, archivedAt: null, learnedTime: 0, dropped: 0 };
    const state = "learning";
    const model = new Model({
      ...unset,
      key,
      image,
      state,
      livelyState: state,
      createdAt: now,
      changedAt: now,
    });
    model.#unsaved = true;
    return model;
  }

  get record(): ModelRecord {
    return this.#record;
  }
  get key(): string {
    return this.#record.key;
  }
  /** True while observations are learned instead of judged. */
  get learning(): boolean {
    return this.#record.state === "learning" || this.#record.state === "manual";
  }
  get names(): Iterable<NameEntry> {
    return this.#names.values();
  }
  get ports(): Iterable<PortEntry> {
    return this.#ports.values();
  }
  get nameCount(): number {
    return this.#names.size;
  }
  get portCount(): number {
    return this.#ports.size;
  }

  snapshot(): ModelSnapshot {
    return {
      key: this.#record.key,
      state: this.#record.state,
      learning: this.learning,
      names: [...this.#names.keys()],
      outboundPorts: Array.from(this.#ports.values(), ({ protocol, port }) => ({ protocol, port })),
    };
  }

  /** Containers ran for `time` milliseconds in all. Returns whether the state changed: it has learned long enough. */
  ran(time: number, learningTime: number, now: number): boolean {
    if (!this.learning || time <= 0) return false;
    const learnedTime = this.#record.learnedTime + time;
    this.#update({ learnedTime });
    if (this.#record.state !== "learning" || learnedTime < learningTime) return false;
    this.#update({ state: "active", livelyState: "active", activeSince: now, changedAt: now });
    return true;
  }

  /** A container of the image runs. Returns whether the state changed: an archived model is revived. */
  inUse(image: string, now: number): boolean {
    if (this.#record.image !== image) this.#update({ image });
    if (this.#record.state !== "archived") return false;
    this.#update({ state: this.#record.livelyState, archivedAt: null, changedAt: now });
    return true;
  }

  /** No container of the image runs. Returns whether the state changed. */
  unused(now: number): boolean {
    if (this.#record.state === "archived") return false;
    this.#update({ state: "archived", archivedAt: now, changedAt: now });
    return true;
  }

  /** Restarts the time until removal, so that only time in which somebody watched for its containers counts. */
  watchAgain(now: number): void {
    if (this.#record.state === "archived") this.#update({ archivedAt: now });
  }

  /** Whether it has been archived long enough to be removed. */
  isOutlived(now: number): boolean {
    const { archivedAt } = this.#record;
    return archivedAt !== null && now - archivedAt >= ARCHIVE_TIME;
  }

  /**
   * Takes one observation. `new`: an entry that was not there; `known`: a sighting of one that was. `refused`: the model
   * does not learn; an observation from before it became active was only on its way and is still taken. `full`: counted.
   */
  observe(observation: Observation): "new" | "known" | "refused" | "full" {
    const { activeSince } = this.#record;
    if (!this.learning && (activeSince === null || observation.time >= activeSince)) return "refused";
    if (observation.kind === "name") {
      const name = literalName(observation.name);
      const outcome = this.#sight(this.#names, MAX_NAMES, name, observation, (seen) => ({ name, ...seen }));
      if (outcome !== "full") this.#unsavedNames.add(name);
      return outcome;
    }
    const { protocol, port } = observation;
    const key = portKey(observation);
    const outcome = this.#sight(this.#ports, MAX_PORTS, key, observation, (seen) => ({
      protocol,
      port,
      ...seen,
    }));
    if (outcome !== "full") this.#unsavedPorts.add(key);
    return outcome;
  }

  /** What is not stored yet, or null. `saved` has to follow once it is. */
  get changes(): ModelChanges | null {
    if (!this.#unsaved && this.#unsavedNames.size + this.#unsavedPorts.size === 0) return null;
    return {
      record: this.#record,
      names: [...this.#unsavedNames].flatMap((name) => this.#names.get(name) ?? []),
      ports: [...this.#unsavedPorts].flatMap((key) => this.#ports.get(key) ?? []),
    };
  }

  /** The changes are stored. */
  saved(): void {
    this.#unsaved = false;
    this.#unsavedNames.clear();
    this.#unsavedPorts.clear();
  }

  /** Nothing of it is stored any more. */
  lost(): void {
    this.#unsaved = true;
    for (const name of this.#names.keys()) this.#unsavedNames.add(name);
    for (const key of this.#ports.keys()) this.#unsavedPorts.add(key);
  }

  #update(change: Partial<ModelRecord>): void {
    this.#record = { ...this.#record, ...change };
    this.#unsaved = true;
  }

  #sight<Key, Entry extends Sightings>(
    entries: Map<Key, Entry>,
    most: number,
    key: Key,
    { time, container }: Observation,
    make: (sightings: Sightings) => Entry,
  ): "new" | "known" | "full" {
    const known = entries.get(key);
    if (known !== undefined) {
      const lastSeen = Math.max(known.lastSeen, time);
      entries.set(key, { ...known, lastSeen, count: known.count + 1 });
      return "known";
    }
    if (entries.size >= most) {
      this.#update({ dropped: this.#record.dropped + 1 });
      return "full";
    }
    entries.set(key, make({ firstSeen: time, lastSeen: time, count: 1, container }));
    return "new";
  }
}

/**
 * The entry for a name that was looked up. A container may ask for a name whose first label is an asterisk; as an entry
 * that would cover everything below its parent, so the asterisk is escaped (RFC 1035, section 5.1).
 */
export function literalName(name: string): string {
  return name.startsWith("*.") ? `\\042${name.slice(1)}` : name;
}

/** One number for a protocol and a port. */
export function portKey({ protocol, port }: LearnedPort): number {
  return protocol * 65536 + port;
}
