/** The domain half of the compiled feeds. The walk over the suffixes of a name is C++ where the addon was built. */
import { TidesmanError } from "../errors.ts";
import { type DomainWalk, FOUND, nativeDomainWalk, QUESTION } from "../native/domain-walk.ts";
import type { FeedHit } from "../policy/types.ts";
import { type BucketParts, Buckets } from "./buckets.ts";
import { DOMAIN, DOMAIN_MAGIC, HEADER, openHeader, ROW_WORDS } from "./format.ts";
import { Groups } from "./groups.ts";
import { Growing } from "./growing.ts";
import { CONTEXTS, type CodeTables, codeTables, SYMBOLS } from "./name-code.ts";
import type { FeedSource } from "./types.ts";

const NONE: readonly FeedHit[] = Object.freeze([]);

/** The codes that the names of a set are written in. Throws TM_FEED for a header that is none; the rest is trusted. */
export function codesOf(buffer: SharedArrayBuffer): CodeTables {
  const header = openHeader(buffer, DOMAIN_MAGIC, "domain set", true);
  const setsAt = header[DOMAIN.CODE_SETS_AT]!;
  return codeTables({
    contexts: new Uint16Array(buffer, setsAt, CONTEXTS),
    lengths: new Uint8Array(buffer, setsAt + CONTEXTS * 2, header[DOMAIN.CODE_SETS]! * SYMBOLS),
  });
}

export interface DomainSetOptions {
  /** As `openHeader` of format.ts. */
  readonly trusted: boolean;
  /** As `codesOf` gave them for that buffer. */
  readonly codes?: CodeTables | undefined;
  /** Walk in TypeScript even where the addon was built. */
  readonly portable?: boolean | undefined;
}

export class DomainSet {
  readonly #header: Uint32Array;
  readonly #groups: Groups;
  readonly #buckets: Buckets;
  readonly #walk: DomainWalk;
  readonly #question: Uint8Array;
  readonly #found: Uint32Array;

  /** Throws TM_FEED for a buffer that is not what `format.ts` sealed. */
  constructor(buffer: SharedArrayBuffer, sources: readonly FeedSource[], options: DomainSetOptions) {
    this.#header = openHeader(buffer, DOMAIN_MAGIC, "domain set", options.trusted);
    try {
      this.#groups = new Groups(buffer, this.#header, sources);
      const parts = partsOf(buffer, this.#header, options.codes ?? codesOf(buffer));
      this.#buckets = new Buckets(parts);
      this.#walk = (options.portable === true ? null : nativeDomainWalk(parts)) ?? this.#buckets;
    } catch (error) {
      // Of an array that would lie outside of the buffer.
      if (!(error instanceof RangeError)) throw error;
      const message = `the compiled domain set is corrupt (${error.message}); compile the feeds again`;
      throw new TidesmanError("TM_FEED", message, { cause: error });
    }
    this.#question = this.#walk.question;
    this.#found = this.#walk.found;
  }

  /** Distinct names held. */
  get size(): number {
    return this.#header[DOMAIN.NAMES]!;
  }

  /** Bytes of the buffer that are buckets, names included, and of the other parts (directory, codes, groups). */
  get bytes(): { readonly buckets: number; readonly table: number } {
    const table = this.#header[DOMAIN.BUCKETS_AT]!;
    return { buckets: this.#header[HEADER.BYTES]! - table, table };
  }

  /**
   * Every entry that covers the name in wire form at `bytes[offset]`, the longest first. The shared empty array, and
   * nothing allocated, when there is none or the bytes are no uncompressed name.
   */
  find(bytes: Uint8Array, offset: number): readonly FeedHit[] {
    this.#walk.find(this.#ask(bytes, offset));
    const found = this.#found;
    let hits: readonly FeedHit[] = NONE;
    for (let left = found[FOUND.COUNT]!; left > 0; left--) {
      const entry = FOUND.FIRST + (left - 1) * FOUND.STRIDE;
      hits = this.#groups.withNameHits(
        hits,
        found[entry + FOUND.GROUP]!,
        found[entry + FOUND.LABELS] === 0,
        this.#walk,
        found[entry + FOUND.WORD]!,
        found[entry + FOUND.BIT]!,
      );
    }
    return hits;
  }

  /** Puts the name to the walk, which makes sure that it is one; returns how many bytes may be of it. */
  #ask(bytes: Uint8Array, offset: number): number {
    const question = this.#question;
    if (offset === 0 && bytes.length <= QUESTION) {
      question.set(bytes);
      return bytes.length;
    }
    let end = offset;
    for (let size = bytes[end]; size !== 0; size = bytes[end]) {
      if (size === undefined || size > 63) return 0;
      end += size + 1;
      // However many labels follow.
      if (end - offset >= QUESTION) return 0;
    }
    const size = end - offset + 1;
    for (let at = 0; at < size; at++) question[at] = bytes[offset + at]!;
    return size;
  }

  /** The names that one feed lists, as `ParsedList.entries`: for a feed that could not be read again. */
  entriesOf(feed: number): { entries: Uint8Array; count: number } {
    const out = new Growing(4096);
    let count = 0;
    this.#buckets.each((group, word, bit) => {
      for (const member of this.#groups.members(group)) {
        if (member >>> 1 !== feed) continue;
        count++;
        out.reserve(256);
        if ((member & 1) === 1) out.bytes[out.length++] = 46;
        out.length = this.#buckets.decode(word, bit, out.bytes, out.length);
      }
    });
    return { entries: out.content(), count };
  }
}

function partsOf(buffer: SharedArrayBuffer, header: Uint32Array, codes: CodeTables): BucketParts {
  const groupBits = header[DOMAIN.GROUP_BITS]!;
  if (groupBits > 32) throw new RangeError(`groups of ${groupBits} bits`);
  return {
    ...codes,
    directory: new Uint16Array(buffer, header[DOMAIN.DIRECTORY_AT]!, header[DOMAIN.ROWS]! * ROW_WORDS),
    buckets: new Uint16Array(buffer, header[DOMAIN.BUCKETS_AT]!),
    key0: header[HEADER.KEY0]!,
    key1: header[HEADER.KEY1]!,
    groupBits,
  };
}
