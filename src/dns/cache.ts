/**
 * Answers by question. It holds what upstreams said and nothing of what anybody decided about it, so that a new policy
 * needs no purge.
 *
 * Two parts, together of a size in bytes. Small answers, nearly all, stand in one ArrayBuffer of fixed entries, eight to a set;
 * the hash names the set, and a hit is compared with the whole name, type and flags. A flood of chosen names can thus
 * only push others out of a set. Large answers are in an LRU by hash, one for each, compared in the same way.
 *
 * An entry, as 32-bit words at `base`, then bytes:
 *   0 kind: type << 8 | flags             4 header byte 3 (AD, rcode) | answer count << 16
 *   1 second it was stored                5 authority count | number of TTLs << 16
 *   2 second it expires                   6 generation: another for everything ever stored
 *   3 name length | sections length << 16
 *   then 16-bit offsets of the TTLs in the sections, the folded name, the sections.
 * Seconds are whole ones of a monotonic clock, so an answer is kept up to a second less than it may be, never more.
 */
import { LRUCache } from "lru-cache";
import type { Answer } from "./answer.ts";
import type { QueryKey } from "./message.ts";
import { copyBytes } from "./reply.ts";

const ENTRY = 384;
const ENTRY_WORDS = ENTRY / 4;
const WAYS = 8;
/** Bytes per entry beside it. */
const OVERHEAD = 12;
const WORDS = 7;
const W = { KIND: 0, STORED: 1, EXPIRES: 2, LENGTHS: 3, HEAD: 4, COUNTS: 5, GENERATION: 6 } as const;
/** What `probe` returns for an answer of the LRU: it has no number of its own, its generation tells it apart. */
export const LARGE = 0x7fffffff;
/** What a large entry costs beside its bytes: key, objects, map. */
const LARGE_OVERHEAD = 256;

interface Block {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

export class AnswerCache {
  /** Per entry, apart from it so that a set is looked through in a few cache lines: hash, or 0 when free; the second it
   * was last served; the second from which on it is of no use. */
  readonly #tags: Int32Array;
  readonly #used: Int32Array;
  readonly #useless: Int32Array;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #setMask: number;
  readonly #large: LRUCache<number, Block>;
  readonly #keepStale: number;
  #generation = 0;
  #entries = 0;

  // The entry that the last `probe` found.
  #foundWords: Int32Array;
  #foundBytes: Uint8Array;
  #base = 0;
  #entry = LARGE;

