/**
 * What the containers of one image normally do: names they looked up, ports they used, what they listen on, where inside
 * they connect to. Pure state; time is a parameter.
 *
 *     learning --(learning time of container run time)--> active, at first on trial: a deviation leads back to learning
 *        |                                                   |
 *        +--(no container of the image runs)--> archived <---+      and back to what it was when one runs again
 *     manual: learns until an operator ends it; archived and revived like the others
 *     locked: an active model that changes only by an operator's hand; it is neither taught, archived nor removed
 *
 * Run time is cumulative: two containers that run for half an hour teach as long as one that runs for an hour.
 *
 * Length: one state machine with the entries it guards; cut in two, the rules of who may change what would be.
 */
import type { ContainerFacts, ModelState, Observation } from "../policy/types.ts";
import { Entries, firstSighting, type Sightings } from "./entries.ts";
import { LearnedNames, type NameEntry } from "./names.ts";

export { MAX_NAMES, type NameEntry } from "./names.ts";
export type { Sightings };

/** Ports of one kind, and internal destinations, that one model may hold; what comes past that is counted and dropped. */
export const MAX_PORTS = 4_096;
/** How long a model is kept after the last container of its image is gone; milliseconds. */
export const ARCHIVE_TIME = 24 * 60 * 60 * 1000;
/** Run time on trial after which the fading figures are stored; milliseconds. */
const SAVE_TIME = 60_000;
/** Run time in which the weight of what is new falls to 1/e, for `saturation`; milliseconds. */
const FADING = 30 * 60 * 1000;

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
  readonly listeningPorts: readonly LearnedPort[];
}

export interface LearnedPort {
  /** IP protocol number. */
  readonly protocol: number;
  readonly port: number;
}

export interface PortEntry extends Sightings, LearnedPort {}

export interface DestinationEntry extends PortEntry {
  /** Presentation form: a /24, or a /64 of IPv6. */
  readonly subnet: string;
}

/** A model's own facts, without its entries: what is stored in one row. */
export interface ModelRecord {
  readonly key: string;
  /** Latest image name seen with the digest. */
  readonly image: string;
  readonly state: ModelState;
  /** State before it was archived, and the one that it will have again; equals `state` otherwise. */
  readonly livelyState: Exclude<ModelState, "archived">;
  /** Container run time that it learned from since it last began to learn; milliseconds. */
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
  readonly locked: boolean;
  /** Until when an active model is on trial; null: it is not. */
  readonly trialUntil: number | null;
  /** Learning time that an operator added; milliseconds. */
  readonly extension: number;
  /** Model that it took its first entries over from. */
  readonly predecessor: string | null;
  /** New entries and run time, both fading; `saturation` is their quotient. */
  readonly recentNew: number;
  readonly recentTime: number;
}

/** Everything a model holds. */
export interface ModelEntries {
  readonly names: readonly NameEntry[];
  /** Outbound Internet ports. */
  readonly ports: readonly PortEntry[];
  readonly listening: readonly PortEntry[];
  readonly destinations: readonly DestinationEntry[];
}

/** What has to be stored of a model. */
export interface ModelChanges extends ModelEntries {
  readonly record: ModelRecord;
  readonly removed: ModelEntries;
  /** Parents whose names are not generalised. */
  readonly apart: readonly string[];
}

/** The model that a container teaches: by image digest and namespace. Null when the runtime knows no digest. */
export function modelKey({ imageDigest, namespace }: ContainerFacts): string | null {
  if (imageDigest === "") return null;
  return namespace === null ? imageDigest : `${imageDigest}@${namespace}`;
}

