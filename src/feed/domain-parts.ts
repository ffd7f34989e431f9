/**
 * What the domain half of the compiled feeds is put together from. Every suffix of two or more labels of every name is
 * hashed; the hashes are sorted, equal ones merged (suffix-records.ts), and slots filled in that order. The addon does the
 * same several times as fast, to the byte; this is what is used where it was not built, and what it is tested against.
 */
import type { DomainParts } from "../native/domain-build.ts";
import {
  directoryWord,
  LONG_NAME,
  LONG_SIZE_BITS,
  MARKER_HASH,
  MOST_SLOTS,
  NAME_HASH,
  NAME_SLOT,
  nextDirectoryWord,
  ROW_BUCKETS,
  ROW_WORDS,
  SIZE_SHIFT,
} from "./format.ts";
import { GroupTable } from "./groups.ts";
import { Growing } from "./growing.ts";
import { DOT, LF } from "./list/lines.ts";
import { BitWriter, codeTables, learnCodes, NameCoder } from "./name-code.ts";
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
  tooMany,
} from "./suffix-records.ts";

/** Slots of a bucket on average: the fewer, the sooner one is read; the more, the smaller the directory. */
const SLOTS = 10;
/** Names that the codes are learned from, about, and the bytes of a usual name. */
const SAMPLE = 0x60000;
const USUAL_NAME = 21;

/** `lists`, `key`: see compileDomains. Throws TM_FEED for too many, TM_INTERNAL for what is no name in stored form. */
export function makeDomainParts(lists: readonly Uint8Array[], key: readonly [number, number]): DomainParts {
  const codes = learnCodes(sampleOf(lists));
  const groups = new GroupTable();
  const records = suffixRecords(lists, key, new NameCoder(codeTables(codes)), groups);
  const { names, markers } = records;
  const rows = Math.max(1, Math.ceil((names + markers) / (SLOTS * ROW_BUCKETS)));
  const groupBits = groups.size <= 1 ? 0 : 32 - Math.clz32(groups.size - 1);
  const { directory, buckets } = writeBuckets(records, rows, groupBits);
  return {
    names,
    markers,
    groups: groups.size,
    groupBits,
    groupWords: groups.words(),
    ...codes,
    directory,
    buckets,
  };
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

function writeBuckets(
  { words, keys, parts }: SuffixRecords,
  rows: number,
  groupBits: number,
): Pick<DomainParts, "directory" | "buckets"> {
  const directory = new Uint16Array(rows * ROW_WORDS);
  const rowStarts = new Uint32Array(directory.buffer);
  const bits = new BitWriter();
  /** Where the records of the bucket that is open stand. */
  const places: number[] = [];
  let open = directoryWord(0, rows);
  const close = (): void => {
    const begin = bits.align();
    const row = (open >>> 4) << 3;
    if (row * 2 + ROW_WORDS - ROW_BUCKETS === open) rowStarts[row] = begin;
    const behind = begin - rowStarts[row]!;
    if (begin > 0xffffffff || behind > 0xffff || places.length > MOST_SLOTS) {
      throw tooMany();
    }
    directory[open] = behind;
    bits.add(places.length, 16);
    for (const place of places) bits.add(slotOf(words[place]!, words[place + 1]!, groupBits), 16);
    for (const place of places) {
      const head = words[place + 1]!;
      if (head === MARKER) continue;
      const size = sizeOf(head);
      const units = unitsOf(size, groupBits);
      if (units >= LONG_NAME) bits.add(units + LONG_SIZE_BITS / 2, LONG_SIZE_BITS);
      bits.add(groupOf(head), groupBits);
      bits.addCode(words, place + RECORD_WORDS, size);
    }
    places.length = 0;
    open = nextDirectoryWord(open);
  };
  for (let part = 0; part + 1 < parts.length; part++) {
    for (let index = parts[part]!; index < parts[part + 1]!; index++) {
      const place = placeOf(keys[index]!);
      if (words[place + 1] === REPEATED) continue;
      const bucket = directoryWord(highOf(part, keys[index]!), rows);
      while (open < bucket) close();
      places.push(place);
    }
  }
  while (open < directory.length) close();
  return { directory, buckets: bits.words() };
}

function slotOf(low: number, head: number, groupBits: number): number {
  if (head === MARKER) return low & MARKER_HASH;
  const size = Math.min(unitsOf(sizeOf(head), groupBits), LONG_NAME);
  return NAME_SLOT | (low & NAME_HASH) | (size << SIZE_SHIFT);
}

/** The size of a name with its group, in units of two bits. */
function unitsOf(size: number, groupBits: number): number {
  return (groupBits + size + 1) >>> 1;
}
