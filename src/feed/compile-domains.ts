/**
 * Writes the domain half of the compiled feeds (layout: index.ts). Every suffix of two or more labels of every name is
 * hashed; the hashes are sorted, equal ones merged (suffix-records.ts), and slots filled in that order. The same lists and
 * seed give the same bytes.
 */
import { TidesmanError } from "../errors.ts";
import {
  BUCKET_SLOTS,
  BUCKET_WORDS,
  DOMAIN,
  DOMAIN_MAGIC,
  HEADER,
  HEADER_BYTES,
  homeBucket,
  LONG_NAME,
  LONG_SIZE_BITS,
  MARKER_HASH,
  NAME_HASH,
  NAME_SLOT,
  OVERFLOW,
  SIZE_SHIFT,
  SLOTS_AT,
  seal,
  VERSION,
} from "./format.ts";
import { GroupTable } from "./groups.ts";
import { Growing } from "./growing.ts";
import { DOT, LF } from "./list/lines.ts";
import {
  BitWriter,
  CONTEXTS,
  type CodeSets,
  codeTables,
  learnCodes,
  NameCoder,
  SYMBOLS,
} from "./name-code.ts";
import {
  groupOf,
  highOf,
  MARKER,
  placeOf,
  RECORD_WORDS,
  REPEATED,
  type SuffixRecords,
  sizeOf,
  suffixRecords,
} from "./suffix-records.ts";

/** Slots filled on average: the fewer, the shorter the probes; the more, the smaller the table. */
const LOAD = 0.85;
/** Names that the codes are learned from, about, and the bytes of a usual name. */
const SAMPLE = 0x60000;
const USUAL_NAME = 21;

/** `lists`: for each feed its names (`ParsedList.entries`); empty for feeds of addresses. Throws TM_FEED for too many. */
export function compileDomains(
  lists: readonly Uint8Array[],
  key: readonly [number, number],
): SharedArrayBuffer {
  const codes = learnCodes(sampleOf(lists));
  const groups = new GroupTable();
  const records = suffixRecords(lists, key, new NameCoder(codeTables(codes)), groups);
  return write(records, codes, groups, lists.length, key);
}

/** The names behind every so many-th byte of the lists, each with its line feed. */
function sampleOf(lists: readonly Uint8Array[]): Uint8Array {
  const bytes = lists.reduce((sum, list) => sum + list.length, 0);
  const step = Math.max(1, Math.floor(bytes / (SAMPLE * USUAL_NAME))) * USUAL_NAME;
  const sample = new Growing(1024 + Math.ceil((bytes * USUAL_NAME) / step));
  for (const list of lists) {
    for (let from = 0; from < list.length; ) {
      const start = list[from] === DOT ? from + 1 : from;
      const end = list.indexOf(LF, start) + 1;
      sample.append(list.subarray(start, end));
      const next = list.indexOf(LF, Math.max(from + step, end) - 1) + 1;
      from = next === 0 ? list.length : next;
    }
  }
  return sample.bytes.subarray(0, sample.length);
}

function write(
  records: SuffixRecords,
  codes: CodeSets,
  groups: GroupTable,
  feeds: number,
  key: readonly [number, number],
): SharedArrayBuffer {
  const homes = Math.max(1, Math.ceil((records.names + records.markers) / (BUCKET_SLOTS * LOAD)));
  const groupBits = groups.size <= 1 ? 0 : 32 - Math.clz32(groups.size - 1);
  const { buckets, longestProbe, words } = writeSlots(records, homes, groupBits);

  const groupWords = groups.words();
  const bucketsAt = HEADER_BYTES;
  const groupsAt = bucketsAt + buckets.byteLength;
  const setsAt = groupsAt + groupWords.byteLength;
  const lengthsAt = setsAt + codes.contexts.byteLength;
  // Whole words: CONTEXTS is even, SYMBOLS a multiple of four.
  const namesAt = lengthsAt + codes.lengths.length;
  const buffer = new SharedArrayBuffer(namesAt + words.byteLength);
  const header = new Uint32Array(buffer, 0, HEADER_BYTES / 4);
  header[HEADER.MAGIC] = DOMAIN_MAGIC;
  header[HEADER.VERSION] = VERSION;
  header[HEADER.BYTES] = buffer.byteLength;
  header[HEADER.KEY0] = key[0];
  header[HEADER.KEY1] = key[1];
  header[HEADER.FEEDS] = feeds;
  header[HEADER.GROUPS] = groups.size;
  header[HEADER.GROUPS_AT] = groupsAt;
  header[DOMAIN.NAMES] = records.names;
  header[DOMAIN.MARKERS] = records.markers;
  header[DOMAIN.HOME_BUCKETS] = homes;
  header[DOMAIN.BUCKETS] = buckets.length / BUCKET_WORDS;
  header[DOMAIN.LONGEST_PROBE] = longestProbe;
  header[DOMAIN.BUCKETS_AT] = bucketsAt;
  header[DOMAIN.CODE_SETS] = codes.lengths.length / SYMBOLS;
  header[DOMAIN.CODE_SETS_AT] = setsAt;
  header[DOMAIN.NAMES_AT] = namesAt;
  header[DOMAIN.GROUP_BITS] = groupBits;
  new Uint16Array(buffer, bucketsAt, buckets.length).set(buckets);
  new Uint32Array(buffer, groupsAt, groupWords.length).set(groupWords);
  new Uint16Array(buffer, setsAt, CONTEXTS).set(codes.contexts);
  new Uint8Array(buffer, lengthsAt, codes.lengths.length).set(codes.lengths);
  new Uint32Array(buffer, namesAt, words.length).set(words);
  seal(buffer);
  return buffer;
}

