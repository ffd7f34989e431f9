/** The domain half of the compiled feeds: reads the buckets, names and codes that index.ts describes. */
import type { FeedHit } from "../policy/types.ts";
import {
  BUCKET_WORDS,
  DOMAIN,
  DOMAIN_MAGIC,
  HEADER,
  homeBucket,
  LONG_NAME,
  LONG_SIZE_BITS,
  MARKER_HASH,
  NAME_HASH,
  NAME_SLOT,
  OVERFLOW,
  openHeader,
  SIZE_SHIFT,
  SLOTS_AT,
} from "./format.ts";
import { type EntryText, Groups } from "./groups.ts";
import { Growing } from "./growing.ts";
import { SuffixHash } from "./hash.ts";
import { bitsAt, CONTEXTS, type CodeTables, codeTables, NameCoder, SYMBOLS } from "./name-code.ts";
import type { FeedSource } from "./types.ts";

const NONE: readonly FeedHit[] = Object.freeze([]);
const ABSENT = -1;
/** No name, but some name ends in it. */
const INTERIOR = -2;

/** The codes that the names of a set are written in. Throws TM_FEED for a header that is none; the rest is trusted. */
export function codesOf(buffer: SharedArrayBuffer): CodeTables {
  const header = openHeader(buffer, DOMAIN_MAGIC, "domain set", true);
  const setsAt = header[DOMAIN.CODE_SETS_AT]!;
  return codeTables({
    contexts: new Uint16Array(buffer, setsAt, CONTEXTS),
    lengths: new Uint8Array(buffer, setsAt + CONTEXTS * 2, header[DOMAIN.CODE_SETS]! * SYMBOLS),
  });
}

export class DomainSet implements EntryText {
  readonly #header: Uint32Array;
  readonly #groups: Groups;
  readonly #hash: SuffixHash;
  readonly #buckets: Uint16Array;
  readonly #homeBuckets: number;
  readonly #longestProbe: number;
  readonly #coder: NameCoder;
  readonly #names: Uint32Array;
  readonly #groupBits: number;
  /** Where the labels of the name asked for begin; reused by every look-up. */
  readonly #labels = new Int32Array(128);
  /** What covers it, the shortest first: labels before it, group, and where the stored name begins (word and bit). */
  readonly #depths = new Int32Array(128);
  readonly #found = new Int32Array(128);
  readonly #words = new Int32Array(128);
  readonly #shifts = new Int32Array(128);
  readonly #text = Buffer.alloc(256);

  /** Throws TM_FEED for a buffer that is not what `format.ts` sealed. `codes`: as `codesOf` gave them for that buffer. */
  constructor(
    buffer: SharedArrayBuffer,
    sources: readonly FeedSource[],
    trusted: boolean,
    codes?: CodeTables,
  ) {
    const header = openHeader(buffer, DOMAIN_MAGIC, "domain set", trusted);
    this.#header = header;
    this.#groups = new Groups(buffer, header, sources);
    this.#hash = new SuffixHash(header[HEADER.KEY0]!, header[HEADER.KEY1]!);
    const buckets = header[DOMAIN.BUCKETS]!;
    this.#buckets = new Uint16Array(buffer, header[DOMAIN.BUCKETS_AT]!, buckets * BUCKET_WORDS);
    this.#homeBuckets = header[DOMAIN.HOME_BUCKETS]!;
    this.#longestProbe = header[DOMAIN.LONGEST_PROBE]!;
    this.#coder = new NameCoder(codes ?? codesOf(buffer));
    this.#names = new Uint32Array(buffer, header[DOMAIN.NAMES_AT]!);
    this.#groupBits = header[DOMAIN.GROUP_BITS]!;
  }

  /** Distinct names held. */
  get size(): number {
    return this.#header[DOMAIN.NAMES]!;
  }

