/** The address half of the compiled feeds: reads the prefix rows that index.ts describes. */
import { formatAddress, isMapped } from "../address.ts";
import type { FeedHit } from "../policy/types.ts";
import { ADDRESS, ADDRESS_MAGIC, IPV4_ROW, IPV6_ROW, NO_PARENT, openHeader } from "./format.ts";
import { Groups } from "./groups.ts";
import { Growing } from "./growing.ts";
import { ADDRESS_ROW } from "./parse.ts";
import type { FeedSource } from "./types.ts";

const NONE: readonly FeedHit[] = Object.freeze([]);

export class PrefixSet {
  readonly #groups: Groups;
  readonly #ipv4: Uint32Array;
  readonly #ipv6: Uint32Array;
  /** The address asked for as words, most significant first; reused by every look-up. */
  readonly #words = new Uint32Array(4);

  /** Throws TM_FEED for a buffer that is not what `format.ts` sealed. */
  constructor(buffer: SharedArrayBuffer, sources: readonly FeedSource[], trusted: boolean) {
    const header = openHeader(buffer, ADDRESS_MAGIC, "address set", trusted);
    this.#groups = new Groups(buffer, header, sources);
    this.#ipv4 = new Uint32Array(buffer, header[ADDRESS.IPV4_AT]!, header[ADDRESS.IPV4]! * IPV4_ROW);
    this.#ipv6 = new Uint32Array(buffer, header[ADDRESS.IPV6_AT]!, header[ADDRESS.IPV6]! * IPV6_ROW);
  }

  /** Distinct prefixes held. */
  get size(): number {
    return this.#ipv4.length / IPV4_ROW + this.#ipv6.length / IPV6_ROW;
  }

  /**
   * Every entry that contains the address of 4 or 16 bytes at `bytes[offset]`, the longest first; an IPv4-mapped IPv6
   * address counts as the IPv4 address. The shared empty array, and nothing allocated, when there is none.
   */
  find(bytes: Uint8Array, offset: number, length: 4 | 16): readonly FeedHit[] {
    if (length === 16 && isMapped(bytes, offset)) return this.#find(this.#ipv4, 1, bytes, offset + 12);
    return length === 4 ? this.#find(this.#ipv4, 1, bytes, offset) : this.#find(this.#ipv6, 4, bytes, offset);
  }

  #find(rows: Uint32Array, width: 1 | 4, bytes: Uint8Array, offset: number): readonly FeedHit[] {
    const words = this.#words;
    for (let word = 0; word < width; word++) {
      const at = offset + word * 4;
      words[word] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    }
    const stride = width + 2;
    let low = 0;
    for (let high = rows.length / stride; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#isAfter(rows, middle * stride, width)) high = middle;
      else low = middle + 1;
    }
    let hits: FeedHit[] | null = null;
    for (let row = low === 0 ? NO_PARENT : low - 1; row !== NO_PARENT; ) {
      const at = row * stride;
      const meta = rows[at + width + 1]!;
      if (this.#contains(rows, at, meta >>> 24)) {
        hits ??= [];
        this.#groups.addAddressHits(hits, meta & 0xffffff, entryText(rows, at, width, meta >>> 24));
      }
      row = rows[at + width]!;
    }
    return hits ?? NONE;
  }

  /** Whether the row's address is greater than the one asked for. */
  #isAfter(rows: Uint32Array, at: number, width: number): boolean {
    for (let word = 0; word < width; word++) {
      const difference = rows[at + word]! - this.#words[word]!;
      if (difference !== 0) return difference > 0;
    }
    return false;
  }

  #contains(rows: Uint32Array, at: number, length: number): boolean {
    let word = 0;
    for (let left = length; left > 0; left -= 32, word++) {
      const difference = rows[at + word]! ^ this.#words[word]!;
      if (left >= 32 ? difference !== 0 : difference >>> (32 - left) !== 0) return false;
    }
    return true;
  }

  /** The prefixes that one feed lists, as `ParsedList.entries`: for a feed that could not be read again. */
  entriesOf(feed: number): { entries: Uint8Array; count: number } {
    const out = new Growing(4096);
    let count = 0;
    for (const [rows, width] of [[this.#ipv4, 1] as const, [this.#ipv6, 4] as const]) {
      for (let at = 0; at < rows.length; at += width + 2) {
        const meta = rows[at + width + 1]!;
        if (!this.#groups.members(meta & 0xffffff).some((member) => member >>> 1 === feed)) continue;
        count++;
        const row = new Uint8Array(ADDRESS_ROW);
        row[0] = width === 1 ? 4 : 6;
        row[1] = meta >>> 24;
        row.set(addressBytes(rows, at, width), 2);
        out.append(row);
      }
    }
    return { entries: out.content(), count };
  }
}

function addressBytes(rows: Uint32Array, at: number, width: number): Uint8Array {
  const bytes = new Uint8Array(width * 4);
  const view = new DataView(bytes.buffer);
  for (let word = 0; word < width; word++) view.setUint32(word * 4, rows[at + word]!);
  return bytes;
}

/** `203.0.113.0/24`, or the bare address where all bits count. */
function entryText(rows: Uint32Array, at: number, width: number, length: number): string {
  const address = formatAddress(addressBytes(rows, at, width));
  return length === width * 32 ? address : `${address}/${length}`;
}
