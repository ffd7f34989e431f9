/**
 * The suffixes of all names of all lists in the order of their hashes: what a domain set is written from. Names lie about in
 * tens of megabytes, in no order that the table knows, and most of the time of a build would be waiting for memory. So each
 * byte is touched in turn: one pass over the text hashes and codes every name; a second deals the results out into parts by
 * the first bits of the hash; each part is then small enough for a processor's cache, where it is sorted.
 */
import { TidesmanError } from "../errors.ts";
import { MAX_LABEL, MAX_NAME } from "../name.ts";
import type { GroupTable } from "./groups.ts";
import { SuffixHash } from "./hash.ts";
import { DOT, LF } from "./list/lines.ts";
import { isStoredByte, type NameCoder } from "./name-code.ts";

/** In place of the head of a name: the suffix is that of names, and none itself; or the same as the record before it. */
export const MARKER = 0xffffffff;
export const REPEATED = 0xfffffffe;
/** The head of a name: the bits of its code, and above them its member word (groups.ts), later its group. */
const SIZE_BITS = 12;
const SIZE_MASK = 2 ** SIZE_BITS - 1;
const MOST_GROUPS = 2 ** (32 - SIZE_BITS) - 1;

/** Words of a record: the lower half of its hash, its head; the code of a name follows. */
export const RECORD_WORDS = 2;

/** Bits of the upper half of the hash that tell the part, and what is left of it. */
const PART_BITS = 11;
const BELOW_PART = 32 - PART_BITS;
/** A key is the rest of the upper half times this, plus the place of the record: 53 bits, hence exact in a double. */
const PLACES = 2 ** 32;

export interface SuffixRecords {
  /** All records, each at the place that its key tells. */
  readonly words: Uint32Array;
  /** In order of hash; of equal hashes in the order of the lists. */
  readonly keys: Float64Array;
  /** Where in `keys` each part begins, and the end. */
  readonly parts: Uint32Array;
  /** Distinct names, and suffixes that are none. */
  readonly names: number;
  readonly markers: number;
}

/**
 * `lists`: see compileDomains. Numbers the groups of the names in order of hash. Throws TM_FEED for too many, TM_INTERNAL for
 * what is no name in stored form.
 */
export function suffixRecords(
  lists: readonly Uint8Array[],
  key: readonly [number, number],
  coder: NameCoder,
  groups: GroupTable,
): SuffixRecords {
  if (lists.length * 2 > MOST_GROUPS) throw tooMany();
  const dealt = deal(hashAndCode(lists, key, coder));
  return { ...dealt, ...merge(dealt, groups) };
}

export function sizeOf(head: number): number {
  return head & SIZE_MASK;
}

export function groupOf(head: number): number {
  return head >>> SIZE_BITS;
}

/** The upper half of the hash of a key in `part`, and the place of its record. */
export function highOf(part: number, key: number): number {
  return part * 2 ** BELOW_PART + Math.floor(key / PLACES);
}

export function placeOf(key: number): number {
  // A conversion to 32 bits is one modulo PLACES; through a double, since a key has more than 32.
  return key - Math.floor(key / PLACES) * PLACES;
}

/** In the order of the text. */
interface Coded {
  /** Both halves of the hash of each record. */
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  /** Head and code of each name, or MARKER. */
  readonly words: Uint32Array;
  readonly count: number;
  /** Where each part begins, in records and in words, once they are dealt out. */
  readonly parts: Uint32Array;
  readonly partWords: Float64Array;
}

function hashAndCode(lists: readonly Uint8Array[], key: readonly [number, number], coder: NameCoder): Coded {
  const bytes = lists.reduce((sum, list) => sum + list.length, 0);
  const hash = new SuffixHash(key[0], key[1]);
  const ends = new Int32Array(128);
  const parts = new Uint32Array(2 ** PART_BITS + 1);
  const partWords = new Float64Array(parts.length);
  let high = new Uint32Array(1024 + (bytes >>> 4));
  let low = new Uint32Array(high.length);
  let words = new Uint32Array(1024 + (bytes >>> 3));
  let record = 0;
  let word = 0;
  for (const [feed, text] of lists.entries()) {
    for (let at = 0; at < text.length; ) {
      const below = text[at] === DOT ? 1 : 0;
      const start = at + below;
      const labels = labelsOf(text, start, ends);
      if (labels === 0) throw noName();
      const end = ends[labels]!;
      if (record + labels > high.length) {
        high = grown(high);
        low = grown(low);
      }
      if (word + labels + coder.bits.length > words.length) words = grown(words);
      hash.start();
      hash.label(text, ends[labels - 1]! + 1, end);
      for (let label = labels - 1; label >= 0; label--) {
        hash.label(text, label === 0 ? start : ends[label - 1]! + 1, ends[label]!);
        hash.finish();
        const upper = hash.high;
        const part = (upper >>> BELOW_PART) + 1;
        high[record] = upper;
        low[record++] = hash.low;
        parts[part]!++;
        partWords[part]! += RECORD_WORDS;
        if (label > 0) {
          words[word++] = MARKER;
          continue;
        }
        coder.encode(text, start);
        words[word++] = coder.length + (feed * 2 + below) * 2 ** SIZE_BITS;
        const codeWords = wordsOf(coder.length);
        for (let from = 0; from < codeWords; from++) words[word++] = coder.bits[from]!;
        partWords[part]! += codeWords;
      }
      at = end + 1;
    }
  }
  for (let part = 1; part < parts.length; part++) {
    parts[part]! += parts[part - 1]!;
    partWords[part]! += partWords[part - 1]!;
  }
  if (partWords.at(-1)! >= PLACES) throw tooMany();
  return { high, low, words, count: record, parts, partWords };
}

