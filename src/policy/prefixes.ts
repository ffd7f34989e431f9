/** Longest-prefix match over IPv4 and IPv6: one binary trie per family, its nodes in a typed array. */
import { formatAddress, isMapped, type Prefix, parseAddress, parsePrefix } from "../address.ts";
import type { Address } from "./types.ts";

export interface AddressEntry extends Prefix {
  /** As the operator wrote it. */
  readonly entry: string;
}

/** What a matcher found. One object per entry, frozen, so that it can key caches. */
export interface AddressMatch {
  readonly entry: string;
  readonly match: "address";
}

/**
 * An address or a prefix, or a text that says why it is none. A prefix of the IPv4-mapped range becomes an IPv4 one,
 * since mapped addresses are passed as IPv4.
 */
export function parseAddressEntry(entry: string): AddressEntry | string {
  const prefix = parsePrefix(entry);
  if (prefix === null) {
    if (/-/.test(entry) && parseAddress(entry.split("-")[0] ?? "") !== null) {
      return "is a range; write it as prefixes (`203.0.113.0/24`)";
    }
    if (/^[\d.]+\/\d+$/.test(entry))
      return "is no prefix; four numbers of 0 to 255 and a length of 0 to 32 are allowed";
    return "is no address; an IPv4 or IPv6 address or prefix is allowed (`203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`)";
  }
  if (prefix.bytes.length === 16 && prefix.length >= 96 && isMapped(prefix.bytes)) {
    return { entry, bytes: prefix.bytes.slice(12), length: prefix.length - 96 };
  }
  return { entry, bytes: prefix.bytes, length: prefix.length };
}

/** `10.0.0.0/8`: the form in which two spellings of one prefix are equal. */
export function canonicalPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.bytes)}/${prefix.length}`;
}

/** A node is three numbers: child for bit 0, child for bit 1, entry index + 1. Node 0 is IPv4's root, node 1 IPv6's. */
const STRIDE = 3;
const ENTRY = 2;

/** Immutable set of prefixes; the longest that contains an address answers. */
export class PrefixMatcher {
  readonly #nodes: Int32Array;
  readonly #matches: readonly AddressMatch[];

  constructor(entries: readonly AddressEntry[]) {
    const nodes: number[] = [0, 0, 0, 0, 0, 0];
    this.#matches = entries.map(({ entry }) => Object.freeze({ entry, match: "address" }));
    entries.forEach((prefix, index) => {
      let node = prefix.bytes.length === 4 ? 0 : STRIDE;
      for (let bit = 0; bit < prefix.length; bit++) {
        const side = (prefix.bytes[bit >> 3]! >> (7 - (bit & 7))) & 1;
        let child = nodes[node + side]!;
        if (child === 0) {
          child = nodes.length;
          nodes.push(0, 0, 0);
          nodes[node + side] = child;
        }
        node = child;
      }
      // Of two entries that say the same the first written answers.
      if (nodes[node + ENTRY] === 0) nodes[node + ENTRY] = index + 1;
    });
    this.#nodes = Int32Array.from(nodes);
  }

  /** The longest prefix that contains the address, or null. Does not allocate. */
  find(address: Address): AddressMatch | null {
    const nodes = this.#nodes;
    const bits = address.length * 8;
    let node = address.length === 4 ? 0 : STRIDE;
    let best = nodes[node + ENTRY]!;
    for (let bit = 0; bit < bits; bit++) {
      node = nodes[node + ((address[bit >> 3]! >> (7 - (bit & 7))) & 1)]!;
      if (node === 0) break;
      const entry = nodes[node + ENTRY]!;
      if (entry !== 0) best = entry;
    }
    return best === 0 ? null : this.#matches[best - 1]!;
  }
}
