/**
 * Writes the domain half of the compiled feeds (layout: index.ts). Every suffix of two or more labels of every name is
 * hashed; the hashes are sorted, equal ones merged, and slots filled in that order. The same lists and seed give the same
 * bytes.
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
import { SuffixHash } from "./hash.ts";
import { BitWriter, CONTEXTS, type CodeSets, learnCodes, NameCoder, SYMBOLS } from "./name-code.ts";

/** Slots filled on average: the fewer, the shorter the probes; the more, the smaller the table. */
const LOAD = 0.9;
/** Names that the codes are learned from. */
const SAMPLE = 0x40000;
const MARKER = 0xffffffff;

/** `lists`: for each feed its names (`ParsedList.entries`); empty for feeds of addresses. */
export function compileDomains(
  lists: readonly Uint8Array[],
  key: readonly [number, number],
): SharedArrayBuffer {
  const names = gather(lists);
  const records = hashSuffixes(names, key);
  const groups = new GroupTable();
  const slots = mergeEqual(records, sortByHash(records), names, groups);
  return write(slots, names, groups, lists.length, key);
}

/** All names of all feeds. */
interface Names {
  /** Each name ended by a line feed, with the dot before it where it stands for everything below. */
  readonly text: Uint8Array;
  readonly count: number;
  /** Dots in the text: no fewer than suffixes of two or more labels. */
  readonly dots: number;
  /** Where each name begins (behind the dot), and its member word (see groups.ts). */
  readonly starts: Uint32Array;
  readonly members: Uint32Array;
}

function gather(lists: readonly Uint8Array[]): Names {
  const text = Buffer.concat(lists);
  let count = 0;
  let dots = 0;
  for (let place = 0; place < text.length; place++) {
    if (text[place] === 10) count++;
    else if (text[place] === 46) dots++;
  }
  const starts = new Uint32Array(count);
  const members = new Uint32Array(count);
  let number = 0;
  let at = 0;
  let end = 0;
  for (const [feed, list] of lists.entries()) {
    end += list.length;
    while (at < end) {
      const below = text[at] === 46;
      starts[number] = below ? at + 1 : at;
      members[number++] = feed * 2 + (below ? 1 : 0);
      at = text.indexOf(10, at) + 1;
    }
  }
  return { text, count, dots, starts, members };
}

/** One for each suffix: its hash, and the number of the name that it is, or MARKER. */
interface Records {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly names: Uint32Array;
  readonly count: number;
}

function hashSuffixes({ text, count, dots, starts }: Names, key: readonly [number, number]): Records {
  const hash = new SuffixHash(key[0], key[1]);
  const ends = new Int32Array(128);
  const high = new Uint32Array(dots);
  const low = new Uint32Array(dots);
  const names = new Uint32Array(dots);
  let record = 0;
  for (let name = 0; name < count; name++) {
    const start = starts[name]!;
    let labels = 0;
    let end = start;
    for (; text[end] !== 10; end++) if (text[end] === 46) ends[labels++] = end;
    hash.start();
    hash.label(text, ends[labels - 1]! + 1, end);
    for (let label = labels - 1; label >= 0; label--) {
      hash.label(text, label === 0 ? start : ends[label - 1]! + 1, ends[label]!);
      hash.finish();
      high[record] = hash.high;
      low[record] = hash.low;
      names[record++] = label === 0 ? name : MARKER;
    }
  }
  return { high, low, names, count: record };
}

/** The records in order of `high`, `low` and number: two passes of a radix sort by `high`, then its few runs by the rest. */
function sortByHash({ high, low, count }: Records): Uint32Array {
  let order = new Uint32Array(count);
  for (let index = 0; index < count; index++) order[index] = index;
  for (const shift of [0, 16]) {
    const starts = new Uint32Array(0x10001);
    for (let index = 0; index < count; index++) starts[((high[index]! >>> shift) & 0xffff) + 1]!++;
    for (let digit = 0; digit < 0x10000; digit++) starts[digit + 1]! += starts[digit]!;
    const next = new Uint32Array(count);
    for (let index = 0; index < count; index++) {
      const record = order[index]!;
      next[starts[(high[record]! >>> shift) & 0xffff]!++] = record;
    }
    order = next;
  }
  for (let from = 0; from < count; ) {
    const first = order[from]!;
    let differ = false;
    let to = from + 1;
    for (; to < count && high[order[to]!] === high[first]; to++) differ ||= low[order[to]!] !== low[first];
    // Nearly always all of them are one suffix.
    if (differ) order.subarray(from, to).sort((a, b) => low[a]! - low[b]! || a - b);
    from = to;
  }
  return order;
}

/** What the table holds, in its order: one slot for each marker and each distinct name. */
interface Slots {
  readonly high: Uint32Array;
  /** As in a bucket, but for the sizes of names. */
  readonly words: Uint16Array;
  /** For names: number of one name of that text, and its group. */
  readonly names: Uint32Array;
  readonly groups: Uint32Array;
  readonly count: number;
  readonly distinct: number;
}