  /** `size` in bytes, for all of it; `keepStale`: seconds that an expired answer is kept for serve-stale. */
  constructor(size: number, keepStale: number) {
    let sets = 1;
    while (sets * 2 * WAYS * (ENTRY + OVERHEAD) <= size * 0.8) sets *= 2;
    const small = sets * WAYS * (ENTRY + OVERHEAD);
    const memory = new ArrayBuffer(sets * WAYS * ENTRY);
    this.#tags = new Int32Array(sets * WAYS);
    this.#used = new Int32Array(sets * WAYS);
    this.#useless = new Int32Array(sets * WAYS);
    this.#words = new Int32Array(memory);
    this.#bytes = new Uint8Array(memory);
    this.#setMask = sets - 1;
    this.#large = new LRUCache<number, Block>({
      maxSize: Math.max(size - small, 128 * 1024),
      sizeCalculation: (block) => block.bytes.length + LARGE_OVERHEAD,
    });
    this.#keepStale = keepStale;
    this.#foundWords = this.#words;
    this.#foundBytes = this.#bytes;
  }

  /** Answers held, expired ones included. */
  get entries(): number {
    return this.#entries + this.#large.size;
  }

  /**
   * Looks for the answer to `query`, expired or not. Its number, or -1. The other accessors then speak of it, until the
   * next call.
   */
  probe(query: QueryKey): number {
    const first = (query.hash & this.#setMask) * WAYS;
    const tag = query.hash | 1;
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#tags[entry] !== tag || !this.#holds(entry, query)) continue;
      this.#foundWords = this.#words;
      this.#foundBytes = this.#bytes;
      this.#base = entry * ENTRY_WORDS;
      this.#entry = entry;
      return entry;
    }
    if (this.#large.size === 0) return -1;
    const block = this.#large.get(query.hash);
    if (block === undefined || !matches(block.words, block.bytes, 0, query)) return -1;
    this.#foundWords = block.words;
    this.#foundBytes = block.bytes;
    this.#base = 0;
    this.#entry = LARGE;
    return LARGE;
  }

  get generation(): number {
    return this.#foundWords[this.#base + W.GENERATION]!;
  }
  /** Second at which it expires. */
  get expires(): number {
    return this.#foundWords[this.#base + W.EXPIRES]!;
  }
  /** Bytes behind the question. */
  get length(): number {
    return this.#foundWords[this.#base + W.LENGTHS]! >>> 16;
  }
  get rcode(): number {
    return this.#foundWords[this.#base + W.HEAD]! & 15;
  }
  get authentic(): boolean {
    return (this.#foundWords[this.#base + W.HEAD]! & 0x20) !== 0;
  }
  get answerCount(): number {
    return this.#foundWords[this.#base + W.HEAD]! >>> 16;
  }
  get authorityCount(): number {
    return this.#foundWords[this.#base + W.COUNTS]! & 0xffff;
  }

  /**
   * Writes the sections to `target[at]`, with every TTL lowered by the time since they were stored; an expired answer's
   * TTLs become `staleTTL`.
   */
  copy(target: Uint8Array, at: number, now: number, staleTTL: number): void {
    const words = this.#foundWords;
    const bytes = this.#foundBytes;
    const base = this.#base;
    if (this.#entry !== LARGE) this.#used[this.#entry] = now;
    const lengths = words[base + W.LENGTHS]!;
    const ttls = words[base + W.COUNTS]! >>> 16;
    const offsets = (base + WORDS) * 4;
    const from = offsets + ttls * 2 + (lengths & 0xffff);
    const length = lengths >>> 16;
    for (let index = 0; index < length; index++) target[at + index] = bytes[from + index]!;
    const age = now - words[base + W.STORED]!;
    const stale = words[base + W.EXPIRES]! <= now;
    for (let index = offsets; index < offsets + ttls * 2; index += 2) {
      const to = at + (bytes[index]! | (bytes[index + 1]! << 8));
      const stored = (target[to]! << 24) | (target[to + 1]! << 16) | (target[to + 2]! << 8) | target[to + 3]!;
      const ttl = stale ? staleTTL : stored - age;
      target[to] = ttl >>> 24;
      target[to + 1] = ttl >>> 16;
      target[to + 2] = ttl >>> 8;
      target[to + 3] = ttl;
    }
  }

  /** Keeps `answer` from the second `now` on, if it may be kept at all. */
  insert(query: QueryKey, answer: Answer, now: number): void {
    if (answer.lifetime <= 0) return;
    const sections = answer.length - answer.questionEnd;
    const needed = WORDS * 4 + answer.ttls.length * 2 + query.nameLength + sections;
    if (needed > ENTRY) {
      this.#drop(query);
      const memory = new ArrayBuffer((needed + 3) & ~3);
      const block = { bytes: new Uint8Array(memory), words: new Int32Array(memory) };
      this.#fill(block.words, block.bytes, 0, query, answer, now);
      this.#large.set(query.hash, block);
      return;
    }
    if (this.#large.size > 0) this.#large.delete(query.hash);
    const entry = this.#victim(query, now);
    if (this.#tags[entry] === 0) this.#entries++;
    this.#tags[entry] = query.hash | 1;
    this.#used[entry] = now;
    this.#useless[entry] = now + answer.lifetime + this.#keepStale;
    this.#fill(this.#words, this.#bytes, entry * ENTRY_WORDS, query, answer, now);
  }

  #fill(
    words: Int32Array,
    bytes: Uint8Array,
    base: number,
    query: QueryKey,
    answer: Answer,
    now: number,
  ): void {
    const sections = answer.length - answer.questionEnd;
    words[base + W.KIND] = query.kind;
    words[base + W.STORED] = now;
    words[base + W.EXPIRES] = now + answer.lifetime;
    words[base + W.LENGTHS] = query.nameLength | (sections << 16);
    words[base + W.HEAD] = answer.rcode | (answer.authentic ? 0x20 : 0) | (answer.answerCount << 16);
    words[base + W.COUNTS] = answer.authorityCount | (answer.ttls.length << 16);
    this.#generation = (this.#generation + 1) | 0;
    words[base + W.GENERATION] = this.#generation;
    let to = (base + WORDS) * 4;
    for (const ttl of answer.ttls) {
      const offset = ttl - answer.questionEnd;
      bytes[to++] = offset;
      bytes[to++] = offset >>> 8;
    }
    copyBytes(query.key, 0, bytes, to, query.nameLength);
    copyBytes(answer.bytes, answer.at + answer.questionEnd, bytes, to + query.nameLength, sections);
  }

  #holds(entry: number, query: QueryKey): boolean {
    return matches(this.#words, this.#bytes, entry * ENTRY_WORDS, query);
  }

  /** The entry that gives way: its own former answer, else a free one, else one past use, else the longest unused. */
  #victim(query: QueryKey, now: number): number {
    const first = (query.hash & this.#setMask) * WAYS;
    let victim = first;
    let least = Number.POSITIVE_INFINITY;
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#tags[entry] === (query.hash | 1) && this.#holds(entry, query)) return entry;
      let worth = this.#used[entry]!;
      if (this.#tags[entry] === 0) worth = -2;
      else if (this.#useless[entry]! <= now) worth = -1;
      if (worth < least) {
        least = worth;
        victim = entry;
      }
    }
    return victim;
  }

  /** Forgets the small answer to `query`, when a large one takes its place. */
  #drop(query: QueryKey): void {
    const first = (query.hash & this.#setMask) * WAYS;
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.#tags[entry] !== (query.hash | 1) || !this.#holds(entry, query)) continue;
      this.#tags[entry] = 0;
      this.#entries--;
    }
  }
}

/** Whether the entry at `words[base]` is the answer to `query`, the hash apart. */
function matches(words: Int32Array, bytes: Uint8Array, base: number, query: QueryKey): boolean {
  if (words[base + W.KIND] !== query.kind) return false;
  if ((words[base + W.LENGTHS]! & 0xffff) !== query.nameLength) return false;
  const at = (base + WORDS) * 4 + (words[base + W.COUNTS]! >>> 16) * 2;
  const { key } = query;
  for (let index = 0; index < query.nameLength; index++) if (bytes[at + index] !== key[index]) return false;
  return true;
}
