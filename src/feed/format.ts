/** Numbers of the compiled layout that index.ts describes, and the header that both buffers share. */
import { crc32 } from "node:zlib";
import { TidesmanError } from "../errors.ts";

export const VERSION = 3;
/** "TMDS" and "TMAS" as a word in the byte order of this machine: a buffer of the other order is not recognised. */
export const DOMAIN_MAGIC = wordOf("TMDS");
export const ADDRESS_MAGIC = wordOf("TMAS");
export const HEADER_BYTES = 128;

/** Words of the header. */
export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  BYTES: 2,
  CHECKSUM: 3,
  KEY0: 4,
  KEY1: 5,
  FEEDS: 6,
  GROUPS: 7,
  GROUPS_AT: 8,
} as const;

/** Words of the header of a domain set. */
export const DOMAIN = {
  NAMES: 9,
  MARKERS: 10,
  ROWS: 11,
  DIRECTORY_AT: 12,
  CODE_SETS: 13,
  CODE_SETS_AT: 14,
  BUCKETS_AT: 15,
  GROUP_BITS: 16,
} as const;

/** Words of the header of an address set. */
export const ADDRESS = { IPV4: 9, IPV4_AT: 10, IPV6: 11, IPV6_AT: 12 } as const;

/** Slots that a bucket may have. */
export const MOST_SLOTS = 0xffff;
/** In a slot: a name, not only a marker. */
export const NAME_SLOT = 0x8000;
/** Bits of the hash in the slot of a marker, and in that of a name. */
export const MARKER_HASH = 0x7fff;
export const NAME_HASH = 0xff;
/** Where the size of a name stands in its slot, and the size of a name whose true one stands before it. */
export const SIZE_SHIFT = 8;
export const LONG_NAME = 127;
/** Bits of a true size. */
export const LONG_SIZE_BITS = 12;

/** Words of a prefix row. */
export const IPV4_ROW = 3;
export const IPV6_ROW = 6;
export const NO_PARENT = 0xffffffff;

/** A row of the directory of buckets: in 16-bit words, two for where its first bucket begins, one for each bucket. */
export const ROW_WORDS = 16;
const ROW_HEAD = 2;
export const ROW_BUCKETS = ROW_WORDS - ROW_HEAD;

/** The word of the directory, of `rows` rows, that belongs to hashes with the upper half `high`; grows with that. */
export function directoryWord(high: number, rows: number): number {
  const scaled = high * rows;
  const row = Math.floor(scaled / 0x1_0000_0000);
  const bucket = ((scaled - row * 0x1_0000_0000) * ROW_BUCKETS) / 0x1_0000_0000;
  return row * ROW_WORDS + ROW_HEAD + Math.floor(bucket);
}

/** The next word of the directory that belongs to a bucket. */
export function nextDirectoryWord(word: number): number {
  return (word + 1) % ROW_WORDS === 0 ? word + 1 + ROW_HEAD : word + 1;
}

/** Writes the checksum; the last thing done to a new buffer. */
export function seal(buffer: SharedArrayBuffer): void {
  new Uint32Array(buffer, 0, 4)[HEADER.CHECKSUM] = checksum(buffer);
}

/**
 * The header's words, once magic, version, size and (unless `trusted`, which another thread of this process earned by
 * checking) the checksum are found right. Throws TM_FEED. `noun`: what the buffer should be.
 */
export function openHeader(
  buffer: SharedArrayBuffer,
  magic: number,
  noun: string,
  trusted: boolean,
): Uint32Array {
  const refuse = (why: string): never => {
    throw new TidesmanError("TM_FEED", `the compiled ${noun} is ${why}; compile the feeds again`);
  };
  if (buffer.byteLength < HEADER_BYTES) return refuse(`truncated to ${buffer.byteLength} bytes`);
  const header = new Uint32Array(buffer, 0, HEADER_BYTES / 4);
  if (header[HEADER.MAGIC] !== magic) return refuse("of another kind or byte order");
  const version = header[HEADER.VERSION]!;
  if (version !== VERSION) return refuse(`of layout version ${version}, where ${VERSION} is understood`);
  if (header[HEADER.BYTES] !== buffer.byteLength) {
    return refuse(`${buffer.byteLength} bytes long instead of ${header[HEADER.BYTES]}`);
  }
  if (!trusted && !isWhole(buffer)) return refuse("corrupt (its checksum is wrong)");
  return header;
}

/** Whether the checksum of a buffer with a header is right; `pause` is called after every so many bytes. */
export function isWhole(buffer: SharedArrayBuffer, pause: () => void = () => undefined): boolean {
  if (buffer.byteLength < HEADER_BYTES) return false;
  return new Uint32Array(buffer, 0, 4)[HEADER.CHECKSUM] === checksum(buffer, pause);
}

/** Bytes between two pauses of whoever reads compiled feeds: about a quarter of a millisecond's work. */
export const STEP = 0x40000;

function checksum(buffer: SharedArrayBuffer, pause: () => void = () => undefined): number {
  let sum = 0;
  for (let at = HEADER.KEY0 * 4; at < buffer.byteLength; at += STEP) {
    sum = crc32(new Uint8Array(buffer, at, Math.min(STEP, buffer.byteLength - at)), sum);
    pause();
  }
  return sum;
}

function wordOf(text: string): number {
  return new Uint32Array(new TextEncoder().encode(text).buffer)[0]!;
}
