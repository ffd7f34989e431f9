/**
 * What an update changes, for operators who are to approve it: which entries came and went, and which names that models
 * have learned would now be hit. Works on entries as list/entries.ts gives them.
 */
import { randomBytes } from "node:crypto";
import { rowText } from "./guard.ts";
import { SEED_LENGTH, SuffixHash } from "./hash.ts";
import { ADDRESS_ROW } from "./list/addresses.ts";
import { DOT, LF, latin1 } from "./list/lines.ts";
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

/**
 * The distinct entries of a list by hash: four bytes for a place of an open table that is at most half full, and sixteen
 * for an entry.
 */
class EntryTable {
  readonly #entries: Uint8Array;
  readonly #kind: FeedKind;
  readonly #hash: SuffixHash;
  readonly #mask: number;
  /** At its place, the number of an entry plus one; 0 is free. */
  readonly #places: Uint32Array;
  /** By number: where the entry begins and ends, and the halves of its hash. */
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #highs: Uint32Array;
  readonly #lows: Uint32Array;
  #count = 0;
  /** An address row in pieces of four bits, written as bytes that the hash does not fold. */
  readonly #nibbles = Buffer.alloc(ADDRESS_ROW * 2);

  constructor(entries: Uint8Array, kind: FeedKind, seed: Uint8Array) {
    this.#entries = entries;
    this.#kind = kind;
    const words = new DataView(seed.buffer, seed.byteOffset, SEED_LENGTH);
    this.#hash = new SuffixHash(words.getUint32(0, true), words.getUint32(4, true));
    const lines = kind === "address" ? entries.length / ADDRESS_ROW : countLines(entries);
    this.#mask = 2 ** Math.ceil(Math.log2(lines * 2 + 2)) - 1;
    this.#places = new Uint32Array(this.#mask + 1);
    this.#starts = new Uint32Array(lines);
    this.#ends = new Uint32Array(lines);
    this.#highs = new Uint32Array(lines);
    this.#lows = new Uint32Array(lines);
    if (kind === "address") {
      for (let at = 0; at < entries.length; at += ADDRESS_ROW) this.#add(at, at + ADDRESS_ROW);
    } else eachLine(entries, (start, end) => this.#add(start, end));
  }

  /** How many of the entries `other`, a table of the same seed, has not; and the first few of them. */
  without(other: EntryTable): [number, readonly string[]] {
    const samples: string[] = [];
    let count = 0;
    for (let entry = 0; entry < this.#count; entry++) {
      if (other.#places[other.#find(this, entry)] !== 0) continue;
      count++;
      if (samples.length < MAX_SAMPLES) samples.push(this.#text(this.#starts[entry]!, this.#ends[entry]!));
    }
    return [count, samples];
  }

  #add(start: number, end: number): void {
    const hash = this.#hash;
    hash.start();
    if (this.#kind === "address") {
      for (let at = start, to = 0; at < end; at++) {
        this.#nibbles[to++] = 48 + (this.#entries[at]! >> 4);
        this.#nibbles[to++] = 48 + (this.#entries[at]! & 15);
      }
      hash.label(this.#nibbles, 0, this.#nibbles.length);
    } else hash.label(this.#entries, start, end);
    hash.finish();
    const entry = this.#count;
    this.#starts[entry] = start;
    this.#ends[entry] = end;
    this.#highs[entry] = hash.high;
    this.#lows[entry] = hash.low;
    const place = this.#find(this, entry);
    if (this.#places[place] === 0) this.#places[place] = ++this.#count;
  }

  /** The place of an entry of `table`; a free one when it is not here. */
  #find(table: EntryTable, entry: number): number {
    const high = table.#highs[entry]!;
    for (let place = table.#lows[entry]! & this.#mask; ; place = (place + 1) & this.#mask) {
      const found = this.#places[place]!;
      if (found === 0 || (this.#highs[found - 1] === high && this.#equals(found - 1, table, entry)))
        return place;
    }
  }

  #equals(own: number, table: EntryTable, entry: number): boolean {
    const from = this.#starts[own]!;
    const start = table.#starts[entry]!;
    const length = table.#ends[entry]! - start;
    if (this.#ends[own]! - from !== length) return false;
    for (let at = 0; at < length; at++) {
      if (this.#entries[from + at] !== table.#entries[start + at]) return false;
    }
    return true;
  }

  #text(start: number, end: number): string {
    return this.#kind === "address" ? rowText(this.#entries, start) : latin1(this.#entries, start, end);
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
  const near = {
    names: new Set<string>(),
    above: new Set<string>(),
    parents: new Set<string>(),
    tails: new Uint8Array(TAILS),
  };
  for (const { below, line } of names) {
    (below ? near.parents : near.names).add(line[0]!);
    for (const parent of line) near.above.add(parent);
    // Below a single label there are names with any tail.
    if (below && line.length === 1) near.tails.fill(1);
    const bytes = Buffer.from(line[0]!, "latin1");
    near.tails[tailOf(bytes, 0, bytes.length)] = 1;
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
  /** By `tailOf`, 1 where something learned has that tail: who is above or below another has the same. */
  readonly tails: Uint8Array;
}

/** A power of two, so large that few names share a tail with learned ones by chance. */
const TAILS = 2 ** 20;

/** A number below TAILS that depends on the last two labels of a name (FNV-1a). */
function tailOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = end - 1, dots = 0; at >= start; at--) {
    if (bytes[at] === DOT && ++dots === 2) break;
    hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  }
  return (hash ^ (hash >>> 16)) & (TAILS - 1);
}

/** The entries that may hit something learned: of millions, few. */
function entriesNear(entries: Uint8Array, { names, above, parents, tails }: Near): Set<string> {
  const text = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
  const found = new Set<string>();
  eachLine(text, (start, end) => {
    const dotted = text[start] === DOT;
    const first = dotted ? start + 1 : start;
    if (tails[tailOf(text, first, end)] === 0) return;
    const name = text.toString("latin1", first, end);
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

function countLines(text: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < text.length; at++) if (text[at] === LF) count++;
  return count;
}
