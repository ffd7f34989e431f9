/**
 * Where a server may send us. The URL in feeds.yaml is the operator's, and may lead anywhere; a redirect is the server's, and
 * whoever holds that must not reach through it what only this host can: the control API and other services on loopback,
 * metadata of a cloud at link-local addresses, machines of the private network.
 */
import {
  isMapped,
  NEVER_INTERNET,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixContains,
} from "../../address.ts";

/** How far inside an address lies: the Internet, networks that are not the Internet, this host, its link. */
export type Depth = 0 | 1 | 2 | 3;
export const INTERNET: Depth = 0;
export const LINK: Depth = 3;

/** The innermost first; what is not named is the Internet. 192.0.0.0/24 (RFC 6890) has metadata of a cloud too. */
const DEPTHS: readonly (readonly [Depth, readonly Prefix[]])[] = [
  [3, prefixes("169.254.0.0/16", "fe80::/10")],
  [2, prefixes("0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128")],
  [1, prefixes(...NEVER_INTERNET, "192.0.0.0/24")],
];
/** Prefixes behind which an IPv4 address stands: NAT64 (RFC 6052), 6to4 (RFC 3056), IPv4-compatible (RFC 4291, 2.5.5.1). */
const EMBEDDING: readonly (readonly [Prefix, number])[] = [
  [prefixes("64:ff9b::/96")[0]!, 12],
  [prefixes("2002::/16")[0]!, 2],
  [prefixes("::/96")[0]!, 12],
];

function prefixes(...texts: readonly string[]): Prefix[] {
  return texts.map((text) => parsePrefix(text)!);
}

/** Depth of an address, with a zone or without; what is no address is taken to be on the link. */
export function depthOf(text: string): Depth {
  const bytes = parseAddress(text.replace(/%.*$/, ""));
  return bytes === null ? LINK : depthOfBytes(bytes);
}

function depthOfBytes(bytes: Uint8Array): Depth {
  if (bytes.length === 16 && isMapped(bytes)) return depthOfBytes(bytes.subarray(12));
  for (const [depth, list] of DEPTHS) {
    if (list.some((prefix) => prefix.bytes.length === bytes.length && prefixContains(prefix, bytes)))
      return depth;
  }
  const [, at] = EMBEDDING.find(([prefix]) => bytes.length === 16 && prefixContains(prefix, bytes)) ?? [];
  return at === undefined ? INTERNET : depthOfBytes(bytes.subarray(at, at + 4));
}

/** Depth of the host of a URL where it says so itself; null for a name that has to be resolved. */
export function depthOfHost(hostname: string): Depth | null {
  const host = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  if (parseAddress(host) !== null) return depthOf(host);
  return host === "localhost" || host.endsWith(".localhost") ? 2 : null;
}
