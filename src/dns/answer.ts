/**
 * An answer as it came from an upstream: checked record by record, cut to what the asker needs, its TTLs brought into
 * bounds, and the names and addresses in it laid out for the decision.
 *
 * What is kept: the answer section; the authority section only where it says something (the SOA of a negative answer,
 * DNSSEC proofs). The additional section never is: a name in it would reach the container undecided, so the container
 * must ask for it. Both cuts are at the end of the message, hence compression pointers stay right.
 */
import { wireLength } from "../name.ts";
import { CLASS_IN, RCODE, readName, TYPE } from "./message.ts";

/** Bounds on the time an answer is kept, seconds. */
export interface TTLBounds {
  readonly minTTL: number;
  readonly maxTTL: number;
  readonly maxNegativeTTL: number;
}

export interface Answer {
  readonly rcode: number;
  /** AD: an upstream has validated it. */
  readonly authentic: boolean;
  /** Header, question and the kept sections; TTLs already within bounds. */
  readonly bytes: Uint8Array;
  /** Bytes of header and question: where the sections start. */
  readonly questionEnd: number;
  readonly answerCount: number;
  readonly authorityCount: number;
  /** Offsets in `bytes` of the TTL fields. */
  readonly ttls: readonly number[];
  /** Seconds that it may be kept; 0: not at all. */
  readonly lifetime: number;
  /** CNAME and DNAME targets in order, and the targets of SVCB and HTTPS records; folded wire form. */
  readonly hops: readonly Uint8Array[];
  /** Data of A and AAAA records and the address hints of SVCB and HTTPS; IPv4-mapped ones as 4 bytes. */
  readonly addresses: readonly Uint8Array[];
}

/** More links in a chain than this is no answer that anybody meant. */
const MAX_CHAIN = 16;
/** Bytes before the name(s) in the data of types whose names may be compressed (RFC 3597, section 4), and how many. */
const NAMES_IN_DATA = new Map<number, readonly [skip: number, names: number]>([
  [TYPE.NS, [0, 1]],
  [TYPE.CNAME, [0, 1]],
  [TYPE.SOA, [0, 2]],
  [TYPE.PTR, [0, 1]],
  [TYPE.MX, [2, 1]],
  [TYPE.SRV, [6, 1]],
  [TYPE.DNAME, [0, 1]],
]);

interface AnswerRecord {
  readonly owner: Uint8Array;
  readonly type: number;
  readonly ttl: number;
  readonly data: number;
  readonly length: number;
}

const scratch = new Uint8Array(256);

/**
 * Reads the response of `length` bytes at `bytes[offset]`, whose header and question (`questionEnd` bytes) the caller
 * has already compared with what was asked; so `asked` is the question's folded wire name and `type` its type. Null
 * when it is malformed, or answers something that was not asked.
 */
