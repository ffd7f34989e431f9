/**
 * Bounds-checked reading of IPv4 and IPv6 headers in a slab of captured packets. One mutable object takes the result,
 * so that a batch allocates nothing. Only bytes of the packet itself are ever read: neither what lies behind it in the
 * slab nor what its own length fields promise beyond the captured bytes.
 *
 * Layouts: RFC 791 (IPv4), RFC 8200 (IPv6 and its extension headers), RFC 4302 (AH), RFC 792 and RFC 4443 (ICMP).
 */

/** IP protocol numbers that the parser knows (IANA). */
export const PROTOCOL = {
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ICMPV6: 58,
  SCTP: 132,
  UDP_LITE: 136,
} as const;

/**
 * What became of a packet. Only `WHOLE` fills every field. `TRUNCATED`: the packet may be sound, but the captured bytes
 * end before its ports. `MALFORMED`: lengths contradict each other, the version is neither 4 nor 6, or there are more
 * extension headers than any honest sender uses. `SOURCE_ROUTED`: it asks to be sent on to an address that is not its
 * destination (IPv4 LSRR and SSRR, IPv6 routing headers with segments left), so that the destination says nothing.
 */
export const PARSE = { WHOLE: 0, TRUNCATED: 1, MALFORMED: 2, SOURCE_ROUTED: 3 } as const;
export type ParseResult = (typeof PARSE)[keyof typeof PARSE];

/** `FIRST` has ports, `LATER` has none. */
export const FRAGMENT = { NONE: 0, FIRST: 1, LATER: 2 } as const;

/** Extension headers followed before a packet counts as malformed. RFC 8200 knows seven, each once. */
const MAX_EXTENSION_HEADERS = 8;

const EXTENSION = { HOP_BY_HOP: 0, ROUTING: 43, FRAGMENT: 44, AUTHENTICATION: 51, DESTINATION: 60 } as const;
const IPV4_OPTION = { END: 0, NOP: 1, LSRR: 131, SSRR: 137 } as const;

/** The packet inside an ICMP error; `version` is 0 when there is none or it cannot be read. */
export interface EmbeddedPacket {
  version: 0 | 4 | 6;
  protocol: number;
  sourceOffset: number;
  destinationOffset: number;
  /** Both 0 where the protocol has no ports or they are not there. */
  sourcePort: number;
  destinationPort: number;
}

/** Offsets are into the slab that was parsed, and hold until the slab is reused. */
export interface ParsedPacket {
  version: 0 | 4 | 6;
  /** Bytes of an address: 4 or 16. */
  addressLength: 4 | 16;
  sourceOffset: number;
  destinationOffset: number;
  /** Bytes before the transport header, options and extension headers included. */
  headerLength: number;
  /** Protocol of the transport header (behind all extension headers). */
  protocol: number;
  fragment: number;
  /** Whether the protocol has ports and they were read. */
  hasPorts: boolean;
  sourcePort: number;
  destinationPort: number;
  /** TCP flags byte (RFC 9293, section 3.1); 0 for others. */
  tcpFlags: number;
  /** ICMP and ICMPv6 type and code; 0 for others. */
  icmpType: number;
  icmpCode: number;
  readonly embedded: EmbeddedPacket;
}

/** An object for `parsePacket` to fill; make one per thread. */
export function parsedPacket(): ParsedPacket {
  return {
    version: 0,
    addressLength: 4,
    sourceOffset: 0,
    destinationOffset: 0,
    headerLength: 0,
    protocol: 0,
    fragment: FRAGMENT.NONE,
    hasPorts: false,
    sourcePort: 0,
    destinationPort: 0,
    tcpFlags: 0,
    icmpType: 0,
    icmpCode: 0,
    embedded: {
      version: 0,
      protocol: 0,
      sourceOffset: 0,
      destinationOffset: 0,
      sourcePort: 0,
      destinationPort: 0,
    },
  };
}

/**
 * Reads the packet at `slab[offset]` of which `captured` bytes are there. `packet.version` stays 0 until the addresses
 * were read; what a result other than `WHOLE` leaves filled are the fields up to where reading ended.
 */