interface Written {
  readonly buckets: Uint16Array;
  readonly longestProbe: number;
  /** The names in the order of their slots. */
  readonly words: Uint32Array;
}

/** Gives every record a slot in its home bucket, or where that is full in the next one with room. */
function writeSlots({ words, keys, parts, names }: SuffixRecords, homes: number, groupBits: number): Written {
  const buckets = new GrowingBuckets(homes);
  const bits = new BitWriter();
  let longestProbe = 1;
  let bucket = 0;
  let used = 0;
  for (let part = 0; part + 1 < parts.length; part++) {
    for (let index = parts[part]!; index < parts[part + 1]!; index++) {
      const place = placeOf(keys[index]!);
      const head = words[place + 1]!;
      if (head === REPEATED) continue;
      const home = homeBucket(highOf(part, keys[index]!), homes);
      if (home > bucket || used === BUCKET_SLOTS) {
        const next = Math.max(home, bucket + 1);
        buckets.open(bucket + 1, next, bits.units);
        bucket = next;
        used = 0;
      }
      const low = words[place]!;
      let slot = low & MARKER_HASH;
      if (head !== MARKER) {
        let size = Math.ceil((groupBits + sizeOf(head)) / 2);
        if (size >= LONG_NAME) {
          bits.add(size + LONG_SIZE_BITS / 2, LONG_SIZE_BITS);
          size = LONG_NAME;
        }
        slot = NAME_SLOT | (low & NAME_HASH) | (size << SIZE_SHIFT);
        bits.add(groupOf(head), groupBits);
        bits.addCode(words, place + RECORD_WORDS, sizeOf(head));
      }
      buckets.words[bucket * BUCKET_WORDS + SLOTS_AT + used++] = slot;
      buckets.words[bucket * BUCKET_WORDS + 2]!++;
      for (let passed = home; passed < bucket; passed++)
        buckets.words[passed * BUCKET_WORDS + 2]! |= OVERFLOW;
      longestProbe = Math.max(longestProbe, bucket - home + 1);
    }
  }
  if (bits.units > 0xffffffff) {
    throw new TidesmanError("TM_FEED", `${names} names are more than a domain set can hold`);
  }
  const all = buckets.words.subarray(0, Math.max(homes, bucket + 1) * BUCKET_WORDS);
  return { buckets: all, longestProbe, words: bits.words() };
}

/** As many buckets as there are homes, and those behind the last that it takes. */
class GrowingBuckets {
  words: Uint16Array;

  constructor(homes: number) {
    this.words = new Uint16Array((homes + 16) * BUCKET_WORDS);
  }

  /** Notes in the buckets from `first` to `last` where their names begin. */
  open(first: number, last: number, units: number): void {
    while ((last + 1) * BUCKET_WORDS > this.words.length) {
      const grown = new Uint16Array(this.words.length * 2);
      grown.set(this.words);
      this.words = grown;
    }
    for (let bucket = first; bucket <= last; bucket++) {
      this.words[bucket * BUCKET_WORDS] = units & 0xffff;
      this.words[bucket * BUCKET_WORDS + 1] = units / 0x10000;
    }
  }
}