export function parseAnswer(
  bytes: Uint8Array,
  offset: number,
  length: number,
  questionEnd: number,
  asked: Uint8Array,
  type: number,
  bounds: TTLBounds,
): Answer | null {
  const stop = offset + length;
  const rcode = bytes[offset + 3]! & 15;
  const authentic = (bytes[offset + 3]! & 0x20) !== 0;
  const answerCount = (bytes[offset + 6]! << 8) | bytes[offset + 7]!;
  const authorityCount = (bytes[offset + 8]! << 8) | bytes[offset + 9]!;
  const additionalCount = (bytes[offset + 10]! << 8) | bytes[offset + 11]!;
  const records: AnswerRecord[] = [];
  const ttls: number[] = [];
  let at = offset + questionEnd;
  let answerEnd = at;
  let authorityEnd = at;
  let extended = 0;
  const total = answerCount + authorityCount + additionalCount;
  for (let index = 0; index < total; index++) {
    const behind = readName(bytes, offset, at, stop, scratch);
    if (behind < 0 || behind + 10 > stop) return null;
    const record = {
      owner: scratch.slice(0, wireLength(scratch)),
      type: (bytes[behind]! << 8) | bytes[behind + 1]!,
      ttl: behind + 4,
      data: behind + 10,
      length: (bytes[behind + 8]! << 8) | bytes[behind + 9]!,
    };
    at = record.data + record.length;
    if (at > stop) return null;
    if (record.type === TYPE.OPT) {
      if (index < answerCount + authorityCount || record.owner[0] !== 0) return null;
      extended = bytes[record.ttl]!;
      continue;
    }
    if (index >= answerCount + authorityCount) continue;
    if (((bytes[behind + 2]! << 8) | bytes[behind + 3]!) !== CLASS_IN) return null;
    if (!dataIsWellFormed(bytes, offset, record)) return null;
    records.push(record);
    ttls.push(record.ttl - offset);
    authorityEnd = at;
    if (index < answerCount) answerEnd = at;
  }
  if (at !== stop) return null;

  if (extended !== 0 || (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN)) {
    return bareAnswer(bytes.subarray(offset, offset + questionEnd), extended !== 0 ? RCODE.SERVFAIL : rcode);
  }
  const answers = records.slice(0, answerCount);
  const hops = followChain(bytes, offset, stop, asked, answers);
  if (hops === null) return null;
  const addresses: Uint8Array[] = [];
  for (const record of answers) {
    if (record.type === TYPE.A || record.type === TYPE.AAAA) {
      addresses.push(addressAt(bytes, record.data, record.length));
    } else if (record.type === TYPE.SVCB || record.type === TYPE.HTTPS) {
      readService(bytes, record, hops, addresses);
    }
  }

  const negative = rcode === RCODE.NXDOMAIN || !answers.some((record) => record.type === type);
  const signed = records.some((record) => record.type === TYPE.RRSIG);
  const keepAuthority = negative || signed;
  const kept = bytes.slice(offset, keepAuthority ? authorityEnd : answerEnd);
  const keptTTLs = keepAuthority ? ttls : ttls.slice(0, answerCount);
  const limit = negative
    ? Math.min(bounds.maxTTL, negativeLimit(bytes, offset, stop, records, bounds))
    : bounds.maxTTL;
  return {
    rcode,
    authentic,
    bytes: kept,
    questionEnd,
    answerCount,
    authorityCount: keepAuthority ? authorityCount : 0,
    ttls: keptTTLs,
    lifetime: clampTTLs(kept, keptTTLs, Math.min(bounds.minTTL, limit), limit),
    hops,
    addresses,
  };
}

/** An answer of header and question alone: what an upstream's failure, or no reply at all, becomes. */
export function bareAnswer(head: Uint8Array, rcode: number): Answer {
  return {
    rcode,
    authentic: false,
    bytes: head.slice(),
    questionEnd: head.length,
    answerCount: 0,
    authorityCount: 0,
    ttls: [],
    lifetime: 0,
    hops: [],
    addresses: [],
  };
}

/**
 * Targets of the CNAME chain that starts at `asked`, and of the DNAMEs above it. Null when a record belongs to no name of
 * the chain, or the chain is longer than anybody means.
 */
function followChain(
  bytes: Uint8Array,
  base: number,
  stop: number,
  asked: Uint8Array,
  answers: readonly AnswerRecord[],
): Uint8Array[] | null {
  const chain: Uint8Array[] = [asked];
  for (let current = asked; ; ) {
    const link = answers.find((record) => record.type === TYPE.CNAME && sameName(record.owner, current));
    if (link === undefined) break;
    readName(bytes, base, link.data, stop, scratch);
    current = scratch.slice(0, wireLength(scratch));
    if (chain.length > MAX_CHAIN || chain.some((name) => sameName(name, current))) {
      if (chain.length > MAX_CHAIN) return null;
      break;
    }
    chain.push(current);
  }
  const hops = chain.slice(1);
  for (const record of answers) {
    if (chain.some((name) => sameName(record.owner, name))) continue;
    const above = chain.some((name) => isBelow(name, record.owner));
    if (!above || (record.type !== TYPE.DNAME && record.type !== TYPE.RRSIG)) return null;
    if (record.type === TYPE.DNAME) {
      readName(bytes, base, record.data, stop, scratch);
      hops.push(scratch.slice(0, wireLength(scratch)));
    }
  }
  return hops;
}