export function parsePacket(
  slab: Uint8Array,
  offset: number,
  captured: number,
  packet: ParsedPacket,
): ParseResult {
  packet.version = 0;
  packet.fragment = FRAGMENT.NONE;
  packet.hasPorts = false;
  packet.protocol = packet.sourcePort = packet.destinationPort = 0;
  packet.tcpFlags = packet.icmpType = packet.icmpCode = 0;
  packet.embedded.version = 0;
  const available = Math.min(captured, slab.length - offset);
  if (available < 1) return PARSE.TRUNCATED;
  const version = slab[offset]! >> 4;
  if (version === 4) return parseIpv4(slab, offset, available, packet);
  if (version === 6) return parseIpv6(slab, offset, available, packet);
  return PARSE.MALFORMED;
}

function parseIpv4(slab: Uint8Array, offset: number, available: number, packet: ParsedPacket): ParseResult {
  if (available < 20) return PARSE.TRUNCATED;
  const headerLength = (slab[offset]! & 15) * 4;
  // A total length of 0 is a GSO packet above 64 KiB (BIG TCP): its real length is the kernel's to know.
  const total = read16(slab, offset + 2) || 0x7fffffff;
  if (headerLength < 20 || total < headerLength) return PARSE.MALFORMED;
  packet.version = 4;
  packet.addressLength = 4;
  packet.sourceOffset = offset + 12;
  packet.destinationOffset = offset + 16;
  packet.headerLength = headerLength;
  packet.protocol = slab[offset + 9]!;
  if (headerLength > available) return PARSE.TRUNCATED;
  if (headerLength > 20) {
    const options = checkIpv4Options(slab, offset + 20, offset + headerLength);
    if (options !== PARSE.WHOLE) return options;
  }
  const fragment = read16(slab, offset + 6);
  if ((fragment & 0x1fff) !== 0) packet.fragment = FRAGMENT.LATER;
  else if ((fragment & 0x2000) !== 0) packet.fragment = FRAGMENT.FIRST;
  return parseTransport(slab, offset, offset + headerLength, total, available, packet);
}

function checkIpv4Options(slab: Uint8Array, start: number, end: number): ParseResult {
  for (let at = start; at < end; ) {
    const kind = slab[at]!;
    if (kind === IPV4_OPTION.END) break;
    if (kind === IPV4_OPTION.NOP) {
      at++;
      continue;
    }
    if (kind === IPV4_OPTION.LSRR || kind === IPV4_OPTION.SSRR) return PARSE.SOURCE_ROUTED;
    if (at + 2 > end) return PARSE.MALFORMED;
    const length = slab[at + 1]!;
    if (length < 2 || at + length > end) return PARSE.MALFORMED;
    at += length;
  }
  return PARSE.WHOLE;
}

function parseIpv6(slab: Uint8Array, offset: number, available: number, packet: ParsedPacket): ParseResult {
  if (available < 40) return PARSE.TRUNCATED;
  packet.version = 6;
  packet.addressLength = 16;
  packet.sourceOffset = offset + 8;
  packet.destinationOffset = offset + 24;
  // A payload length of 0 is a jumbogram (RFC 2675) or BIG TCP.
  const payload = read16(slab, offset + 4);
  const total = payload === 0 ? 0x7fffffff : payload + 40;
  let next = slab[offset + 6]!;
  let at = offset + 40;
  for (let count = 0; isExtension(next); count++) {
    packet.protocol = next;
    packet.headerLength = at - offset;
    if (count === MAX_EXTENSION_HEADERS) return PARSE.MALFORMED;
    if (at - offset + 8 > total) return PARSE.MALFORMED;
    if (at - offset + 8 > available) return PARSE.TRUNCATED;
    const kind = next;
    next = slab[at]!;
    if (kind === EXTENSION.FRAGMENT) {
      const field = read16(slab, at + 2);
      at += 8;
      if ((field & 0xfff8) !== 0) {
        // What follows is the middle of some header: the protocol named is that of the first fragment.
        packet.fragment = FRAGMENT.LATER;
        break;
      }
      if ((field & 1) !== 0) packet.fragment = FRAGMENT.FIRST;
      continue;
    }
    if (kind === EXTENSION.ROUTING && slab[at + 3]! !== 0) return PARSE.SOURCE_ROUTED;
    at += kind === EXTENSION.AUTHENTICATION ? (slab[at + 1]! + 2) * 4 : (slab[at + 1]! + 1) * 8;
  }
  packet.protocol = next;
  packet.headerLength = at - offset;
  return parseTransport(slab, offset, at, total, available, packet);
}

