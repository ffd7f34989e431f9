/** Numbers of the compiled layout that index.ts describes, and the header that both buffers share. */
import { crc32 } from "node:zlib";
import { TidesmanError } from "../errors.ts";

export const VERSION = 2;
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
  HOME_BUCKETS: 11,
  BUCKETS: 12,
  LONGEST_PROBE: 13,
  BUCKETS_AT: 14,
  CODE_SETS: 15,
  CODE_SETS_AT: 16,
  NAMES_AT: 17,
  GROUP_BITS: 18,
} as const;

/** Words of the header of an address set. */
export const ADDRESS = { IPV4: 9, IPV4_AT: 10, IPV6: 11, IPV6_AT: 12 } as const;

/** A bucket, in 16-bit words. */
export const BUCKET_WORDS = 16;
export const BUCKET_SLOTS = 13;
/** First slot. */
export const SLOTS_AT = 3;
/** In word 2: names of this bucket's hash stand in the next one too. */
export const OVERFLOW = 0x100;
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

/** The first of the feeds' slots for a hash: `high` scaled to `buckets`. */
export function homeBucket(high: number, buckets: number): number {
  return Math.floor((high * buckets) / 0x1_0000_0000);
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
  if (!trusted && header[HEADER.CHECKSUM] !== checksum(buffer))
    return refuse("corrupt (its checksum is wrong)");
  return header;
}

function checksum(buffer: SharedArrayBuffer): number {
  return crc32(new Uint8Array(buffer, HEADER.KEY0 * 4));
}

function wordOf(text: string): number {
  return new Uint32Array(new TextEncoder().encode(text).buffer)[0]!;
}
