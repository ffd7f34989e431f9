/**
 * What an update changes, for operators who are to approve it: which entries came and went, and which names that models
 * have learned would now be hit. Works on entries as list/entries.ts gives them.
 */
import { randomBytes } from "node:crypto";
import { rowText } from "./guard.ts";
import { SEED_LENGTH, SuffixHash } from "./hash.ts";
import { ADDRESS_ROW } from "./list/addresses.ts";
import { DOT, LF } from "./list/lines.ts";
import type { FeedKind } from "./types.ts";

const MAX_SAMPLES = 10;

export interface Changes {
  /** Distinct entries that are in one list alone. */
  readonly added: number;
  readonly removed: number;
  /** The first few in the order of their list; a leading dot stands for everything below too. */
  readonly addedSamples: readonly string[];
  readonly removedSamples: readonly string[];
}

/** A name of a model in presentation form; `*.example.com` stands for every name below `example.com`. */
export interface LearnedName {
  readonly model: string;
  readonly name: string;
}

export interface NewlyHit extends LearnedName {
  /** The entry that hits; a leading dot stands for everything below too. */
  readonly entry: string;
}

/** The result does not depend on `seed` (SEED_LENGTH bytes), only how long an adversary can make it take. */
export function compareEntries(
  before: Uint8Array,
  after: Uint8Array,
  kind: FeedKind,
  seed: Uint8Array = randomBytes(SEED_LENGTH),
): Changes {
  const old = new EntryTable(before, kind, seed);
  const fresh = new EntryTable(after, kind, seed);
  const [added, addedSamples] = fresh.without(old);
  const [removed, removedSamples] = old.without(fresh);
  return { added, removed, addedSamples, removedSamples };
}

/** The distinct entries of a list by hash: twelve bytes for a place of an open table that is at most half full. */
class EntryTable {
  readonly #entries: Buffer;
  readonly #kind: FeedKind;
  readonly #hash: SuffixHash;
  readonly #mask: number;
  /** Where the entry begins, plus one; where it ends; and its fingerprint. */
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #prints: Uint32Array;
  /** An address row as hexadecimal text: the hash folds letters, which would make bytes of rows alike. */
  readonly #hex = Buffer.alloc(ADDRESS_ROW * 2);

