/**
 * The wire codec: queries in, and the pieces of which replies are made (RFC 1035, 6891, 8914). Strict: what is not
 * well-formed is refused with the rcode that the RFCs ask for, and with words for the audit. Nothing is allocated for
 * a well-formed query: it is read into a `Query` that is used again. Records of answers are read in answer.ts.
 */

/** RR types that the proxy treats in a way of their own. */
export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  RRSIG: 46,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export const CLASS_IN = 1;
const CLASS_CHAOS = 3;

/** Bytes of the message header. */
export const HEADER = 12;
/** Bytes of an OPT record without options. */
export const OPT_SIZE = 11;
/** What a datagram may hold when the asker said nothing of EDNS (RFC 1035, section 4.2.1). */
export const PLAIN_SIZE = 512;

const RCODE_NAMES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/** Mnemonic of an rcode; `RCODE9` for those the proxy never makes itself. */
export function rcodeName(rcode: number): string {
  return rcode === RCODE.BADVERS ? "BADVERS" : (RCODE_NAMES[rcode] ?? `RCODE${rcode}`);
}

/** `parseQuery` says: answer it, or else refuse with this rcode, or (`IGNORE`) say nothing. */
export const QUERY_OK = -1;
export const QUERY_IGNORE = -2;

/** Bits of `Query.flags`: what beside the question makes an answer another answer. */
export const DNSSEC_OK = 1;
export const CHECKING_DISABLED = 2;

/** What a cache entry and an exchange with an upstream are known by. */
export interface QueryKey {
  /** Folded wire name: the first `nameLength` bytes. */
  readonly key: Uint8Array;
  readonly nameLength: number;
  /** `type << 8 | flags`. */
  readonly kind: number;
  /** Seeded; never trusted, only a place to look. */
  readonly hash: number;
}

/** Whether both ask for the same. */
export function sameKey(left: QueryKey, right: QueryKey): boolean {
  if (left.hash !== right.hash || left.kind !== right.kind || left.nameLength !== right.nameLength)
    return false;
  for (let index = 0; index < left.nameLength; index++) {
    if (left.key[index] !== right.key[index]) return false;
  }
  return true;
}

/** One query, read into place by `parseQuery` and valid until the next call with the same object. */
export class Query implements QueryKey {
  readonly key = new Uint8Array(256);
  nameLength = 0;
  kind = 0;
  hash = 0;
  type = 0;
  flags = 0;
  /** Bytes of header and question. */
  end = 0;
  edns = false;
  /** UDP payload that the asker takes, at least 512. */
  size = PLAIN_SIZE;
  /** Whether AD in the reply would be understood (RFC 6840, section 5.7). */
  wantsAuthentic = false;
  /** Why the message was refused, in words for an audit; empty when it is no malformed one. */
  fault = "";
}

/**
 * Reads the query of `length` bytes at `bytes[offset]`. Returns QUERY_OK, QUERY_IGNORE, or the rcode to refuse it with;
 * `query.end` is then 0 when the question could not be read. `seed` makes hashes unpredictable to askers.
 */