  /** Bytes of the buffer that are names, and of the other parts (table, codes, groups). */
  get bytes(): { readonly names: number; readonly table: number } {
    return { names: this.#names.byteLength, table: this.#header[DOMAIN.NAMES_AT]! };
  }

  /**
   * Every entry that covers the name in wire form at `bytes[offset]`, the longest first. The shared empty array, and
   * nothing allocated, when there is none or the bytes are no uncompressed name.
   */
  find(bytes: Uint8Array, offset: number): readonly FeedHit[] {
    const labels = this.#labels;
    const hash = this.#hash;
    let count = 0;
    let end = offset;
    for (let length = bytes[end]; length !== 0; length = bytes[end]) {
      if (length === undefined || length > 63) return NONE;
      labels[count++] = end;
      end += length + 1;
      if (end - offset > 254) return NONE;
    }
    if (count < 2) return NONE;

    let entries = 0;
    hash.start();
    hash.label(bytes, labels[count - 1]! + 1, end);
    for (let depth = count - 2; depth >= 0; depth--) {
      hash.label(bytes, labels[depth]! + 1, labels[depth + 1]!);
      hash.finish();
      const group = this.#probe(bytes, labels[depth]!, end, entries);
      if (group === ABSENT) break;
      if (group === INTERIOR || !this.#groups.covers(group, depth === 0)) continue;
      this.#depths[entries] = depth;
      this.#found[entries++] = group;
    }
    let hits: readonly FeedHit[] = NONE;
    for (let entry = entries - 1; entry >= 0; entry--) {
      const whole = this.#depths[entry] === 0;
      hits = this.#groups.withNameHits(
        hits,
        this.#found[entry]!,
        whole,
        this,
        this.#words[entry]!,
        this.#shifts[entry]!,
      );
    }
    return hits;
  }

  /** The stored name that begins at a bit of a word, as text. */
  textAt(word: number, shift: number): string {
    return this.#text.toString("latin1", 0, this.#coder.decode(this.#names, word, shift, this.#text, 0) - 1);
  }

  /** The names that one feed lists, as `ParsedList.entries`: for a feed that could not be read again. */
  entriesOf(feed: number): { entries: Uint8Array; count: number } {
    const out = new Growing(4096);
    let count = 0;
    for (let bucket = 0; bucket < this.#buckets.length; bucket += BUCKET_WORDS) {
      const behind = bucket + SLOTS_AT + (this.#buckets[bucket + 2]! & 0xff);
      for (let slot = bucket + SLOTS_AT; slot < behind; slot++) {
        const word = this.#buckets[slot]!;
        if ((word & NAME_SLOT) === 0) continue;
        const place = this.#placeOf(bucket, slot);
        const shift = groupShift(place, word);
        for (const member of this.#groups.members(this.#groupAt(place, shift))) {
          if (member >>> 1 !== feed) continue;
          count++;
          out.reserve(256);
          if ((member & 1) === 1) out.bytes[out.length++] = 46;
          const name = shift + this.#groupBits;
          out.length = this.#coder.decode(this.#names, place >>> 4, name, out.bytes, out.length);
        }
      }
    }
    return { entries: out.content(), count };
  }

  /**
   * The group of the name that is confirmed, INTERIOR or ABSENT, for the suffix whose first label begins at `from`; notes
   * where the name stands as entry number `entry`.
   */
  #probe(bytes: Uint8Array, from: number, end: number, entry: number): number {
    const buckets = this.#buckets;
    const low = this.#hash.low;
    let at = homeBucket(this.#hash.high, this.#homeBuckets) * BUCKET_WORDS;
    let found = ABSENT;
    for (let probe = 0; probe < this.#longestProbe; probe++, at += BUCKET_WORDS) {
      const use = buckets[at + 2]!;
      const behind = at + SLOTS_AT + (use & 0xff);
      for (let slot = at + SLOTS_AT; slot < behind; slot++) {
        const word = buckets[slot]!;
        // The bits that both kinds of slot have.
        if (((word ^ low) & NAME_HASH) !== 0) continue;
        if ((word & NAME_SLOT) === 0) {
          if (((word ^ low) & MARKER_HASH) !== 0) continue;
        } else {
          const place = this.#placeOf(at, slot);
          const shift = groupShift(place, word);
          const nameShift = shift + this.#groupBits;
          if (this.#coder.equals(this.#names, place >>> 4, nameShift, bytes, from, end)) {
            this.#words[entry] = place >>> 4;
            this.#shifts[entry] = nameShift;
            return this.#groupAt(place, shift);
          }
        }
        // A name of equal hash may hide the marker of this one, so it too lets the walk go on.
        found = INTERIOR;
      }
      if ((use & OVERFLOW) === 0) break;
    }
    return found;
  }

  /** Where the name of a slot begins, in units of two bits: behind those of the slots before it in the bucket. */
  #placeOf(bucket: number, slot: number): number {
    const buckets = this.#buckets;
    let place = (buckets[bucket]! | (buckets[bucket + 1]! << 16)) >>> 0;
    for (let at = bucket + SLOTS_AT; at < slot; at++) {
      const word = buckets[at]!;
      if ((word & NAME_SLOT) !== 0) place += this.#sizeOf(word, place);
    }
    return place;
  }

  /** The size of the name of slot `word` at `place`. */
  #sizeOf(word: number, place: number): number {
    const size = (word & ~NAME_SLOT) >>> SIZE_SHIFT;
    if (size !== LONG_NAME) return size;
    return bitsAt(this.#names, place >>> 4, (place & 15) * 2) & ((1 << LONG_SIZE_BITS) - 1);
  }

  #groupAt(place: number, shift: number): number {
    // A shift by 32 would be one by 0.
    if (this.#groupBits === 0) return 0;
    return bitsAt(this.#names, (place >>> 4) + (shift >>> 5), shift & 31) & (2 ** this.#groupBits - 1);
  }
}

/** The bit, counted from the word in which the name of slot `word` begins, at which its group does. */
function groupShift(place: number, word: number): number {
  const size = (word & ~NAME_SLOT) >>> SIZE_SHIFT;
  return (place & 15) * 2 + (size === LONG_NAME ? LONG_SIZE_BITS : 0);
}