/** One slot for all records of one hash: a name with every feed that lists it, or a marker. */
function mergeEqual(records: Records, order: Uint32Array, names: Names, groups: GroupTable): Slots {
  const { count, high, low } = records;
  const slots = {
    high: new Uint32Array(count),
    words: new Uint16Array(count),
    names: new Uint32Array(count),
    groups: new Uint32Array(count),
  };
  let slot = 0;
  let distinct = 0;
  const add = (record: number, name: number, group: number): void => {
    slots.high[slot] = high[record]!;
    slots.words[slot] = name === MARKER ? low[record]! & MARKER_HASH : NAME_SLOT | (low[record]! & NAME_HASH);
    slots.names[slot] = name;
    slots.groups[slot++] = group;
    if (name !== MARKER) distinct++;
  };
  for (let from = 0; from < count; ) {
    const first = order[from]!;
    let to = from + 1;
    while (to < count && high[order[to]!] === high[first] && low[order[to]!] === low[first]) to++;
    if (to - from === 1) {
      const name = records.names[first]!;
      add(first, name, name === MARKER ? 0 : groups.numberOfOne(names.members[name]!));
      from = to;
      continue;
    }
    let same: number[] = [];
    for (let index = from; index < to; index++) {
      const name = records.names[order[index]!]!;
      if (name !== MARKER) same.push(name);
    }
    if (same.length === 0) add(first, MARKER, 0);
    while (same.length > 0) {
      // One round, unless two names share 64 bits of hash.
      const name = same[0]!;
      const equal = same.filter((other) => sameText(names, other, name));
      add(first, name, groups.number(equal.map((other) => names.members[other]!)));
      same = equal.length === same.length ? [] : same.filter((other) => !equal.includes(other));
    }
    from = to;
  }
  return { ...slots, count: slot, distinct };
}

function sameText({ text, starts }: Names, a: number, b: number): boolean {
  let left = starts[a]!;
  for (let right = starts[b]!; text[left] === text[right]; left++, right++)
    if (text[left] === 10) return true;
  return false;
}

function write(
  slots: Slots,
  names: Names,
  groups: GroupTable,
  feeds: number,
  key: readonly [number, number],
): SharedArrayBuffer {
  const homes = Math.max(1, Math.ceil(slots.count / (BUCKET_SLOTS * LOAD)));
  const placed = placeSlots(slots, homes);
  const codes = learnCodes(sampleOf(names));
  const groupBits = groups.size <= 1 ? 0 : 32 - Math.clz32(groups.size - 1);
  const { buckets, words } = writeNames(slots, placed, names, codes, groupBits);

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
  header[DOMAIN.NAMES] = slots.distinct;
  header[DOMAIN.MARKERS] = slots.count - slots.distinct;
  header[DOMAIN.HOME_BUCKETS] = homes;
  header[DOMAIN.BUCKETS] = buckets.length / BUCKET_WORDS;
  header[DOMAIN.LONGEST_PROBE] = placed.longestProbe;
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

interface Placed {
  /** For every slot the number of its bucket. */
  readonly bucketOf: Uint32Array;
  readonly homes: number;
  readonly buckets: number;
  readonly longestProbe: number;
}

/** Gives every slot its home bucket, or where that is full the next one with room. */
function placeSlots(slots: Slots, homes: number): Placed {
  const bucketOf = new Uint32Array(slots.count);
  let bucket = 0;
  let used = 0;
  let longestProbe = 1;
  for (let slot = 0; slot < slots.count; slot++) {
    const home = homeBucket(slots.high[slot]!, homes);
    if (home > bucket || used === BUCKET_SLOTS) {
      bucket = Math.max(home, bucket + 1);
      used = 0;
    }
    bucketOf[slot] = bucket;
    used++;
    longestProbe = Math.max(longestProbe, bucket - home + 1);
  }
  return { bucketOf, homes, buckets: Math.max(homes, bucket + 1), longestProbe };
}

/** The buckets, and the names in their order. */
function writeNames(
  slots: Slots,
  placed: Placed,
  names: Names,
  codes: CodeSets,
  groupBits: number,
): { buckets: Uint16Array; words: Uint32Array } {
  const buckets = new Uint16Array(placed.buckets * BUCKET_WORDS);
  const coder = new NameCoder(codes);
  const bits = new BitWriter();
  let bucket = -1;
  for (let slot = 0; slot < slots.count; slot++) {
    const into = placed.bucketOf[slot]!;
    while (bucket < into) {
      bucket++;
      buckets[bucket * BUCKET_WORDS] = bits.units & 0xffff;
      buckets[bucket * BUCKET_WORDS + 1] = bits.units / 0x10000;
    }
    const at = into * BUCKET_WORDS;
    let word = slots.words[slot]!;
    const name = slots.names[slot]!;
    if (name !== MARKER) {
      coder.encode(names.text, names.starts[name]!);
      let size = Math.ceil((groupBits + coder.length) / 2);
      if (size >= LONG_NAME) {
        bits.add(size + LONG_SIZE_BITS / 2, LONG_SIZE_BITS);
        size = LONG_NAME;
      }
      word |= size << SIZE_SHIFT;
      bits.add(slots.groups[slot]!, groupBits);
      bits.addName(coder);
    }
    buckets[at + SLOTS_AT + (buckets[at + 2]! & 0xff)] = word;
    buckets[at + 2]!++;
    for (let passed = homeBucket(slots.high[slot]!, placed.homes); passed < into; passed++) {
      buckets[passed * BUCKET_WORDS + 2]! |= OVERFLOW;
    }
  }
  if (bits.units > 0xffffffff) {
    throw new TidesmanError("TM_FEED", `${slots.distinct} names are more than a domain set can hold`);
  }
  return { buckets, words: bits.words() };
}

/** Names spread evenly over all, each with its line feed. */
function sampleOf({ text, starts, count }: Names): Uint8Array {
  const step = Math.max(1, Math.floor(count / SAMPLE));
  const sample = new Growing(Math.ceil(text.length / step) + 256);
  for (let name = 0; name < count; name += step) {
    let at = starts[name]!;
    const end = text.indexOf(10, at) + 1;
    sample.reserve(end - at);
    while (at < end) sample.bytes[sample.length++] = text[at++]!;
  }
  return sample.bytes.subarray(0, sample.length);
}