/**
 * Of the name in stored form that begins at `text[start]`: how many labels stand before the last one; `ends` has where each of
 * all ends. 0 when there is no such name.
 */
function labelsOf(text: Uint8Array, start: number, ends: Int32Array): number {
  const last = Math.min(text.length - 1, start + MAX_NAME - 2);
  let labels = 0;
  for (let at = start, label = start; at <= last; at++) {
    const byte = text[at]!;
    if (byte !== DOT && byte !== LF) {
      if (isStoredByte(byte)) continue;
      return 0;
    }
    if (at === label || at - label > MAX_LABEL) return 0;
    ends[labels] = at;
    if (byte === LF) return labels;
    labels++;
    label = at + 1;
  }
  return 0;
}

function wordsOf(bits: number): number {
  return (bits + 31) >>> 5;
}

function grown(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(array.length * 2);
  larger.set(array);
  return larger;
}

export function tooMany(): TidesmanError {
  return new TidesmanError("TM_FEED", "the feeds list more names, or more of them alike, than can be held");
}

/** Lists are parsed before they are compiled, so that nobody sees this. */
export function noName(): TidesmanError {
  return new TidesmanError("TM_INTERNAL", "a list to be compiled holds what is no name in stored form");
}

type Dealt = Pick<SuffixRecords, "words" | "keys" | "parts">;

/** Deals the records out into their parts, and sorts the keys of each. */
function deal({ high, low, words: coded, count, parts, partWords }: Coded): Dealt {
  const keys = new Float64Array(count);
  const words = new Uint32Array(partWords.at(-1)!);
  const nextKey = parts.slice();
  const nextWord = partWords.slice();
  for (let record = 0, from = 0; record < count; record++) {
    const upper = high[record]!;
    const part = upper >>> BELOW_PART;
    let place = nextWord[part]!;
    keys[nextKey[part]!++] = (upper & (2 ** BELOW_PART - 1)) * PLACES + place;
    const head = coded[from++]!;
    words[place++] = low[record]!;
    words[place++] = head;
    if (head !== MARKER) {
      for (const end = place + wordsOf(sizeOf(head)); place < end; ) words[place++] = coded[from++]!;
    }
    nextWord[part] = place;
  }
  for (let part = 0; part + 1 < parts.length; part++) keys.subarray(parts[part], parts[part + 1]).sort();
  return { words, keys, parts };
}

/**
 * Leaves one record of each name, and one of each suffix that is none: the others become REPEATED. Puts the group of a name
 * into its head.
 */
function merge(dealt: Dealt, groups: GroupTable): { readonly names: number; readonly markers: number } {
  const { words, keys, parts } = dealt;
  let names = 0;
  let markers = 0;
  for (let part = 0; part + 1 < parts.length; part++) {
    const behind = parts[part + 1]!;
    for (let from = parts[part]!; from < behind; ) {
      const to = endOfRun(dealt, from, behind);
      const first = placeOf(keys[from]!);
      if (to - from > 1) {
        const merged = mergeRun(dealt, from, to, groups);
        names += merged;
        if (merged === 0) markers++;
      } else {
        const head = words[first + 1]!;
        if (head === MARKER) markers++;
        else {
          names++;
          words[first + 1] = sizeOf(head) + groups.numberOfOne(head >>> SIZE_BITS) * 2 ** SIZE_BITS;
        }
      }
      from = to;
    }
  }
  if (groups.size > MOST_GROUPS) throw tooMany();
  return { names, markers };
}

/** Where the keys end whose records have the hash of the one at `from`; `behind` ends the part. */
function endOfRun({ words, keys }: Dealt, from: number, behind: number): number {
  const upper = Math.floor(keys[from]! / PLACES);
  const isAlike = (index: number): boolean => Math.floor(keys[index]! / PLACES) === upper;
  if (from + 1 === behind || !isAlike(from + 1)) return from + 1;
  let end = from + 1;
  while (end < behind && isAlike(end)) end++;
  const low = (key: number): number => words[placeOf(key)]!;
  const run = keys.subarray(from, end);
  // Nearly always all of them are one suffix.
  if (run.some((key) => low(key) !== low(run[0]!))) run.sort((a, b) => low(a) - low(b) || a - b);
  let to = 1;
  while (to < run.length && low(run[to]!) === low(run[0]!)) to++;
  return from + to;
}

/** The same for records of one hash; returns the number of names that they are. */
function mergeRun({ words, keys }: Dealt, from: number, to: number, groups: GroupTable): number {
  const places = Array.from(keys.subarray(from, to), placeOf);
  let named = places.filter((place) => words[place + 1] !== MARKER);
  for (const place of named.length === 0 ? places.slice(1) : places) {
    if (words[place + 1] === MARKER) words[place + 1] = REPEATED;
  }
  let distinct = 0;
  // One round, unless two names share 64 bits of hash.
  for (; named.length > 0; distinct++) {
    const first = named[0]!;
    const same: number[] = [];
    const others: number[] = [];
    for (const place of named) (haveSameCode(words, place, first) ? same : others).push(place);
    const group = groups.number(same.map((place) => words[place + 1]! >>> SIZE_BITS));
    const size = sizeOf(words[first + 1]!);
    named = others;
    for (const place of same) words[place + 1] = REPEATED;
    words[first + 1] = size + group * 2 ** SIZE_BITS;
  }
  return distinct;
}

function haveSameCode(words: Uint32Array, a: number, b: number): boolean {
  const size = sizeOf(words[a + 1]!);
  if (sizeOf(words[b + 1]!) !== size) return false;
  for (let word = RECORD_WORDS; word < RECORD_WORDS + wordsOf(size); word++) {
    if (words[a + word] !== words[b + word]) return false;
  }
  return true;
}
