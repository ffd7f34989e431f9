/**
 * The names of one model. Many children of one parent become one entry `*.parent`, never at or above a public suffix; the
 * entry keeps the names it stands for, so that it can be expanded again, and then its parent is left apart.
 */
import type { Observation } from "../policy/types.ts";
import { Entries, firstSighting, type Sightings } from "./entries.ts";
import {
  looksRotating,
  MAX_BELOW_DOMAIN,
  MAX_BELOW_SUFFIX,
  MAX_CHILDREN,
  MAX_ROTATING,
  mayCover,
  mayLearn,
  parentOf,
  placeOf,
} from "./generalise.ts";

/** Names that one model may hold; what comes past that is counted and dropped. */
export const MAX_NAMES = 10_000;
/** Names that a wildcard remembers it stands for. */
const MAX_MEMBERS = 256;

export interface NameEntry extends Sightings {
  /** Presentation form; `*.example.com` stands for every name below `example.com`. */
  readonly name: string;
  /** For a wildcard that came of names: those it was generalised from. */
  readonly members?: readonly string[];
}

interface Counts {
  children: number;
  rotating: number;
}

export class LearnedNames extends Entries<string, NameEntry> {
  /** By parent: children held one by one. */
  readonly #parents = new Map<string, Counts>();
  /** By registrable domain: names held one by one. */
  readonly #below = new Map<string, number>();
  /** By suffix of the private section: domains below it, with how many entries each has. */
  readonly #tenants = new Map<string, Map<string, number>>();
  readonly #apart: Set<string>;

  constructor(entries: Iterable<NameEntry>, apart: Iterable<string>) {
    super(MAX_NAMES, entries, ({ name }) => name);
    this.#apart = new Set(apart);
    for (const { name } of this.values()) this.#count(name, 1);
  }

  /** Parents whose children are never made one entry. */
  get apart(): readonly string[] {
    return [...this.#apart];
  }

  /** The entry that covers a name: itself, or the nearest wildcard above it. */
  covering(name: string): string | null {
    if (this.get(name) !== undefined) return name;
    for (let parent = parentOf(name); parent !== ""; parent = parentOf(parent)) {
      if (this.get(`*.${parent}`) !== undefined) return `*.${parent}`;
    }
    return null;
  }

  /** `refused`: of a kind that is never learned. `full`: no room, in all or below its suffix. */
  observe(name: string, observation: Observation): "new" | "known" | "full" | "refused" {
    const known = this.covering(name);
    if (known !== null) {
      this.sight(known, observation);
      return "known";
    }
    if (!mayLearn(name)) return "refused";
    if (this.isFull || this.#isCrowded(name)) return "full";
    this.put(name, { name, ...firstSighting(observation) });
    this.#generalise(name);
    return "new";
  }

  override put(name: string, entry: NameEntry): void {
    if (this.get(name) === undefined) this.#count(name, 1);
    super.put(name, entry);
  }

  override remove(name: string): boolean {
    if (!super.remove(name)) return false;
    this.#count(name, -1);
    return true;
  }

  /** Puts the names behind a wildcard in its place, and leaves its parent apart from now on; false: there are none. */
  expand(wildcard: string): boolean {
    const entry = this.get(wildcard);
    if (entry === undefined || !wildcard.startsWith("*.")) return false;
    const { members = [], ...sightings } = entry;
    if (members.length === 0) return false;
    this.remove(wildcard);
    this.#apart.add(wildcard.slice(2));
    for (const name of members) this.put(name, { ...sightings, name });
    return true;
  }

  override clear(): void {
    super.clear();
    this.#apart.clear();
  }

  /** Never generalises the children of these parents. */
  leaveApart(parents: Iterable<string>): void {
    for (const parent of parents) this.#apart.add(parent);
  }

  /** Whether it is of one tenant too many of its suffix. */
  #isCrowded(name: string): boolean {
    const { domain, suffix, section } = placeOf(name);
    if (section !== "private" || domain === null) return false;
    const tenants = this.#tenants.get(suffix);
    return tenants !== undefined && tenants.size >= MAX_BELOW_SUFFIX && !tenants.has(domain);
  }

  #generalise(name: string): void {
    const parent = parentOf(name);
    const { domain } = placeOf(name);
    if (domain === null) return;
    const counts = this.#parents.get(parent);
    if (counts !== undefined && (counts.children > MAX_CHILDREN || counts.rotating > MAX_ROTATING)) {
      if (this.#collapse(parent)) return;
    }
    if ((this.#below.get(domain) ?? 0) > MAX_BELOW_DOMAIN) this.#collapse(domain);
  }

  #collapse(parent: string): boolean {
    if (!mayCover(parent)) return false;
    for (const apart of this.#apart) if (apart === parent || apart.endsWith(`.${parent}`)) return false;
    const wildcard = `*.${parent}`;
    const members: string[] = [];
    let sum: Sightings | undefined;
    for (const entry of [...this.values()]) {
      if (!entry.name.endsWith(`.${parent}`)) continue;
      members.push(...(entry.members ?? [entry.name]));
      sum = sum === undefined ? entry : together(sum, entry);
      this.remove(entry.name);
    }
    if (sum === undefined) return false;
    const { firstSeen, lastSeen, count, container, inherited } = sum;
    const kept = { firstSeen, lastSeen, count, container, ...(inherited === true ? { inherited } : {}) };
    this.put(wildcard, { name: wildcard, ...kept, members: members.slice(0, MAX_MEMBERS) });
    return true;
  }

  #count(name: string, step: 1 | -1): void {
    const parent = parentOf(name);
    const { domain, suffix, section } = placeOf(name.startsWith("*.") ? parent : name);
    if (section === "private" && domain !== null) {
      const tenants = this.#tenants.get(suffix) ?? new Map<string, number>();
      if (change(tenants, domain, step) === 0 && tenants.size === 0) this.#tenants.delete(suffix);
      else this.#tenants.set(suffix, tenants);
    }
    if (name.startsWith("*.")) return;
    const counts = this.#parents.get(parent) ?? { children: 0, rotating: 0 };
    counts.children += step;
    if (looksRotating(name.slice(0, name.length - parent.length - 1))) counts.rotating += step;
    if (counts.children === 0) this.#parents.delete(parent);
    else this.#parents.set(parent, counts);
    if (domain !== null) change(this.#below, domain, step);
  }
}

/** Adds `step` to a count; counts of 0 are not kept. Returns the new count. */
function change(counts: Map<string, number>, key: string, step: 1 | -1): number {
  const count = (counts.get(key) ?? 0) + step;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
  return count;
}

/** Inherited only where both are: an entry with something new in it is new. */
function together(one: Sightings, other: Sightings): Sightings {
  return {
    firstSeen: Math.min(one.firstSeen, other.firstSeen),
    lastSeen: Math.max(one.lastSeen, other.lastSeen),
    count: one.count + other.count,
    container: one.firstSeen <= other.firstSeen ? one.container : other.container,
    inherited: one.inherited === true && other.inherited === true,
  };
}