export class Model {
  #record: ModelRecord;
  readonly #names: LearnedNames;
  readonly #ports: Entries<number, PortEntry>;
  readonly #listening: Entries<number, PortEntry>;
  readonly #destinations: Entries<string, DestinationEntry>;
  /** What `saved` has not confirmed yet. */
  #unsaved = false;
  /** Run time on trial that is not stored; milliseconds. */
  #unsavedTime = 0;
  /** When it last ceased to learn, and when its trial began, as far as this process saw it. */
  #judgesSince = Number.NEGATIVE_INFINITY;
  #triesSince = Number.NEGATIVE_INFINITY;
  #version = 0;

  /** A model as it was stored. */
  constructor(
    record: ModelRecord,
    names: Iterable<NameEntry> = [],
    ports: Iterable<PortEntry> = [],
    rest: Partial<Pick<ModelChanges, "listening" | "destinations" | "apart">> = {},
  ) {
    this.#record = record;
    this.#names = new LearnedNames(names, rest.apart ?? []);
    this.#ports = new Entries(MAX_PORTS, ports, portKey);
    this.#listening = new Entries(MAX_PORTS, rest.listening ?? [], portKey);
    this.#destinations = new Entries(MAX_PORTS, rest.destinations ?? [], destinationKey);
  }

