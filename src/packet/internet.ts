/**
 * What is not the Internet: private, loopback, link-local and multicast prefixes, the host's own addresses, the
 * containers' networks, and what the operator adds. Everything else is, the documentation prefixes included: a policy
 * that is tried out on them behaves as it will on real addresses.
 */
import { ipv4Key, ipv6Key, isMapped, NEVER_INTERNET, type Prefix, prefixContains } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { parseAddressEntry } from "../policy/prefixes.ts";

/** Immutable; made anew when the host's addresses, the containers' networks or the configuration change. */
export class InternalPrefixes {
  /** Disjoint ranges in ascending order: `[first, last, first, last, …]`. */
  readonly #ipv4: Uint32Array;
  readonly #ipv6Addresses = new Set<string>();
  readonly #ipv6Prefixes: Prefix[] = [];

  /**
   * `prefixes`: host addresses, container subnets and `network.internal`, each `ADDRESS` or `ADDRESS/LENGTH`; host bits
   * do not matter for lengths that name a subnet. Throws TM_CONFIG for text that is neither.
   */
  constructor(prefixes: Iterable<string>) {
    const ranges: [number, number][] = [];
    for (const text of [...NEVER_INTERNET, ...prefixes]) {
      const prefix = parseAddressEntry(text);
      if (typeof prefix === "string") {
        throw new TidesmanError(
          "TM_CONFIG",
          `\`${text}\` is no address and no prefix; write \`ADDRESS\` or \`ADDRESS/LENGTH\``,
        );
      }
      if (prefix.bytes.length === 4) {
        const first = ipv4Key(prefix.bytes);
        ranges.push([first, first + 2 ** (32 - prefix.length) - 1]);
      } else if (prefix.length === 128) this.#ipv6Addresses.add(ipv6Key(prefix.bytes));
      else this.#ipv6Prefixes.push(prefix);
    }
    this.#ipv4 = Uint32Array.from(disjoint(ranges).flat());
  }

  /** Whether the 4 or 16 bytes at `bytes[offset]` are inside. An IPv4-mapped IPv6 address is judged as IPv4. */
  contains(bytes: Uint8Array, offset: number, length: number): boolean {
    if (length === 4) return this.#containsIpv4(ipv4Key(bytes, offset));
    if (isMapped(bytes, offset)) return this.#containsIpv4(ipv4Key(bytes, offset + 12));
    if (this.#ipv6Addresses.has(ipv6Key(bytes, offset))) return true;
    for (const prefix of this.#ipv6Prefixes) if (prefixContains(prefix, bytes, offset)) return true;
    return false;
  }

  #containsIpv4(key: number): boolean {
    let low = 0;
    let high = this.#ipv4.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ipv4[middle * 2 + 1]! < key) low = middle + 1;
      else high = middle;
    }
    return low * 2 < this.#ipv4.length && this.#ipv4[low * 2]! <= key;
  }
}

function disjoint(ranges: readonly [number, number][]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged;
}
