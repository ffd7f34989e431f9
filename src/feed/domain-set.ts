/** The domain half of the compiled feeds: reads the buckets, names and codes that index.ts describes. */
import type { FeedHit } from "../policy/types.ts";
import {
  DOMAIN,
  DOMAIN_MAGIC,
  directoryWord,
  HEADER,
  LONG_NAME,
  LONG_SIZE_BITS,
  MARKER_HASH,
  NAME_HASH,
  NAME_SLOT,
  nextDirectoryWord,
  openHeader,
  ROW_WORDS,
  SIZE_SHIFT,
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
  readonly #rows: number;
  /** Where the first bucket of each row begins, once for two words of `#directory`; and how far behind it each one does. */
  readonly #rowStarts: Uint32Array;
  readonly #directory: Uint16Array;
  readonly #buckets: Uint16Array;
  readonly #coder: NameCoder;
  readonly #groupBits: number;
  /** Where the labels of the name asked for begin; reused by every look-up. */
  readonly #labels = new Int32Array(128);
  /** What covers it, the shortest first: labels before it, group, and where the stored name begins (word and bit). */
  readonly #depths = new Int32Array(128);
  readonly #found = new Int32Array(128);
  readonly #places = new Int32Array(128);
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
    this.#rows = header[DOMAIN.ROWS]!;
    const directoryAt = header[DOMAIN.DIRECTORY_AT]!;
    this.#rowStarts = new Uint32Array(buffer, directoryAt, (this.#rows * ROW_WORDS) / 2);
    this.#directory = new Uint16Array(buffer, directoryAt, this.#rows * ROW_WORDS);
    this.#buckets = new Uint16Array(buffer, header[DOMAIN.BUCKETS_AT]!);
    this.#coder = new NameCoder(codes ?? codesOf(buffer));
    this.#groupBits = header[DOMAIN.GROUP_BITS]!;
  }

  /** Distinct names held. */
  get size(): number {
    return this.#header[DOMAIN.NAMES]!;
  }

  /** Bytes of the buffer that are buckets, names included, and of the other parts (directory, codes, groups). */
  get bytes(): { readonly buckets: number; readonly table: number } {
    return { buckets: this.#buckets.byteLength, table: this.#header[DOMAIN.BUCKETS_AT]! };
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
        this.#places[entry]!,
        this.#shifts[entry]!,
      );
    }
    return hits;
  }

  /** The stored name that begins at a bit of a word, as text. */
  textAt(word: number, shift: number): string {
    return this.#text.toString(
      "latin1",
      0,
      this.#coder.decode(this.#buckets, word, shift, this.#text, 0) - 1,
    );
  }

  /** The names that one feed lists, as `ParsedList.entries`: for a feed that could not be read again. */
  entriesOf(feed: number): { entries: Uint8Array; count: number } {
    const out = new Growing(4096);
    let count = 0;
    const first = directoryWord(0, this.#rows);
    for (let bucket = first; bucket < this.#directory.length; bucket = nextDirectoryWord(bucket)) {
      const at = this.#beginningOf(bucket);
      const names = at + 1 + this.#buckets[at]!;
      let offset = 0;
      for (let slot = at + 1; slot < names; slot++) {
        const word = this.#buckets[slot]!;
        if ((word & NAME_SLOT) === 0) continue;
        const shift = offset + sizeBits(word);
        for (const member of this.#groups.members(this.#groupAt(names, shift))) {
          if (member >>> 1 !== feed) continue;
          count++;
          out.reserve(256);
          if ((member & 1) === 1) out.bytes[out.length++] = 46;
          const name = shift + this.#groupBits;
          out.length = this.#coder.decode(this.#buckets, names, name, out.bytes, out.length);
        }
        offset += this.#sizeOf(word, names, offset);
      }
    }
    return { entries: out.content(), count };
  }

  /**
   * The group of the name that is confirmed, INTERIOR or ABSENT, for the suffix whose first label begins at `from` and
   * that was hashed last; notes where the name stands as entry number `entry`.
   */
  #probe(bytes: Uint8Array, from: number, end: number, entry: number): number {
    const buckets = this.#buckets;
    const low = this.#hash.low;
    const at = this.#beginningOf(directoryWord(this.#hash.high, this.#rows));
    const names = at + 1 + buckets[at]!;
    let found = ABSENT;
    for (let slot = at + 1; slot < names; slot++) {
      const word = buckets[slot]!;
      // The bits that both kinds of slot have.
      if (((word ^ low) & NAME_HASH) !== 0) continue;
      if ((word & NAME_SLOT) === 0) {
        if (((word ^ low) & MARKER_HASH) !== 0) continue;
      } else {
        const shift = this.#offsetOf(slot, at, names) + sizeBits(word);
        const name = shift + this.#groupBits;
        if (this.#coder.equals(buckets, names, name, bytes, from, end)) {
          this.#places[entry] = names;
          this.#shifts[entry] = name;
          return this.#groupAt(names, shift);
        }
      }
      // A name of equal hash may hide the marker of this one, so it too lets the walk go on.
      found = INTERIOR;
    }
    return found;
  }

  /** The bit, counted from where the names of the bucket begin, at which that of a slot does. */
  #offsetOf(slot: number, bucket: number, names: number): number {
    let offset = 0;
    for (let at = bucket + 1; at < slot; at++) offset += this.#sizeOf(this.#buckets[at]!, names, offset);
    return offset;
  }

  /** Where the bucket of a word of the directory begins. */
  #beginningOf(word: number): number {
    return this.#rowStarts[(word >>> 4) << 3]! + this.#directory[word]!;
  }

  /** Bits of the name of slot `word`, which begins so many bits behind the beginning of the names of its bucket; 0 of a marker. */
  #sizeOf(word: number, names: number, offset: number): number {
    const size = (word & ~NAME_SLOT) >>> SIZE_SHIFT;
    // Without a branch, which would be taken at random.
    if (size !== LONG_NAME) return (size * 2) & -(word >>> 15);
    return (word & NAME_SLOT) === 0
      ? 0
      : (bitsAt(this.#buckets, names, offset) & ((1 << LONG_SIZE_BITS) - 1)) * 2;
  }

  #groupAt(names: number, shift: number): number {
    const bits = this.#groupBits;
    const low = bitsAt(this.#buckets, names, shift);
    if (bits <= 16) return low & ((1 << bits) - 1);
    return (low & 0xffff) | ((bitsAt(this.#buckets, names, shift + 16) & ((1 << (bits - 16)) - 1)) << 16);
  }
}

/** Bits that the true size of a name takes before it. */
function sizeBits(word: number): number {
  return (word & ~NAME_SLOT) >>> SIZE_SHIFT === LONG_NAME ? LONG_SIZE_BITS : 0;
}
