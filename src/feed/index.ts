/**
 * Compiled feeds: two flat buffers that every thread reads in place, as does the addon. compile.ts writes them.
 *
 * All numbers are unsigned and little-endian, as the machines are that the runtime is pinned for: what is written in words
 * of 32 bits is read in words of 16. `u32[n]` is a word of the header, which has 128 bytes; words not named are 0. Offsets
 * are bytes from the beginning of the buffer.
 *
 *     both       u32[0]  magic, "TMDS" (domains) or "TMAS" (addresses) when read as bytes
 *                u32[1]  version of the layout; a reader refuses any but its own
 *                u32[2]  bytes in all
 *                u32[3]  CRC-32 of everything from u32[4] on
 *                u32[4]  and u32[5]: seed of the hash
 *                u32[6]  feeds
 *                u32[7]  groups; u32[8] offset of their table
 *     domains    u32[9]  distinct names; u32[10] interior markers
 *                u32[11] rows of the directory of buckets; u32[12] its offset
 *                u32[13] sets of codes; u32[14] offset of the contexts and sets
 *                u32[15] offset of the buckets, which reach to the end; u32[16] bits of a group's number there
 *     addresses  u32[9]  IPv4 prefixes; u32[10] offset of their rows; u32[11] and u32[12]: the same for IPv6
 *
 * **Groups.** An entry belongs to a group: the set of feeds that list it. The table has, in words, where the members of
 * each group begin, counted in members, and where the last ones end; then the members: the number of a feed × 2, plus 1
 * where that feed lists the name with everything below it.
 *
 * **Buckets.** A hash table whose buckets are as long as what they hold: one after the other in 16-bit words, in the order of
 * the hashes. A directory tells where each begins, in rows of 32 bytes: a word for the first bucket of the row, then 16 bits
 * for each of 14, counted from there. A bucket has the number of its slots, the slots, then the names of those that are
 * names, in the same order, so that a slot needs no pointer, and what a look-up reads of it lies in one or two lines of a
 * cache; the directory is small enough to stay in one. The slot of a name: 8 bits of hash, the name's size in 7 bits, 0x8000; a size of 127 says
 * that the true one stands in 12 bits before the name, itself included. That of an interior marker, no name, but some name
 * ends in it: 15 bits of hash. Every suffix of two or more labels of every name has a slot, so that a walk from the right
 * ends at the first suffix without one: for nearly every lookup the registrable domain. The bits of hash only choose what
 * is worth comparing: a hit is what the stored name confirms, to the last bit.
 *
 * **Names.** Bits of 32-bit words counted from the beginning of the buckets, the lowest first, one name after the other: the
 * group's number (as many bits as the greatest needs, none when there is one group at most), then the name in Huffman codes,
 * its end included (name-code.ts), then a zero where that makes the number of bits even: sizes are in units of two bits. A
 * zero word ends all. The codes are told by their lengths: in 16-bit words the number of the set for each context, then a
 * byte for each symbol of each set.
 *
 * **Prefixes.** Rows in the order of address and length: the address in 1 or 4 words, most significant first; the number
 * of the row of the next longer prefix around it (0xffffffff: none); the group, with the length in the upper 8 bits. All
 * that contain an address are among the last row that does not sort behind it, and the rows around that one.
 */
import type { FeedIndex } from "../policy/types.ts";
import { codesOf, DomainSet } from "./domain-set.ts";
import { PrefixSet } from "./prefix-set.ts";
import type { CompiledFeeds } from "./types.ts";

export interface OpenOptions {
  /**
   * Skip the checksum, which reads every byte: for buffers that another thread of this process has just compiled or
   * opened. Everything else about them is checked all the same.
   */
  readonly trusted?: boolean;
  /** Walk in TypeScript even where the addon was built. */
  readonly portable?: boolean;
}

/**
 * The decision's view of compiled feeds, on any thread; nothing is copied, and look-ups reuse one scratch buffer, so that
 * every thread opens its own. Throws TM_FEED when a buffer is truncated, corrupt or of another version.
 */
export function openFeeds(
  compiled: CompiledFeeds,
  { trusted = false, portable = false }: OpenOptions = {},
): FeedIndex {
  const { codes } = compiled;
  const domains = new DomainSet(compiled.domains, compiled.sources, { trusted, codes, portable });
  const prefixes = new PrefixSet(compiled.addresses, compiled.sources, trusted);
  return {
    domain: (bytes, offset) => domains.find(bytes, offset),
    address: (bytes, offset, length) => prefixes.find(bytes, offset, length),
  };
}

/** The same with what every thread would make from it when it opens it: then that takes no time. Throws TM_FEED. */
export function preparedFeeds(compiled: CompiledFeeds): CompiledFeeds {
  return { ...compiled, codes: codesOf(compiled.domains) };
}
