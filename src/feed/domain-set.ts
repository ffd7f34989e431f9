/** The domain half of the compiled feeds: reads the buckets, names and pieces that index.ts describes. */
import type { FeedHit } from "../policy/types.ts";
import {
  BUCKET_WORDS,
  DOMAIN,
  DOMAIN_MAGIC,
  HASH_BITS,
  HEADER,
  homeBucket,
  NAME_SLOT,
  OVERFLOW,
  openHeader,
  SLOTS_AT,
} from "./format.ts";
import { Groups } from "./groups.ts";
import { Growing } from "./growing.ts";
import { FOLD, SuffixHash } from "./hash.ts";
import { END, PIECE_ROW } from "./pieces.ts";
import type { FeedSource } from "./types.ts";

const NONE: readonly FeedHit[] = Object.freeze([]);
const ABSENT = -1;
/** No name, but some name ends in it. */
const INTERIOR = -2;

export class DomainSet {
  readonly #header: Uint32Array;
  readonly #groups: Groups;
  readonly #hash: SuffixHash;
  readonly #buckets: Uint16Array;
  readonly #homeBuckets: number;
  readonly #longestProbe: number;
  readonly #pieces: Uint8Array;
  /** Codes from this one on end a name. */
  readonly #firstEnd: number;
  readonly #names: Uint8Array;
  readonly #groupBytes: number;
  /** Where the labels of the name asked for begin, and that name as stored text; reused by every look-up. */
  readonly #labels = new Int32Array(128);
  readonly #text = new Uint8Array(256);
  /** Where the entries that cover it stand among the names. */
  readonly #places = new Float64Array(128);
  /** The stored name that was found. */
  readonly #name = Buffer.alloc(256);

  /** Throws TM_FEED for a buffer that is not what `format.ts` sealed. */
  constructor(buffer: SharedArrayBuffer, sources: readonly FeedSource[], trusted: boolean) {
    const header = openHeader(buffer, DOMAIN_MAGIC, "domain set", trusted);
    this.#header = header;
    this.#groups = new Groups(buffer, header, sources);
    this.#hash = new SuffixHash(header[HEADER.KEY0]!, header[HEADER.KEY1]!);
    const buckets = header[DOMAIN.BUCKETS]!;
    this.#buckets = new Uint16Array(buffer, header[DOMAIN.BUCKETS_AT]!, buckets * BUCKET_WORDS);
    this.#homeBuckets = header[DOMAIN.HOME_BUCKETS]!;
    this.#longestProbe = header[DOMAIN.LONGEST_PROBE]!;
    const pieces = header[DOMAIN.PIECES]!;
    this.#pieces = new Uint8Array(buffer, header[DOMAIN.PIECES_AT]!, pieces * PIECE_ROW);
    let firstEnd = pieces;
    while (firstEnd > 0 && this.#endsName(firstEnd - 1)) firstEnd--;
    this.#firstEnd = firstEnd;
    this.#names = new Uint8Array(buffer, header[DOMAIN.NAMES_AT]!);
    this.#groupBytes = header[DOMAIN.GROUP_BYTES]!;
  }

  /** Distinct names held. */
  get size(): number {
    return this.#header[DOMAIN.NAMES]!;
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

    const places = this.#places;
    let entries = 0;
    let whole = false;
    hash.start();
    hash.label(bytes, labels[count - 1]! + 1, end);
    for (let depth = count - 2; depth >= 0; depth--) {
      hash.label(bytes, labels[depth]! + 1, labels[depth + 1]!);
      hash.finish();
      const place = this.#probe(bytes, offset, depth, count, end);
      if (place === ABSENT) break;
      if (place === INTERIOR || !this.#groups.covers(this.#groupAt(place), depth === 0)) continue;
      places[entries++] = place;
      whole = depth === 0;
    }
    if (entries === 0) return NONE;
    const hits: FeedHit[] = [];
    for (let entry = entries - 1; entry >= 0; entry--) {
      const place = places[entry]!;
      this.#groups.addHits(hits, this.#groupAt(place), this.#nameAt(place), whole && entry === entries - 1);
    }
    return hits;
  }

  /** The names that one feed lists, as `ParsedList.entries`: for a feed that could not be read again. */
  entriesOf(feed: number): { entries: Uint8Array; count: number } {
    const out = new Growing(4096);
    let count = 0;
    for (let at = 0; at < this.#names.length; at = this.#behind(at, 1)) {
      for (const member of this.#groups.members(this.#groupAt(at))) {
        if (member >>> 1 !== feed) continue;
        count++;
        out.reserve(256);
        if ((member & 1) === 1) out.bytes[out.length++] = 46;
        out.length = this.#copyName(at, out.bytes, out.length);
      }
    }
    return { entries: out.content(), count };
  }

  /** Place of the confirmed name in `#names`, INTERIOR or ABSENT, for the suffix that begins at label `depth`. */
  #probe(bytes: Uint8Array, offset: number, depth: number, count: number, end: number): number {
    const buckets = this.#buckets;
    const wanted = this.#hash.low & HASH_BITS;
    let at = homeBucket(this.#hash.high, this.#homeBuckets) * BUCKET_WORDS;
    let found = ABSENT;
    for (let probe = 0; probe < this.#longestProbe; probe++, at += BUCKET_WORDS) {
      const use = buckets[at + 2]!;
      const behind = at + SLOTS_AT + (use & 0xff);
      for (let slot = at + SLOTS_AT; slot < behind; slot++) {
        const word = buckets[slot]!;
        if ((word & HASH_BITS) !== wanted) continue;
        if ((word & NAME_SLOT) !== 0) {
          const place = this.#placeOf(at, slot);
          this.#writeText(bytes, offset, count, end);
          if (this.#isNameAt(place, this.#labels[depth]! - offset + 1)) return place;
        }
        // A name of equal hash may hide the marker of this one, so it too lets the walk go on.
        found = INTERIOR;
      }
      if ((use & OVERFLOW) === 0) break;
    }
    return found;
  }

  /** Where the name of a slot begins: behind those of the slots before it in the bucket. */
  #placeOf(bucket: number, slot: number): number {
    const buckets = this.#buckets;
    let before = 0;
    for (let at = bucket + SLOTS_AT; at < slot; at++) before += buckets[at]! >>> 15;
    return this.#behind(buckets[bucket]! + buckets[bucket + 1]! * 0x10000, before);
  }

  /** The place behind `count` names from `place` on. */
  #behind(place: number, count: number): number {
    const names = this.#names;
    const firstEnd = this.#firstEnd;
    const groupBytes = this.#groupBytes;
    let at = place;
    for (let left = count; left > 0 && at < names.length; left--) {
      at += groupBytes;
      while (names[at]! < firstEnd) at++;
      at++;
    }
    return at;
  }

  /** Whether the piece of a code ends a name. */
  #endsName(code: number): boolean {
    const row = code * PIECE_ROW;
    return this.#pieces[row + this.#pieces[row]!] === END;
  }

