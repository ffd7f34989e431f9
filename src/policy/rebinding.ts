/**
 * DNS rebinding: a name of the public Internet that leads into a network which the public cannot reach. Whoever owns the name
 * can so let a program inside talk to its neighbours. Names of private zones are meant to lead there.
 */
import { PrefixMatcher, parseAddressEntry } from "./prefixes.ts";
import type { Address, WireName } from "./types.ts";

/** 0.0.0.0 and :: are not among them: filters answer so. */
const INSIDE = new PrefixMatcher(
  [
    ...["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
    ...["::1", "fc00::/7", "fe80::/10"],
  ].map((prefix) => {
    const entry = parseAddressEntry(prefix);
    if (typeof entry === "string") throw new Error(`${prefix} ${entry}`);
    return entry;
  }),
);

/** Last labels below which nothing is public: special-use names (RFC 6761, 6762, 8375, 9476) and what networks use. */
const PRIVATE_ZONES: ReadonlySet<string> = new Set([
  ...["local", "localhost", "internal", "lan", "home", "corp", "intranet", "private", "localdomain"],
  ...["arpa", "alt", "onion", "invalid", "consul", "docker", "svc", "cluster", "domain", "mail"],
]);

/** First bytes of addresses inside, IPv4 and IPv6 in one: nearly all others are told by them. */
const FIRST: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  [0, 10, 100, 127, 169, 172, 192, 0xfc, 0xfd, 0xfe].includes(byte) ? 1 : 0,
);
/** NAT64 prefix 64:ff9b::/96 (RFC 6052), behind which an IPv4 address stands. */
const NAT64 = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
const embedded = new Uint8Array(4);

/** Whether the address is one that only those inside can reach. */
export function isInside(address: Address): boolean {
  if (FIRST[address[0]!] === 0) return false;
  if (address.length === 16 && NAT64.every((byte, at) => address[at] === byte)) {
    embedded.set(address.subarray(12));
    return INSIDE.find(embedded) !== null;
  }
  return INSIDE.find(address) !== null;
}

/** Whether anybody may own the name: it has two labels or more, and no private zone above it. */
export function isPublicName(name: WireName): boolean {
  let last = 0;
  let labels = 0;
  for (let at = 0; name[at] !== undefined && name[at] !== 0; at += name[at]! + 1) {
    last = at;
    labels++;
  }
  if (labels < 2) return false;
  return !PRIVATE_ZONES.has(String.fromCharCode(...name.subarray(last + 1, last + 1 + name[last]!)));
}
