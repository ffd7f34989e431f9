/**
 * Lookups that go past the DNS proxy unseen: DNS over TLS and QUIC have a port of their own (853; RFC 7858, RFC 9250), DNS over
 * HTTPS (RFC 8484) hides among web traffic and is told by the well-known public resolvers that serve it.
 */
import { parseAddress } from "../address.ts";
import { PrefixMatcher, parseAddressEntry } from "./prefixes.ts";

const DNS_OVER_TLS = 853;
const HTTPS = 443;

/** Addresses of public resolvers that serve nothing else. */
const ADDRESSES = [
  ...["1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3", "8.8.8.8", "8.8.4.4"],
  ...["9.9.9.9", "9.9.9.10", "9.9.9.11", "149.112.112.112", "208.67.222.222", "208.67.220.220"],
  ...["94.140.14.14", "94.140.15.15", "76.76.2.0", "76.76.10.0", "185.228.168.9", "185.228.169.9"],
  ...["2606:4700:4700::1111", "2606:4700:4700::1001", "2001:4860:4860::8888", "2001:4860:4860::8844"],
  ...["2620:fe::fe", "2620:fe::9", "2a10:50c0::ad1:ff", "2a10:50c0::ad2:ff"],
];
/** Names that resolvers are reached by; nothing else is served there. */
const NAMES: ReadonlySet<string> = new Set([
  ...["dns.google", "dns.google.com", "dns64.dns.google", "cloudflare-dns.com", "one.one.one.one"],
  ...["mozilla.cloudflare-dns.com", "chrome.cloudflare-dns.com", "security.cloudflare-dns.com"],
  ...["family.cloudflare-dns.com", "dns.quad9.net", "dns9.quad9.net", "dns10.quad9.net", "dns11.quad9.net"],
  ...["doh.opendns.com", "doh.familyshield.opendns.com", "dns.adguard.com", "dns.adguard-dns.com"],
  ...["unfiltered.adguard-dns.com", "family.adguard-dns.com", "dns.nextdns.io", "doh.cleanbrowsing.org"],
  ...["dns.mullvad.net", "doh.mullvad.net", "freedns.controld.com", "dns.controld.com", "doh.libredns.gr"],
  ...["dns.switch.ch", "doh.dns.sb", "doh.applied-privacy.net", "dns.digitale-gesellschaft.ch", "doh.pub"],
]);
const RESOLVERS = new PrefixMatcher(
  ADDRESSES.map((address) => {
    const entry = parseAddressEntry(address);
    if (typeof entry === "string") throw new Error(`${address} ${entry}`);
    return entry;
  }),
);

/** First bytes of those addresses: nearly all others are told by them. */
const FIRST = new Uint8Array(256);
for (const address of ADDRESSES) FIRST[parseAddress(address)?.[0] ?? 0] = 1;

/** Why a connection over TCP or UDP carries lookups; null when nothing says so. `names` as of a ConnectionEvent. */
export function encryptedDNS(
  destination: Uint8Array,
  port: number,
  names: readonly string[],
): { readonly subject: string; readonly message: string } | null {
  if (port === DNS_OVER_TLS) return { subject: String(port), message: "the port of DNS over TLS and QUIC" };
  if (port !== HTTPS) return null;
  for (const name of names) {
    if (NAMES.has(name)) return { subject: name, message: "a resolver for DNS over HTTPS" };
  }
  if (FIRST[destination[0]!] === 0) return null;
  const resolver = RESOLVERS.find(destination);
  return resolver === null
    ? null
    : { subject: resolver.entry ?? "", message: "the address of a resolver for DNS over HTTPS" };
}