  /** Writes the name asked for as text: a dot at the length of each label, a line feed at the root's. */
  #writeText(bytes: Uint8Array, offset: number, count: number, end: number): void {
    const text = this.#text;
    for (let at = offset; at < end; at++) text[at - offset] = FOLD[bytes[at]!]!;
    for (let label = 0; label < count; label++) text[this.#labels[label]! - offset] = 46;
    text[end - offset] = END;
  }

  /** Whether the name stored at `place` is the text from `from` to its end. */
  #isNameAt(place: number, from: number): boolean {
    const names = this.#names;
    const pieces = this.#pieces;
    const text = this.#text;
    const firstEnd = this.#firstEnd;
    let at = from;
    for (let code = place + this.#groupBytes; code < names.length; code++) {
      const row = names[code]! * PIECE_ROW;
      const length = pieces[row]!;
      for (let index = 1; index <= length; index++) if (text[at++] !== pieces[row + index]) return false;
      if (names[code]! >= firstEnd) return true;
    }
    return false;
  }

  #groupAt(place: number): number {
    let group = 0;
    for (let index = this.#groupBytes - 1; index >= 0; index--)
      group = group * 256 + this.#names[place + index]!;
    return group;
  }

  #nameAt(place: number): string {
    return this.#name.toString("latin1", 0, this.#copyName(place, this.#name, 0) - 1);
  }

  /** Writes the name at `place`, line feed included, to `out[to]`; returns the place behind it. */
  #copyName(place: number, out: Uint8Array, to: number): number {
    let end = to;
    for (let at = place + this.#groupBytes; at < this.#names.length; at++) {
      const row = this.#names[at]! * PIECE_ROW;
      for (let index = 1; index <= this.#pieces[row]!; index++) out[end++] = this.#pieces[row + index]!;
      if (this.#names[at]! >= this.#firstEnd) break;
    }
    return end;
  }
}