  /** A model that begins to learn now. */
  static begin(key: string, image: string, now: number): Model {
    const model = new Model({
      key,
      image,
      state: "learning",
      livelyState: "learning",
      learnedTime: 0,
      createdAt: now,
      changedAt: now,
      activeSince: null,
      archivedAt: null,
      dropped: 0,
      locked: false,
      trialUntil: null,
      extension: 0,
      predecessor: null,
      recentNew: 0,
      recentTime: 0,
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
  /** True while observations are learned instead of judged: also on trial, where they lead back to learning. */
  get learning(): boolean {
    const { state, trialUntil } = this.#record;
    return state === "learning" || state === "manual" || (state === "active" && trialUntil !== null);
  }
  /** Changes with everything that a snapshot tells. */
  get version(): number {
    return this.#version;
  }
  get names(): Iterable<NameEntry> {
    return this.#names.values();
  }
  get ports(): Iterable<PortEntry> {
    return this.#ports.values();
  }
  get listening(): Iterable<PortEntry> {
    return this.#listening.values();
  }
  get destinations(): Iterable<DestinationEntry> {
    return this.#destinations.values();
  }
  get nameCount(): number {
    return this.#names.size;
  }
  get portCount(): number {
    return this.#ports.size;
  }
  get listeningCount(): number {
    return this.#listening.size;
  }
  get destinationCount(): number {
    return this.#destinations.size;
  }

  /** New entries per hour of run time, lately; null while too little has run to tell. */
  get saturation(): number | null {
    const { recentNew, recentTime } = this.#record;
    return recentTime < 60_000 ? null : (recentNew * 3_600_000) / recentTime;
  }

  snapshot(): ModelSnapshot {
    const plain = ({ protocol, port }: PortEntry): LearnedPort => ({ protocol, port });
    return {
      key: this.#record.key,
      state: this.#record.state,
      learning: this.learning,
      names: [...this.#names.keys()],
      outboundPorts: Array.from(this.#ports.values(), plain),
      listeningPorts: Array.from(this.#listening.values(), plain),
    };
  }

  /**
   * Containers ran for `time` milliseconds in all. Returns whether the state changed: it has learned long enough, and is
   * on trial for `trialTime` from now on (0: not at all).
   */
  ran(time: number, learningTime: number, now: number, trialTime = 0): boolean {
    if (!this.learning || time <= 0) return false;
    const { state, recentNew, recentTime, extension } = this.#record;
    const fade = Math.exp(-time / FADING);
    const faded = { recentNew: recentNew * fade, recentTime: recentTime * fade + FADING * (1 - fade) };
    if (state === "active") {
      // Nothing rests on it but a figure: no write every second of a day for that.
      this.#record = { ...this.#record, ...faded };
      this.#unsavedTime += time;
      if (this.#unsavedTime >= SAVE_TIME) this.#update({});
      return false;
    }
    const learnedTime = this.#record.learnedTime + time;
    this.#update({ learnedTime, ...faded });
    if (state !== "learning" || learnedTime < learningTime + extension) return false;
    this.#become("active", now, { activeSince: now, trialUntil: trialTime > 0 ? now + trialTime : null });
    this.#triesSince = now;
    return true;
  }

  /** Returns whether the trial of an active model ended just now. */
  tried(now: number): boolean {
    const { trialUntil, state } = this.#record;
    if (trialUntil === null || now < trialUntil) return false;
    this.#update({ trialUntil: null });
    if (state !== "active") return false;
    this.#judgesSince = now;
    this.#version++;
    return true;
  }

  /** A container of the image runs. Returns whether the state changed: an archived model is revived. */
  inUse(image: string, now: number): boolean {
    if (this.#record.image !== image) this.#update({ image });
    if (this.#record.state !== "archived") return false;
    this.#become(this.#record.livelyState, now, {});
    return true;
  }

  /** No container of the image runs. Returns whether the state changed. */
  unused(now: number): boolean {
    if (this.#record.state === "archived" || this.#record.locked) return false;
    this.#update({ state: "archived", archivedAt: now, changedAt: now });
    this.#version++;
    return true;
  }

  /**
   * A process begins to watch. Restarts the time until removal, so that only time in which somebody watched for its
   * containers counts; and no trial is longer than `trialTime` from here, whatever the clock showed when it was written.
   */
  watchAgain(now: number, trialTime: number): void {
    const { state, trialUntil } = this.#record;
    if (state === "archived") this.#update({ archivedAt: now });
    if (trialUntil !== null && trialUntil - now > trialTime) this.#update({ trialUntil: now + trialTime });
  }

  /** The clock was set, by so many milliseconds: what goes on ends after the same time as before. */
  clockSet(by: number): void {
    this.#judgesSince += by;
    this.#triesSince += by;
    const { trialUntil, archivedAt } = this.#record;
    if (trialUntil !== null) this.#update({ trialUntil: trialUntil + by });
    if (archivedAt !== null) this.#update({ archivedAt: archivedAt + by });
  }

  /** Whether it has been archived long enough to be removed. */
  isOutlived(now: number): boolean {
    const { archivedAt } = this.#record;
    return archivedAt !== null && now - archivedAt >= ARCHIVE_TIME;
  }

  // ------------------------------------------------------------------------------------------ by an operator's hand

  /** Learns for the learning time again, keeping what it holds or, `afresh`, nothing. */
  relearn(now: number, afresh: boolean): void {
    if (afresh) for (const entries of this.#kinds()) entries.clear();
    const none = { learnedTime: 0, extension: 0, dropped: 0, recentNew: 0, recentTime: 0 };
    this.#become("learning", now, { ...none, ...(afresh ? { predecessor: null } : {}) });
  }

  /** Learns for `time` more run time from here, whatever it has behind it. */
  extend(time: number, learningTime: number, now: number): void {
    const { learnedTime, extension } = this.#record;
    const end = this.learning && this.#record.state === "learning" ? learningTime + extension : learnedTime;
    this.#become("learning", now, { extension: Math.max(end, learnedTime) + time - learningTime });
  }

  /** Learns until it is told to stop. */
  manual(now: number): void {
    this.#become("manual", now, {});
  }

  /** Ceases to learn, without a trial: an operator said so. */
  stop(now: number): void {
    this.#become("active", now, { activeSince: now });
  }

  lock(now: number): void {
    this.#become("active", now, { activeSince: this.#record.activeSince ?? now, locked: true });
  }

  unlock(): void {
    this.#update({ locked: false });
  }

  /** The name or wildcard that covers a name, or null. */
  covering(name: string): string | null {
    return this.#names.covering(name);
  }

  /** Takes out `name`, `*.parent`, `443/tcp`, `listen:8080/tcp` or `10.0.0.0/24:5432/tcp`; false: there is none. */
  forget(entry: string): boolean {
    const found =
      this.#names.remove(entry) ||
      removeWhere(this.#ports, (port) => portText(port) === entry) ||
      removeWhere(this.#listening, (port) => `listen:${portText(port)}` === entry) ||
      removeWhere(this.#destinations, (one) => `${one.subnet}:${portText(one)}` === entry);
    if (found) this.#version++;
    return found;
  }

  /** Takes out the names below a registrable domain, and it, but for what came from an earlier image; how many. */
  withdrawNames(domain: string): number {
    const below = `.${domain}`;
    return this.#withdraw(this.#names, ({ name }) => name === domain || name.endsWith(below));
  }

  /** Takes out the outbound ports and internal destinations that a container taught from `since` on; how many. */
  withdrawPorts(container: string, since: number): number {
    const isTaught = (one: Sightings): boolean => one.container === container && one.firstSeen >= since;
    return this.#withdraw(this.#ports, isTaught) + this.#withdraw(this.#destinations, isTaught);
  }

  #withdraw<Key, Entry extends Sightings>(
    from: Entries<Key, Entry>,
    isDoubtful: (entry: Entry) => boolean,
  ): number {
    let count = 0;
    for (const key of [...from.keys()]) {
      const entry = from.get(key);
      if (entry === undefined || entry.inherited === true || !isDoubtful(entry)) continue;
      from.remove(key);
      count++;
    }
    if (count > 0) this.#version++;
    return count;
  }

  /** Puts the names behind a wildcard in its place, and never generalises them again; false: there is none. */
  expand(wildcard: string): boolean {
    const found = this.#names.expand(wildcard);
    if (found) this.#update({});
    if (found) this.#version++;
    return found;
  }

  /** Adds entries that were learned elsewhere; those it has stay as they are. */
  take({ names, ports, listening, destinations }: ModelEntries): void {
    for (const one of names)
      if (!this.#names.isFull && this.#names.covering(one.name) === null) this.#names.put(one.name, one);
    const add = <Key, Entry extends Sightings>(to: Entries<Key, Entry>, key: Key, one: Entry): void => {
      if (!to.isFull && to.get(key) === undefined) to.put(key, one);
    };
    for (const one of ports) add(this.#ports, portKey(one), one);
    for (const one of listening) add(this.#listening, portKey(one), one);
    for (const one of destinations) add(this.#destinations, destinationKey(one), one);
    this.#version++;
  }

  /** Starts from what the model of an earlier image of the repository holds. */
  inherit(from: Model): void {
    const passOn = <Entry extends Sightings>(entry: Entry): Entry => ({
      ...entry,
      count: 0,
      inherited: true,
    });
    const { names, ports, listening, destinations } = from.entries();
    this.take({
      names: names.map(passOn),
      ports: ports.map(passOn),
      listening: listening.map(passOn),
      destinations: destinations.map(passOn),
    });
    this.#names.leaveApart(from.#names.apart);
    this.#update({ predecessor: from.key });
  }

  entries(): ModelEntries {
    return {
      names: [...this.names],
      ports: [...this.ports],
      listening: [...this.listening],
      destinations: [...this.destinations],
    };
  }

  // ------------------------------------------------------------------------------------------ learning

  /**
   * Takes one observation. `new`: an entry that was not there; `known`: a sighting of one that was. `refused`: the model
   * does not learn, or never such a thing; an observation from before it ceased to learn was only on its way and is still
   * taken. `full`: counted. On trial, something new sends the model back to learning.
   */
  observe(observation: Observation): "new" | "known" | "refused" | "full" {
    const { state, locked, trialUntil } = this.#record;
    if (locked || (!this.learning && observation.time >= this.#judgesSince)) return "refused";
    const outcome = this.#take(observation);
    if (outcome === "full") this.#update({ dropped: this.#record.dropped + 1 });
    if (outcome !== "new") return outcome;
    this.#version++;
    this.#update({ recentNew: this.#record.recentNew + 1 });
    if (state === "active" && trialUntil !== null && observation.time >= this.#triesSince) {
      this.#become("learning", observation.time, { learnedTime: 0, extension: 0 });
    }
    return outcome;
  }

  #take(observation: Observation): "new" | "known" | "refused" | "full" {
    if (observation.kind === "name") return this.#names.observe(literalName(observation.name), observation);
    const { protocol, port } = observation;
    const entry = { protocol, port, ...firstSighting(observation) };
    switch (observation.kind) {
      case "outboundPort":
        return sight(this.#ports, portKey(entry), observation, entry);
      case "listeningPort":
        return sight(this.#listening, portKey(entry), observation, entry);
      case "internalDestination": {
        const destination = { subnet: observation.subnet, ...entry };
        return sight(this.#destinations, destinationKey(destination), observation, destination);
      }
    }
  }

  // ------------------------------------------------------------------------------------------ storing

  /** What is not stored yet, or null. `saved` has to follow once it is. */
  get changes(): ModelChanges | null {
    if (!this.#unsaved && !this.#kinds().some((entries) => entries.isChanged)) return null;
    return {
      record: this.#record,
      apart: this.#names.apart,
      names: this.#names.unsaved(),
      ports: this.#ports.unsaved(),
      listening: this.#listening.unsaved(),
      destinations: this.#destinations.unsaved(),
      removed: {
        names: this.#names.removed(),
        ports: this.#ports.removed(),
        listening: this.#listening.removed(),
        destinations: this.#destinations.removed(),
      },
    };
  }

  /** The changes are stored. */
  saved(): void {
    this.#unsaved = false;
    this.#unsavedTime = 0;
    for (const entries of this.#kinds()) entries.saved();
  }

  /** Nothing of it is stored any more. */
  lost(): void {
    this.#unsaved = true;
    for (const entries of this.#kinds()) entries.lost();
  }

  #kinds(): readonly Pick<LearnedNames, "clear" | "saved" | "lost" | "isChanged">[] {
    return [this.#names, this.#ports, this.#listening, this.#destinations];
  }

  #become(state: ModelRecord["livelyState"], now: number, change: Partial<ModelRecord>): void {
    const learned = this.learning;
    const revived = this.#record.state === "archived";
    const trialUntil = revived && state === "active" ? this.#record.trialUntil : null;
    this.#update({ trialUntil, archivedAt: null, changedAt: now, ...change, state, livelyState: state });
    if (learned && !this.learning) this.#judgesSince = now;
    this.#version++;
  }

  #update(change: Partial<ModelRecord>): void {
    this.#record = { ...this.#record, ...change };
    this.#unsaved = true;
  }
}

function sight<Key, Entry extends Sightings>(
  entries: Entries<Key, Entry>,
  key: Key,
  observation: Observation,
  entry: Entry,
): "new" | "known" | "full" {
  if (entries.sight(key, observation)) return "known";
  if (entries.isFull) return "full";
  entries.put(key, entry);
  return "new";
}

function removeWhere<Key, Entry extends Sightings>(
  entries: Entries<Key, Entry>,
  fits: (entry: Entry) => boolean,
): boolean {
  for (const key of [...entries.keys()]) {
    const entry = entries.get(key);
    if (entry !== undefined && fits(entry)) return entries.remove(key);
  }
  return false;
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

export function destinationKey(one: LearnedPort & { readonly subnet: string }): string {
  return `${one.subnet} ${portKey(one)}`;
}

const PROTOCOLS: Readonly<Record<number, string>> = {
  6: "tcp",
  17: "udp",
  132: "sctp",
  1: "icmp",
  58: "icmpv6",
};

/** `443/tcp`. */
export function portText({ protocol, port }: LearnedPort): string {
  return `${port}/${PROTOCOLS[protocol] ?? protocol}`;
}
