/**
 * An answer as it came from an upstream: checked record by record, cut to what the asker needs, its TTLs brought into
 * bounds, and the names and addresses in it laid out for the decision.
 *
 * What is kept: the answer section; the authority section only where it says something (the SOA of a negative answer,
 * DNSSEC proofs). The additional section never is: a name in it would reach the container undecided, so the container
 * must ask for it. Both cuts are at the end of the message, hence compression pointers stay right.
 */
import { isMapped } from "../address.ts";
import { wireLength } from "../name.ts";
import { CLASS_IN, HEADER, RCODE, readName, TYPE } from "./message.ts";

/** Bounds on the time an answer is kept, seconds. */
export interface TTLBounds {
  readonly minTTL: number;
  readonly maxTTL: number;
  readonly maxNegativeTTL: number;
}

/**
 * What was found in a response. Its bytes are only lent: they are good until the call that handles the response returns.
 */
export interface Answer {
  readonly rcode: number;
  /** AD: an upstream has validated it. */
  readonly authentic: boolean;
  /** Header, question and the kept sections: `length` bytes at `bytes[at]`; TTLs already within bounds. */
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly length: number;
  /** Bytes of header and question: where the sections start. */
  readonly questionEnd: number;
  readonly answerCount: number;
  readonly authorityCount: number;
  /** Where the TTL fields are, counted from the header. */
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

const scratch = new Uint8Array(256);

/** Records of the message at hand: where their owners stand, and their types, behind which TTL and data follow. */
const MOST_RECORDS = 4096;
const owners = new Int32Array(MOST_RECORDS);
const types = new Int32Array(MOST_RECORDS);
/** From the type of a record to its class, TTL, length of data, data (RFC 1035, section 4.1.3). */
const [TO_CLASS, TO_TTL, TO_LENGTH, TO_DATA] = [2, 4, 8, 10] as const;
const POINTER = 0xc0;

/**
 * Reads the response of `length` bytes at `bytes[offset]`, whose header and question (`questionEnd` bytes) the caller
 * has already compared with what was asked; so `asked` is the question's folded wire name and `type` its type. Null
 * when it is malformed, or answers something that was not asked; else the TTLs in it are brought into bounds, in place.
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
  const answerCount = word(bytes, offset + 6);
  const authorityCount = word(bytes, offset + 8);
  const total = answerCount + authorityCount + word(bytes, offset + 10);
  let at = offset + questionEnd;
  let answerEnd = at;
  let authorityEnd = at;
  let extended = 0;
  let count = 0;
  let direct = false;
  let signed = false;
  for (let index = 0; index < total; index++) {
    const owner = at;
    const record = isQuestion(bytes, offset, at) ? at + 2 : readName(bytes, offset, at, stop, scratch);
    if (record < 0 || record + TO_DATA > stop) return null;
    at = record + TO_DATA + word(bytes, record + TO_LENGTH);
    if (at > stop) return null;
    const recordType = word(bytes, record);
    if (recordType === TYPE.OPT) {
      if (index < answerCount + authorityCount || bytes[owner] !== 0) return null;
      extended = bytes[record + TO_TTL]!;
      continue;
    }
    if (index >= answerCount + authorityCount) continue;
    if (count === MOST_RECORDS || word(bytes, record + TO_CLASS) !== CLASS_IN) return null;
    if (!dataIsWellFormed(bytes, offset, record)) return null;
    owners[count] = owner;
    types[count] = record;
    count++;
    if (recordType === TYPE.RRSIG) signed = true;
    authorityEnd = at;
    if (index >= answerCount) continue;
    answerEnd = at;
    if (recordType === type) direct = true;
  }
  if (at !== stop) return null;

  if (extended !== 0 || (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN)) {
    return bareAnswer(bytes.slice(offset, offset + questionEnd), extended !== 0 ? RCODE.SERVFAIL : rcode);
  }
  const hops = followChain(bytes, offset, stop, asked, answerCount);
  if (hops === null) return null;
  const addresses = addressesOf(bytes, answerCount, hops);

  const negative = rcode === RCODE.NXDOMAIN || !direct;
  const keepsAuthority = negative || signed;
  const keeps = keepsAuthority ? count : answerCount;
  const limit = negative
    ? Math.min(bounds.maxTTL, negativeLimit(bytes, offset, stop, count, bounds))
    : bounds.maxTTL;
  const ttls = new Array<number>(keeps);
  for (let index = 0; index < keeps; index++) ttls[index] = types[index]! + TO_TTL - offset;
  return {
    rcode,
    authentic: (bytes[offset + 3]! & 0x20) !== 0,
    bytes,
    at: offset,
    length: (keepsAuthority ? authorityEnd : answerEnd) - offset,
    questionEnd,
    answerCount,
    authorityCount: keepsAuthority ? authorityCount : 0,
    ttls,
    lifetime: clampTTLs(bytes, offset, ttls, Math.min(bounds.minTTL, limit), limit),
    hops,
    addresses,
  };
}

/** An answer of header and question (`head`) alone: what an upstream's failure, or no reply at all, becomes. */
export function bareAnswer(head: Uint8Array, rcode: number): Answer {
  return {
    rcode,
    authentic: false,
    bytes: head,
    at: 0,
    length: head.length,
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
 * Targets of the CNAME chain that starts at `asked`, and of the DNAMEs above it, among the first `count` records. Null
 * when a record belongs to no name of the chain, or the chain is longer than anybody means.
 */
function followChain(
  bytes: Uint8Array,
  base: number,
  stop: number,
  asked: Uint8Array,
  count: number,
): Uint8Array[] | null {
  const hops: Uint8Array[] = [];
  let chain: Uint8Array[] | null = null;
  for (let current = asked; ; ) {
    const link = findLink(bytes, base, current, count);
    if (link < 0) break;
    chain ??= [asked];
    current = nameAt(bytes, base, types[link]! + TO_DATA, stop);
    if (chain.length > MAX_CHAIN) return null;
    if (chain.some((name) => sameName(name, current))) break;
    chain.push(current);
    hops.push(current);
  }
  for (let index = 0; index < count; index++) {
    const at = owners[index]!;
    if (isQuestion(bytes, base, at)) continue;
    chain ??= [asked];
    if (chain.some((name) => isNamed(bytes, base, at, name))) continue;
    const owner = nameAt(bytes, base, at, stop);
    const above = chain.some((name) => isBelow(name, owner));
    const type = word(bytes, types[index]!);
    if (!above || (type !== TYPE.DNAME && type !== TYPE.RRSIG)) return null;
    if (type === TYPE.DNAME) hops.push(nameAt(bytes, base, types[index]! + TO_DATA, stop));
  }
  return hops;
}

/** Index of the first CNAME record of the name, or -1. */
function findLink(bytes: Uint8Array, base: number, name: Uint8Array, count: number): number {
  for (let index = 0; index < count; index++) {
    if (word(bytes, types[index]!) !== TYPE.CNAME) continue;
    if (isNamed(bytes, base, owners[index]!, name)) return index;
  }
  return -1;
}

/** Whether the name at `bytes[at]` is written as a pointer to the question's, as nearly every owner is. */
function isQuestion(bytes: Uint8Array, base: number, at: number): boolean {
  return bytes[at] === POINTER && bytes[at + 1] === HEADER && at >= base + HEADER + 2;
}

/** Whether the name at `bytes[at]`, which has been read before, is the folded `name`. */
function isNamed(bytes: Uint8Array, base: number, at: number, name: Uint8Array): boolean {
  let from = at;
  for (let out = 0; ; ) {
    const label = bytes[from]!;
    if (label >= POINTER) {
      from = base + (word(bytes, from) & 0x3fff);
      continue;
    }
    if (name[out++] !== label) return false;
    if (label === 0) return true;
    for (const end = from + label; from < end; ) {
      let byte = bytes[++from]!;
      if (byte >= 65 && byte <= 90) byte |= 32;
      if (name[out++] !== byte) return false;
    }
    from++;
  }
}

/** A copy of the name at `bytes[at]`, which has been read before. */
function nameAt(bytes: Uint8Array, base: number, at: number, stop: number): Uint8Array {
  readName(bytes, base, at, stop, scratch);
  return scratch.slice(0, wireLength(scratch));
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** Lengths and names inside the data of one record. */
function dataIsWellFormed(bytes: Uint8Array, base: number, record: number): boolean {
  const type = word(bytes, record);
  const length = word(bytes, record + TO_LENGTH);
  const data = record + TO_DATA;
  if (type === TYPE.A) return length === 4;
  if (type === TYPE.AAAA) return length === 16;
  if (type === TYPE.SVCB || type === TYPE.HTTPS) return serviceIsWellFormed(bytes, data, data + length);
  const layout = NAMES_IN_DATA.get(type);
  if (layout === undefined) return true;
  let at = data + layout[0];
  for (let name = 0; name < layout[1]; name++) {
    at = readName(bytes, base, at, data + length, scratch);
    if (at < 0) return false;
  }
  return at + (type === TYPE.SOA ? 20 : 0) === data + length;
}

/** RFC 9460, section 2.2: priority, uncompressed target, then parameters of key, length, value in order of the key. */
function serviceIsWellFormed(bytes: Uint8Array, data: number, end: number): boolean {
  // A name that starts at its own base can hold no pointer that leads anywhere.
  let at = readName(bytes, data + 2, data + 2, end, scratch);
  if (at < 0) return false;
  let last = -1;
  while (at + 4 <= end) {
    const key = word(bytes, at);
    const length = word(bytes, at + 2);
    if (key <= last) return false;
    if (key === 4 && length % 4 !== 0) return false;
    if (key === 6 && length % 16 !== 0) return false;
    last = key;
    at += 4 + length;
  }
  return at === end;
}

/** Addresses in the first `count` records; where services are is added to `hops`. */
function addressesOf(bytes: Uint8Array, count: number, hops: Uint8Array[]): Uint8Array[] {
  let plain = 0;
  for (let index = 0; index < count; index++) if (isAddress(bytes, types[index]!)) plain++;
  const addresses = new Array<Uint8Array>(plain);
  plain = 0;
  for (let index = 0; index < count; index++) {
    const record = types[index]!;
    const type = word(bytes, record);
    const data = record + TO_DATA;
    const length = word(bytes, record + TO_LENGTH);
    if (isAddress(bytes, record)) addresses[plain++] = addressAt(bytes, data, length);
    else if (type === TYPE.SVCB || type === TYPE.HTTPS)
      readService(bytes, data, data + length, hops, addresses);
  }
  return addresses;
}

function isAddress(bytes: Uint8Array, record: number): boolean {
  const type = word(bytes, record);
  return type === TYPE.A || type === TYPE.AAAA;
}

/** Target and address hints (`ipv4hint` 4, `ipv6hint` 6) of a service record already found well-formed. */
function readService(
  bytes: Uint8Array,
  data: number,
  end: number,
  hops: Uint8Array[],
  addresses: Uint8Array[],
): void {
  let at = readName(bytes, data + 2, data + 2, end, scratch);
  if (scratch[0] !== 0) hops.push(scratch.slice(0, wireLength(scratch)));
  while (at < end) {
    const key = word(bytes, at);
    const length = word(bytes, at + 2);
    at += 4;
    const width = key === 4 ? 4 : key === 6 ? 16 : 0;
    for (let hint = 0; width > 0 && hint < length; hint += width)
      addresses.push(addressAt(bytes, at + hint, width));
    at += length;
  }
}

function addressAt(bytes: Uint8Array, at: number, length: number): Uint8Array {
  const mapped = length === 16 && isMapped(bytes, at);
  const address = new Uint8Array(mapped ? 4 : length);
  const from = mapped ? at + 12 : at;
  for (let index = 0; index < address.length; index++) address[index] = bytes[from + index]!;
  return address;
}

/** RFC 2308, section 5: a negative answer lives as its SOA says, both by its TTL and its MINIMUM; without one, not. */
function negativeLimit(
  bytes: Uint8Array,
  base: number,
  stop: number,
  count: number,
  bounds: TTLBounds,
): number {
  for (let index = 0; index < count; index++) {
    const record = types[index]!;
    if (word(bytes, record) !== TYPE.SOA) continue;
    const contact = readName(bytes, base, record + TO_DATA, stop, scratch);
    const serial = readName(bytes, base, contact, stop, scratch);
    return Math.min(ttlAt(bytes, serial + 16), ttlAt(bytes, record + TO_TTL), bounds.maxNegativeTTL);
  }
  return 0;
}

/** Brings every TTL into bounds, in place; returns the smallest, or 0 when there is none. */
function clampTTLs(
  bytes: Uint8Array,
  base: number,
  offsets: readonly number[],
  least: number,
  most: number,
): number {
  let smallest = offsets.length === 0 ? 0 : most;
  for (const offset of offsets) {
    const at = base + offset;
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
