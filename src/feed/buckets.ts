/** Reads the buckets of a domain set, which index.ts describes, in TypeScript: for look-ups the twin of native/domain_set.cc. */
import {
  type DomainWalk,
  FOUND,
  MOST_LABELS,
  MOST_NAME,
  QUESTION,
  type WalkParts,
} from "../native/domain-walk.ts";
import {
  directoryWord,
  LONG_NAME,
  LONG_SIZE_BITS,
  MARKER_HASH,
  NAME_HASH,
  NAME_SLOT,
  nextDirectoryWord,
  ROW_WORDS,
  SIZE_SHIFT,
} from "./format.ts";
import { SuffixHash } from "./hash.ts";
import { bitsAt, type CodeTables, NameCoder } from "./name-code.ts";

const ABSENT = -1;
/** No name, but some name ends in it. */
const INTERIOR = -2;

export interface BucketParts extends WalkParts, CodeTables {}

export class Buckets implements DomainWalk {
  readonly question = new Uint8Array(QUESTION);
  readonly found = new Uint32Array(FOUND.FIRST + MOST_LABELS * FOUND.STRIDE);
  readonly #hash: SuffixHash;
  readonly #rows: number;
  /** Where the first bucket of each row begins, once for two words of `#directory`; and how far behind it each one does. */
  readonly #rowStarts: Uint32Array;
  readonly #directory: Uint16Array;
  readonly #buckets: Uint16Array;
  readonly #coder: NameCoder;
  readonly #groupBits: number;
  /** Where the labels of the name asked for begin. */
  readonly #labels = new Uint8Array(MOST_LABELS);
  readonly #text = Buffer.alloc(256);

  constructor(parts: BucketParts) {
    const { directory, buckets, key0, key1, groupBits } = parts;
    this.#hash = new SuffixHash(key0, key1);
    this.#rows = directory.length / ROW_WORDS;
    this.#rowStarts = new Uint32Array(directory.buffer, directory.byteOffset, directory.length / 2);
    this.#directory = directory;
    this.#buckets = buckets;
    this.#coder = new NameCoder(parts);
    this.#groupBits = groupBits;
  }

  find(size: number): void {
    const { question, found } = this;
    const labels = this.#labels;
    const hash = this.#hash;
    found[FOUND.COUNT] = 0;
    let count = 0;
    let length = 0;
    for (; ; length += question[length]! + 1) {
      if (length > MOST_NAME || length >= size || question[length]! > 63) return;
      if (question[length] === 0) break;
      labels[count++] = length;
    }
    if (count < 2) return;

    let entry: number = FOUND.FIRST;
    hash.start();
    hash.label(question, labels[count - 1]! + 1, length);
    for (let label = count - 2; label >= 0; label--) {
      hash.label(question, labels[label]! + 1, labels[label + 1]!);
      hash.finish();
      const group = this.#probe(labels[label]!, length, entry);
      if (group === ABSENT) return;
      if (group === INTERIOR) continue;
      found[entry + FOUND.LABELS] = label;
      found[entry + FOUND.GROUP] = group;
      found[FOUND.COUNT]!++;
      entry += FOUND.STRIDE;
    }
  }

  text(word: number, bit: number): string {
    const text = this.#text;
    return text.toString("latin1", 0, this.#coder.decode(this.#buckets, word, bit, text, 0) - 1);
  }

  /** Calls back for every name with its group, and where it begins. */
  each(call: (group: number, word: number, bit: number) => void): void {
    const first = directoryWord(0, this.#rows);
    for (let bucket = first; bucket < this.#directory.length; bucket = nextDirectoryWord(bucket)) {
      const at = this.#beginningOf(bucket);
      const names = at + 1 + this.#buckets[at]!;
      let offset = 0;
      for (let slot = at + 1; slot < names; slot++) {
        const word = this.#buckets[slot]!;
        if ((word & NAME_SLOT) === 0) continue;
        const bit = offset + sizeBits(word);
        call(this.#groupAt(names, bit), names, bit + this.#groupBits);
        offset += this.#sizeOf(word, names, offset);
      }
    }
  }

  /** Writes the name that begins at a bit of a word as text, line feed included, to `out[at]`; returns the place behind. */
  decode(word: number, bit: number, out: Uint8Array, at: number): number {
    return this.#coder.decode(this.#buckets, word, bit, out, at);
  }

  /**
   * The group of the name that is confirmed, INTERIOR or ABSENT, for the suffix whose first label begins at `from` and
   * that was hashed last; notes at `entry` where the name stands.
   */
  #probe(from: number, end: number, entry: number): number {
    const buckets = this.#buckets;
    const low = this.#hash.low;
    const at = this.#beginningOf(directoryWord(this.#hash.high, this.#rows));
    const names = at + 1 + buckets[at]!;
    let found = ABSENT;
    // Rubbish may have more slots than there are words.
    if (names > buckets.length) return ABSENT;
    for (let slot = at + 1; slot < names; slot++) {
      const word = buckets[slot]!;
      // The bits that both kinds of slot have.
      if (((word ^ low) & NAME_HASH) !== 0) continue;
      if ((word & NAME_SLOT) === 0) {
        if (((word ^ low) & MARKER_HASH) !== 0) continue;
      } else {
        const bit = this.#offsetOf(slot, at, names) + sizeBits(word);
        const name = bit + this.#groupBits;
        if (this.#coder.equals(buckets, names, name, this.question, from, end)) {
          this.found[entry + FOUND.WORD] = names;
          this.found[entry + FOUND.BIT] = name;
          return this.#groupAt(names, bit);
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

  #groupAt(names: number, bit: number): number {
    const bits = this.#groupBits;
    const low = bitsAt(this.#buckets, names, bit);
    if (bits <= 16) return low & ((1 << bits) - 1);
    return (low & 0xffff) | ((bitsAt(this.#buckets, names, bit + 16) & ((1 << (bits - 16)) - 1)) << 16);
  }
}

/** Bits that the true size of a name takes before it. */
function sizeBits(word: number): number {
  return (word & ~NAME_SLOT) >>> SIZE_SHIFT === LONG_NAME ? LONG_SIZE_BITS : 0;
}