/** Lengths and names inside the data of one record. */
function dataIsWellFormed(bytes: Uint8Array, base: number, record: AnswerRecord): boolean {
  const end = record.data + record.length;
  if (record.type === TYPE.A) return record.length === 4;
  if (record.type === TYPE.AAAA) return record.length === 16;
  if (record.type === TYPE.SVCB || record.type === TYPE.HTTPS) return serviceIsWellFormed(bytes, record);
  const layout = NAMES_IN_DATA.get(record.type);
  if (layout === undefined) return true;
  let at = record.data + layout[0];
  for (let name = 0; name < layout[1]; name++) {
    at = readName(bytes, base, at, end, scratch);
    if (at < 0) return false;
  }
  return at + (record.type === TYPE.SOA ? 20 : 0) === end;
}

/** RFC 9460, section 2.2: priority, uncompressed target, then parameters of key, length, value in order of the key. */
function serviceIsWellFormed(bytes: Uint8Array, record: AnswerRecord): boolean {
  const end = record.data + record.length;
  // A name that starts at its own base can hold no pointer that leads anywhere.
  let at = readName(bytes, record.data + 2, record.data + 2, end, scratch);
  if (at < 0) return false;
  let last = -1;
  while (at + 4 <= end) {
    const key = (bytes[at]! << 8) | bytes[at + 1]!;
    const length = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    if (key <= last) return false;
    if (key === 4 && length % 4 !== 0) return false;
    if (key === 6 && length % 16 !== 0) return false;
    last = key;
    at += 4 + length;
  }
  return at === end;
}

/** Target and address hints (`ipv4hint` 4, `ipv6hint` 6) of a service record already found well-formed. */
function readService(
  bytes: Uint8Array,
  record: AnswerRecord,
  hops: Uint8Array[],
  addresses: Uint8Array[],
): void {
  const end = record.data + record.length;
  let at = readName(bytes, record.data + 2, record.data + 2, end, scratch);
  if (scratch[0] !== 0) hops.push(scratch.slice(0, wireLength(scratch)));
  while (at < end) {
    const key = (bytes[at]! << 8) | bytes[at + 1]!;
    const length = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    at += 4;
    const width = key === 4 ? 4 : key === 6 ? 16 : 0;
    for (let hint = 0; width > 0 && hint < length; hint += width)
      addresses.push(addressAt(bytes, at + hint, width));
    at += length;
  }
}

function addressAt(bytes: Uint8Array, at: number, length: number): Uint8Array {
  if (length === 16) {
    let zeros = 0;
    while (zeros < 10 && bytes[at + zeros] === 0) zeros++;
    if (zeros === 10 && bytes[at + 10] === 255 && bytes[at + 11] === 255)
      return bytes.slice(at + 12, at + 16);
  }
  return bytes.slice(at, at + length);
}

/** RFC 2308, section 5: a negative answer lives as its SOA says, both by its TTL and its MINIMUM; without one, not. */
function negativeLimit(
  bytes: Uint8Array,
  base: number,
  stop: number,
  records: readonly AnswerRecord[],
  bounds: TTLBounds,
): number {
  const soa = records.find((record) => record.type === TYPE.SOA);
  if (soa === undefined) return 0;
  const serial = readName(bytes, base, readName(bytes, base, soa.data, stop, scratch), stop, scratch);
  return Math.min(ttlAt(bytes, serial + 16), ttlAt(bytes, soa.ttl), bounds.maxNegativeTTL);
}

/** Brings every TTL into bounds, in place; returns the smallest, or 0 when there is none. */
function clampTTLs(bytes: Uint8Array, offsets: readonly number[], least: number, most: number): number {
  let smallest = offsets.length === 0 ? 0 : most;
  for (const at of offsets) {
    const ttl = Math.min(Math.max(ttlAt(bytes, at), least), most);
    bytes[at] = ttl >>> 24;
    bytes[at + 1] = ttl >>> 16;
    bytes[at + 2] = ttl >>> 8;
    bytes[at + 3] = ttl;
    if (ttl < smallest) smallest = ttl;
  }
  return smallest;
}

/** RFC 2181, section 8: a TTL with the top bit set is zero. */
function ttlAt(bytes: Uint8Array, at: number): number {
  if (bytes[at]! > 127) return 0;
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Whether two folded wire names are the same. */
export function sameName(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}

function isBelow(name: Uint8Array, parent: Uint8Array): boolean {
  for (let at = 0; name[at] !== 0; ) {
    at += name[at]! + 1;
    if (sameName(name.subarray(at), parent)) return true;
  }
  return false;
}