  constructor(entries: Uint8Array, kind: FeedKind, seed: Uint8Array) {
    this.#entries = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
    this.#kind = kind;
    const words = new DataView(seed.buffer, seed.byteOffset, SEED_LENGTH);
    this.#hash = new SuffixHash(words.getUint32(0, true), words.getUint32(4, true));
    let count = 0;
    this.#each(() => count++);
    const capacity = 2 ** Math.ceil(Math.log2(count * 2 + 2));
    this.#mask = capacity - 1;
    this.#starts = new Uint32Array(capacity);
    this.#ends = new Uint32Array(capacity);
    this.#prints = new Uint32Array(capacity);
    this.#each((start, end) => {
      const place = this.#find(this.#entries, start, end);
      if (this.#starts[place] !== 0) return;
      this.#starts[place] = start + 1;
      this.#ends[place] = end;
      this.#prints[place] = this.#hash.high;
    });
  }

  /** How many of the entries `other` has not, and the first few of them. */
  without(other: EntryTable): [number, readonly string[]] {
    const samples: string[] = [];
    let count = 0;
    this.#each((start, end) => {
      if (other.#starts[other.#find(this.#entries, start, end)] !== 0) return;
      // Only the first of equal entries stands in the table.
      if (this.#starts[this.#find(this.#entries, start, end)] !== start + 1) return;
      count++;
      if (samples.length < MAX_SAMPLES) samples.push(this.#text(start, end));
    });
    return [count, samples];
  }

  /** Where the entry `bytes[start … end)` stands, or would. Leaves its hash in `#hash`. */
  #find(bytes: Buffer, start: number, end: number): number {
    const hash = this.#hash;
    hash.start();
    if (this.#kind === "address") {
      for (let at = start, to = 0; at < end; at++) {
        this.#hex[to++] = 48 + (bytes[at]! >> 4);
        this.#hex[to++] = 48 + (bytes[at]! & 15);
      }
      hash.label(this.#hex, 0, this.#hex.length);
    } else hash.label(bytes, start, end);
    hash.finish();
    for (let place = hash.low & this.#mask; ; place = (place + 1) & this.#mask) {
      if (this.#starts[place] === 0) return place;
      if (this.#prints[place] === hash.high && this.#equals(place, bytes, start, end)) return place;
    }
  }

  #equals(place: number, bytes: Buffer, start: number, end: number): boolean {
    const from = this.#starts[place]! - 1;
    const length = end - start;
    if (this.#ends[place]! - from !== length) return false;
    for (let at = 0; at < length; at++) if (this.#entries[from + at] !== bytes[start + at]) return false;
    return true;
  }

  #each(onEntry: (start: number, end: number) => void): void {
    if (this.#kind === "address") {
      for (let at = 0; at < this.#entries.length; at += ADDRESS_ROW) onEntry(at, at + ADDRESS_ROW);
    } else eachLine(this.#entries, onEntry);
  }

  #text(start: number, end: number): string {
    return this.#kind === "address"
      ? rowText(this.#entries, start)
      : this.#entries.toString("latin1", start, end);
  }
}

/**
 * The learned names that `after` hits and `before` did not, in their order, at most `limit`. A name is hit by an entry
 * that is it, or stands above it for everything below. `*.parent` was learned from names that nobody kept, so it is hit by
 * whatever touches them: an entry that covers `parent`, is it, or stands below it; and newly so by each such entry that no
 * entry before covered.
 */
export function newlyHit(
  learned: Iterable<LearnedName>,
  before: Uint8Array,
  after: Uint8Array,
  limit: number,
): NewlyHit[] {
  const names = [...learned].map((entry) => {
    const below = entry.name.startsWith("*.");
    const line = withParents((below ? entry.name.slice(2) : entry.name).toLowerCase().replace(/\.$/, ""));
    return { entry, below, line };
  });
  const near = { names: new Set<string>(), above: new Set<string>(), parents: new Set<string>() };
  for (const { below, line } of names) {
    (below ? near.parents : near.names).add(line[0]!);
    for (const parent of line) near.above.add(parent);
  }
  const old = entriesNear(before, near);
  const fresh = entriesNear(after, near);
  /** The first new entry at or below each parent. */
  const below = new Map<string, string>();
  for (const entry of near.parents.size > 0 ? fresh : []) {
    const line = withParents(entry.startsWith(".") ? entry.slice(1) : entry);
    if (old.has(entry) || covering(line, old) !== null) continue;
    for (const parent of line) {
      if (near.parents.has(parent) && !below.has(parent)) below.set(parent, entry);
    }
  }
  const hits: NewlyHit[] = [];
  for (const { entry, below: wildcard, line } of names) {
    if (hits.length >= limit) break;
    const name = line[0]!;
    if (covering(line, old) !== null || (!wildcard && old.has(name))) continue;
    const hit = wildcard
      ? (covering(line, fresh) ?? below.get(name))
      : fresh.has(name)
        ? name
        : covering(line, fresh);
    if (hit != null) hits.push({ model: entry.model, name: entry.name, entry: hit });
  }
  return hits;
}

interface Near {
  readonly names: ReadonlySet<string>;
  /** All learned names and parents, with everything above them. */
  readonly above: ReadonlySet<string>;
  readonly parents: ReadonlySet<string>;
}

/** The entries that may hit something learned: of millions, few. */
function entriesNear(entries: Uint8Array, { names, above, parents }: Near): Set<string> {
  const text = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
  const found = new Set<string>();
  eachLine(text, (start, end) => {
    const dotted = text[start] === DOT;
    const name = text.toString("latin1", dotted ? start + 1 : start, end);
    let relevant = (dotted ? above : names).has(name);
    if (!relevant && parents.size > 0) {
      for (let at = 0; !relevant && at >= 0; at = name.indexOf(".", at) + 1 || -1) {
        relevant = parents.has(at === 0 ? name : name.slice(at));
      }
    }
    if (relevant) found.add(dotted ? `.${name}` : name);
  });
  return found;
}

/** The longest of `entries` that stands for everything below one of `line`, a name with its parents. */
function covering(line: readonly string[], entries: ReadonlySet<string>): string | null {
  for (const name of line) if (entries.has(`.${name}`)) return `.${name}`;
  return null;
}

/** A name in presentation form and all above it; a dot behind a backslash is part of a label. */
function withParents(name: string): string[] {
  const line = [name];
  for (let at = 0; at < name.length; at++) {
    if (name[at] === "\\") at++;
    else if (name[at] === ".") line.push(name.slice(at + 1));
  }
  return line;
}

function eachLine(text: Uint8Array, onLine: (start: number, end: number) => void): void {
  let start = 0;
  // Lines are so short that a search for their ends costs more than a look at each byte.
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== LF) continue;
    onLine(start, at);
    start = at + 1;
  }
}
