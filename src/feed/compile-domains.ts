/**
 * Writes the domain half of the compiled feeds (layout: index.ts). Every suffix of two or more labels of every name is
 * hashed; the hashes are sorted, equal ones merged (suffix-records.ts), and slots filled in that order. The same lists and
 * seed give the same bytes.
 */
import { TidesmanError } from "../errors.ts";
import {
  DOMAIN,
  DOMAIN_MAGIC,
  directoryWord,
  HEADER,
  HEADER_BYTES,
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

/** Slots of a bucket on average: the fewer, the sooner one is read; the more, the smaller the directory. */
const SLOTS = 10;
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
  const rows = Math.max(1, Math.ceil((records.names + records.markers) / (SLOTS * ROW_BUCKETS)));
  const groupBits = groups.size <= 1 ? 0 : 32 - Math.clz32(groups.size - 1);
  const { directory, words } = writeBuckets(records, rows, groupBits);

  const groupWords = groups.words();
  const directoryAt = HEADER_BYTES;
  const groupsAt = directoryAt + directory.byteLength;
  const setsAt = groupsAt + groupWords.byteLength;
  const lengthsAt = setsAt + codes.contexts.byteLength;
  // Whole words: CONTEXTS is even, SYMBOLS a multiple of four.
  const bucketsAt = lengthsAt + codes.lengths.length;
  const buffer = new SharedArrayBuffer(bucketsAt + words.byteLength);
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
  header[DOMAIN.ROWS] = rows;
  header[DOMAIN.DIRECTORY_AT] = directoryAt;
  header[DOMAIN.CODE_SETS] = codes.lengths.length / SYMBOLS;
  header[DOMAIN.CODE_SETS_AT] = setsAt;
  header[DOMAIN.BUCKETS_AT] = bucketsAt;
  header[DOMAIN.GROUP_BITS] = groupBits;
  new Uint16Array(buffer, directoryAt, directory.length).set(directory);
  new Uint32Array(buffer, groupsAt, groupWords.length).set(groupWords);
  new Uint16Array(buffer, setsAt, CONTEXTS).set(codes.contexts);
  new Uint8Array(buffer, lengthsAt, codes.lengths.length).set(codes.lengths);
  new Uint32Array(buffer, bucketsAt, words.length).set(words);
  seal(buffer);
  return buffer;
}

interface Written {
  readonly directory: Uint16Array;
  readonly words: Uint32Array;
}

function writeBuckets(
  { words, keys, parts, names }: SuffixRecords,
  rows: number,
  groupBits: number,
): Written {
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
      throw new TidesmanError("TM_FEED", `${names} names are more than a domain set can hold`);
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
  return { directory, words: bits.words() };
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