export function parseQuery(
  bytes: Uint8Array,
  offset: number,
  length: number,
  query: Query,
  seed: number,
): number {
  query.fault = "";
  query.end = 0;
  query.edns = false;
  query.size = PLAIN_SIZE;
  query.flags = 0;
  query.wantsAuthentic = false;
  if (length < HEADER) {
    query.fault = "shorter than a header";
    return QUERY_IGNORE;
  }
  const high = bytes[offset + 2]!;
  const low = bytes[offset + 3]!;
  if ((high & 0x80) !== 0) return QUERY_IGNORE;
  if ((high & 0x78) !== 0) {
    query.fault = "an operation other than QUERY";
    return RCODE.NOTIMP;
  }
  if (bytes[offset + 4] !== 0 || bytes[offset + 5] !== 1) {
    query.fault = "not exactly one question";
    return RCODE.FORMERR;
  }

  // The name: labels only. A pointer in a question has nothing before it to point at.
  const { key } = query;
  const stop = offset + length;
  let at = offset + HEADER;
  let out = 0;
  let hash = seed;
  for (;;) {
    const label = bytes[at]!;
    if (at >= stop || label > 63 || out + label + 1 > 255) {
      query.fault =
        at >= stop ? "a question cut short" : label > 63 ? "a label over 63 bytes" : "a name over 255 bytes";
      return RCODE.FORMERR;
    }
    const next = at + label + 1;
    key[out++] = label;
    hash = Math.imul(hash ^ label, 0x01000193);
    if (next > stop) {
      query.fault = "a question cut short";
      return RCODE.FORMERR;
    }
    for (at++; at < next; at++) {
      let byte = bytes[at]!;
      if (byte >= 65 && byte <= 90) byte |= 32;
      key[out++] = byte;
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    if (label === 0) break;
  }
  if (at + 4 > stop) {
    query.fault = "a question cut short";
    return RCODE.FORMERR;
  }
  const type = (bytes[at]! << 8) | bytes[at + 1]!;
  const questionClass = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  at += 4;
  query.nameLength = out;
  query.type = type;
  query.end = at - offset;

  if (questionClass !== CLASS_IN) {
    if (questionClass !== CLASS_CHAOS) query.fault = "a class other than IN";
    return RCODE.REFUSED;
  }
  if (type === TYPE.AXFR || type === TYPE.IXFR) return RCODE.REFUSED;
  if (type === 0 || type === TYPE.OPT || (type >= 128 && type < 255)) {
    query.fault = "a type that cannot be asked for";
    return type > 128 ? RCODE.NOTIMP : RCODE.FORMERR;
  }
  if ((high & 2) !== 0) {
    query.fault = "a truncated query";
    return RCODE.FORMERR;
  }
  if (
    (bytes[offset + 6]! |
      bytes[offset + 7]! |
      bytes[offset + 8]! |
      bytes[offset + 9]! |
      bytes[offset + 10]!) !==
    0
  ) {
    query.fault = "records in a query";
    return RCODE.FORMERR;
  }
  const additional = bytes[offset + 11]!;
  if (additional > 1) {
    query.fault = "records in a query";
    return RCODE.FORMERR;
  }
  if (additional === 1) {
    const refusal = parseOpt(bytes, at, stop, query);
    if (refusal !== QUERY_OK) return refusal;
  } else if (at !== stop) {
    query.fault = "bytes behind the message";
    return RCODE.FORMERR;
  }

  if ((low & 0x10) !== 0) query.flags |= CHECKING_DISABLED;
  query.wantsAuthentic = (low & 0x20) !== 0 || (query.flags & DNSSEC_OK) !== 0;
  query.kind = (type << 8) | query.flags;
  hash = Math.imul(hash ^ query.kind, 0x85ebca6b);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  query.hash = hash ^ (hash >>> 13);
  return QUERY_OK;
}

/** The OPT record (RFC 6891, section 6.1) that must be all of the rest. Options are checked and left behind. */
function parseOpt(bytes: Uint8Array, at: number, stop: number, query: Query): number {
  const whole = at + OPT_SIZE <= stop;
  if (!whole || bytes[at] !== 0 || bytes[at + 1] !== 0 || bytes[at + 2] !== TYPE.OPT) {
    query.fault = whole ? "an additional record other than OPT" : "an additional record cut short";
    return RCODE.FORMERR;
  }
  const end = at + OPT_SIZE + ((bytes[at + 9]! << 8) | bytes[at + 10]!);
  let option = at + OPT_SIZE;
  while (option + 4 <= end && end <= stop) option += 4 + ((bytes[option + 2]! << 8) | bytes[option + 3]!);
  if (option !== end || end !== stop) {
    query.fault = end < stop ? "bytes behind the message" : "an option that reaches past its record";
    return RCODE.FORMERR;
  }
  query.edns = true;
  const size = (bytes[at + 3]! << 8) | bytes[at + 4]!;
  if (size > PLAIN_SIZE) query.size = size;
  if ((bytes[at + 7]! & 0x80) !== 0) query.flags |= DNSSEC_OK;
  return bytes[at + 6] === 0 ? QUERY_OK : RCODE.BADVERS;
}

/**
 * Expands the name at `bytes[at]` of a message that starts at `base` and ends before `end`, folded, into `into` (256
 * bytes). A pointer must lead backwards, before the part it stands in, so that no loop is possible (RFC 1035, section
 * 4.1.4). Returns the offset behind the name where it stood, or -1 when it is malformed.
 */
export function readName(bytes: Uint8Array, base: number, at: number, end: number, into: Uint8Array): number {
  let behind = -1;
  let from = at;
  let lowest = at;
  let out = 0;
  for (;;) {
    if (from >= end) return -1;
    const label = bytes[from]!;
    if (label >= 0xc0) {
      if (from + 2 > end) return -1;
      if (behind < 0) behind = from + 2;
      const target = base + (((label & 0x3f) << 8) | bytes[from + 1]!);
      if (target >= lowest || target < base + HEADER) return -1;
      from = lowest = target;
      continue;
    }
    if (label > 63 || out + label + 1 > 255 || from + label + 1 > end) return -1;
    into[out++] = label;
    for (let index = 1; index <= label; index++) {
      let byte = bytes[from + index]!;
      if (byte >= 65 && byte <= 90) byte |= 32;
      into[out++] = byte;
    }
    from += label + 1;
    if (label === 0) return behind < 0 ? from : behind;
  }
}
