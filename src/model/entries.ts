/** The entries of one kind that a model holds, with what of them is not stored yet. */
import type { Observation } from "../policy/types.ts";

/** When and how often an entry was observed; times in milliseconds since the epoch. */
export interface Sightings {
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** 0: it was taken over, and not observed since. */
  readonly count: number;
  /** Id of the container that taught it. */
  readonly container: string;
  /** Taken over from the model of an earlier image of the repository. */
  readonly inherited?: boolean;
}

export class Entries<Key, Entry extends Sightings> {
  readonly #most: number;
  readonly #entries = new Map<Key, Entry>();
  readonly #unsaved = new Set<Key>();
  readonly #removed = new Map<Key, Entry>();

  /** `most`: entries it may hold. */
  constructor(most: number, entries: Iterable<Entry>, keyOf: (entry: Entry) => Key) {
    this.#most = most;
    for (const entry of entries) this.#entries.set(keyOf(entry), entry);
  }

  get size(): number {
    return this.#entries.size;
  }
  get isFull(): boolean {
    return this.#entries.size >= this.#most;
  }
  /** Whether there is something to store. */
  get isChanged(): boolean {
    return this.#unsaved.size + this.#removed.size > 0;
  }

  get(key: Key): Entry | undefined {
    return this.#entries.get(key);
  }
  keys(): Iterable<Key> {
    return this.#entries.keys();
  }
  values(): Iterable<Entry> {
    return this.#entries.values();
  }

  put(key: Key, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#removed.delete(key);
    this.#unsaved.add(key);
  }

  /** Counts a sighting of an entry that is there; false when it is not. */
  sight(key: Key, { time }: Observation): boolean {
    const known = this.#entries.get(key);
    if (known === undefined) return false;
    this.put(key, { ...known, lastSeen: Math.max(known.lastSeen, time), count: known.count + 1 });
    return true;
  }

  /** Takes an entry out; false when there is none. */
  remove(key: Key): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#unsaved.delete(key);
    this.#removed.set(key, entry);
    return true;
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.remove(key);
  }

  unsaved(): Entry[] {
    return [...this.#unsaved].flatMap((key) => this.#entries.get(key) ?? []);
  }
  removed(): Entry[] {
    return [...this.#removed.values()];
  }
  saved(): void {
    this.#unsaved.clear();
    this.#removed.clear();
  }
  /** Nothing of it is stored any more. */
  lost(): void {
    this.#removed.clear();
    for (const key of this.#entries.keys()) this.#unsaved.add(key);
  }
}

/** Sightings of an entry observed for the first time. */
export function firstSighting({ time, container }: Observation): Sightings {
  return { firstSeen: time, lastSeen: time, count: 1, container };
}