function isExtension(protocol: number): boolean {
  return (
    protocol === EXTENSION.HOP_BY_HOP ||
    protocol === EXTENSION.ROUTING ||
    protocol === EXTENSION.FRAGMENT ||
    protocol === EXTENSION.AUTHENTICATION ||
    protocol === EXTENSION.DESTINATION
  );
}

/** `start`: place of the transport header; `total`: length the IP header claims; `available`: bytes to read at most. */
function parseTransport(
  slab: Uint8Array,
  offset: number,
  start: number,
  total: number,
  available: number,
  packet: ParsedPacket,
): ParseResult {
  if (packet.fragment === FRAGMENT.LATER) return PARSE.WHOLE;
  const claimed = offset + total - start;
  const there = Math.min(offset + available, offset + total) - start;
  switch (packet.protocol) {
    case PROTOCOL.TCP:
      // All twenty bytes: a TCP header shorter than that is a trick, not a connection.
      if (there < 20) return claimed < 20 ? PARSE.MALFORMED : PARSE.TRUNCATED;
      packet.tcpFlags = slab[start + 13]!;
      break;
    case PROTOCOL.UDP:
    case PROTOCOL.UDP_LITE:
      if (there < 8) return claimed < 8 ? PARSE.MALFORMED : PARSE.TRUNCATED;
      break;
    case PROTOCOL.SCTP:
      if (there < 12) return claimed < 12 ? PARSE.MALFORMED : PARSE.TRUNCATED;
      break;
    case PROTOCOL.ICMP:
    case PROTOCOL.ICMPV6:
      if (there < 4) return claimed < 4 ? PARSE.MALFORMED : PARSE.TRUNCATED;
      packet.icmpType = slab[start]!;
      packet.icmpCode = slab[start + 1]!;
      if (isIcmpError(packet.protocol, packet.icmpType)) {
        parseEmbedded(slab, start + 8, start + there, packet.embedded);
      }
      return PARSE.WHOLE;
    default:
      // No header is read, but those before it have to be there.
      if (there < 0) return claimed < 0 ? PARSE.MALFORMED : PARSE.TRUNCATED;
      return PARSE.WHOLE;
  }
  packet.hasPorts = true;
  packet.sourcePort = read16(slab, start);
  packet.destinationPort = read16(slab, start + 2);
  return PARSE.WHOLE;
}

/** Messages that carry the start of the packet they are about (RFC 792; RFC 4443, section 2.1). */
export function isIcmpError(protocol: number, type: number): boolean {
  if (protocol === PROTOCOL.ICMPV6) return type < 128;
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

/** Extension headers inside the embedded packet are not followed: its protocol is then theirs, without ports. */
function parseEmbedded(slab: Uint8Array, start: number, end: number, embedded: EmbeddedPacket): void {
  embedded.sourcePort = embedded.destinationPort = 0;
  if (start >= end) return;
  const version = slab[start]! >> 4;
  let transport: number;
  let later = false;
  if (version === 4) {
    const headerLength = (slab[start]! & 15) * 4;
    if (headerLength < 20 || start + 20 > end) return;
    embedded.protocol = slab[start + 9]!;
    embedded.sourceOffset = start + 12;
    embedded.destinationOffset = start + 16;
    later = (read16(slab, start + 6) & 0x1fff) !== 0;
    transport = start + headerLength;
  } else if (version === 6) {
    if (start + 40 > end) return;
    embedded.protocol = slab[start + 6]!;
    embedded.sourceOffset = start + 8;
    embedded.destinationOffset = start + 24;
    transport = start + 40;
  } else {
    return;
  }
  embedded.version = version;
  if (later || !hasPorts(embedded.protocol) || transport + 4 > end) return;
  embedded.sourcePort = read16(slab, transport);
  embedded.destinationPort = read16(slab, transport + 2);
}

function hasPorts(protocol: number): boolean {
  return (
    protocol === PROTOCOL.TCP ||
    protocol === PROTOCOL.UDP ||
    protocol === PROTOCOL.UDP_LITE ||
    protocol === PROTOCOL.SCTP
  );
}

function read16(slab: Uint8Array, at: number): number {
  return (slab[at]! << 8) | slab[at + 1]!;
}
