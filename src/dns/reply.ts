/**
 * Replies, made in place: header and question of the query stand where the reply goes, so the asker's id, flags and
 * case are echoed by leaving them alone. Each function returns the bytes of the whole reply.
 */
import type { Answer } from "./answer.ts";
import { DNSSEC_OK, HEADER, OPT_SIZE, RCODE, TYPE } from "./message.ts";

/** What a reply must know of its query. */
export interface Asked {
  /** Bytes of header and question. */
  readonly end: number;
  readonly type: number;
  readonly flags: number;
  readonly edns: boolean;
  readonly wantsAuthentic: boolean;
}

/** Extended DNS error "Blocked" (RFC 8914, section 4.16), and "no extended error". */
export const EDE_BLOCKED = 15;
export const EDE_STALE = 3;
export const EDE_NONE = -1;

/** Seconds that an asker may keep what we made up ourselves: short, so that a changed policy is soon felt. */
const OWN_TTL = 10;
/** RFC 8482, section 4.2: asks for ANY are answered with this, and may keep it for long. */
const ANY_TTL = 3600;

const RESPONSE = 0x80;
const RECURSION_AVAILABLE = 0x80;
const TRUNCATED = 0x02;
const AUTHENTIC = 0x20;
const CHECKING = 0x10;

/** Below this, a loop is faster than a view of the part and `set`. */
const FEW_BYTES = 160;

/** Copies `length` bytes; the two places must not overlap. */
export function copyBytes(
  from: Uint8Array,
  fromAt: number,
  to: Uint8Array,
  toAt: number,
  length: number,
): void {
  if (length > FEW_BYTES) to.set(from.subarray(fromAt, fromAt + length), toAt);
  else for (let index = 0; index < length; index++) to[toAt + index] = from[fromAt + index]!;
}

/** Turns the query header at `target[at]` into that of a reply. RD and CD are echoed, AA is never ours to set. */
export function writeHeader(
  target: Uint8Array,
  at: number,
  rcode: number,
  answers: number,
  authorities: number,
): void {
  target[at + 2] = RESPONSE | (target[at + 2]! & 0x79);
  target[at + 3] = RECURSION_AVAILABLE | (target[at + 3]! & CHECKING) | (rcode & 15);
  target[at + 6] = answers >>> 8;
  target[at + 7] = answers;
  target[at + 8] = authorities >>> 8;
  target[at + 9] = authorities;
  target[at + 10] = 0;
  target[at + 11] = 0;
}

/** Marks a reply as validated by the upstream, for an asker who would understand it. */
export function setAuthentic(target: Uint8Array, at: number): void {
  target[at + 3] = target[at + 3]! | AUTHENTIC;
}

/** Appends our OPT record to the reply of `length` bytes at `target[at]` if the asker spoke EDNS. */
export function appendOpt(
  target: Uint8Array,
  at: number,
  length: number,
  asked: Pick<Asked, "edns" | "flags">,
  udpSize: number,
  extendedRcode: number,
  extendedError: number,
): number {
  if (!asked.edns) return length;
  let to = at + length;
  target[at + 11] = 1;
  target[to++] = 0;
  target[to++] = 0;
  target[to++] = TYPE.OPT;
  target[to++] = udpSize >>> 8;
  target[to++] = udpSize;
  target[to++] = extendedRcode;
  target[to++] = 0;
  target[to++] = (asked.flags & DNSSEC_OK) << 7;
  target[to++] = 0;
  target[to++] = 0;
  if (extendedError === EDE_NONE) {
    target[to++] = 0;
    return to - at;
  }
  target[to++] = 6;
  target[to++] = 0;
  target[to++] = 15;
  target[to++] = 0;
  target[to++] = 2;
  target[to++] = extendedError >>> 8;
  target[to++] = extendedError;
  return to - at;
}

/** A reply without records. The question stays, unless it could not be read (`asked.end` 0). */
export function writeRefusal(
  target: Uint8Array,
  at: number,
  asked: Asked,
  rcode: number,
  udpSize: number,
  extendedError = EDE_NONE,
): number {
  writeHeader(target, at, rcode, 0, 0);
  if (asked.end === 0) {
    target[at + 4] = 0;
    target[at + 5] = 0;
    return HEADER;
  }
  return appendOpt(target, at, asked.end, asked, udpSize, rcode >>> 4, extendedError);
}

/** TC and nothing else: the asker must come again over TCP. */
export function writeTruncated(
  target: Uint8Array,
  at: number,
  asked: Asked,
  rcode: number,
  udpSize: number,
): number {
  writeHeader(target, at, rcode, 0, 0);
  target[at + 2] = target[at + 2]! | TRUNCATED;
  return appendOpt(target, at, asked.end, asked, udpSize, 0, EDE_NONE);
}

/** The answer's sections behind the asker's question; `limit` bytes at most, else a truncated reply. */
export function writeAnswer(
  target: Uint8Array,
  at: number,
  asked: Asked,
  answer: Answer,
  limit: number,
  udpSize: number,
  extendedError = EDE_NONE,
): number {
  const { length } = answer;
  if (length + optRoom(asked, extendedError) > limit)
    return writeTruncated(target, at, asked, answer.rcode, udpSize);
  writeHeader(target, at, answer.rcode, answer.answerCount, answer.authorityCount);
  if (answer.authentic && asked.wantsAuthentic) setAuthentic(target, at);
  const { bytes, questionEnd } = answer;
  copyBytes(bytes, answer.at + questionEnd, target, at + asked.end, length - questionEnd);
  return appendOpt(target, at, length, asked, udpSize, answer.rcode >>> 4, extendedError);
}

/** Bytes that `appendOpt` will take. */
export function optRoom(asked: Asked, extendedError = EDE_NONE): number {
  if (!asked.edns) return 0;
  return extendedError === EDE_NONE ? OPT_SIZE : OPT_SIZE + 6;
}

/** No such name, or (`rcode` NOERROR) no data of this type: with a SOA of our own, so that it is kept for seconds only. */
export function writeNegative(
  target: Uint8Array,
  at: number,
  asked: Asked,
  rcode: number,
  udpSize: number,
  extendedError: number,
): number {
  writeHeader(target, at, rcode, 0, 1);
  let to = record(target, at + asked.end, TYPE.SOA, OWN_TTL, 24);
  target[to++] = 0xc0;
  target[to++] = HEADER;
  target[to++] = 0xc0;
  target[to++] = HEADER;
  for (const value of [1, 3600, 600, 86400, OWN_TTL]) to = word(target, to, value);
  return appendOpt(target, at, to - at, asked, udpSize, 0, extendedError);
}

/** One address record with `address`, for the asker's name. */
export function writeSinkhole(
  target: Uint8Array,
  at: number,
  asked: Asked,
  address: Uint8Array,
  udpSize: number,
): number {
  writeHeader(target, at, RCODE.NOERROR, 1, 0);
  const to = record(target, at + asked.end, asked.type, OWN_TTL, address.length);
  target.set(address, to);
  return appendOpt(target, at, to + address.length - at, asked, udpSize, 0, EDE_BLOCKED);
}

/** RFC 8482, section 4.2: HINFO "RFC8482" "" for an ask for ANY, which then never leaves the host. */
export function writeAnyReply(target: Uint8Array, at: number, asked: Asked, udpSize: number): number {
  writeHeader(target, at, RCODE.NOERROR, 1, 0);
  const text = "RFC8482";
  let to = record(target, at + asked.end, TYPE.HINFO, ANY_TTL, text.length + 2);
  target[to++] = text.length;
  for (let index = 0; index < text.length; index++) target[to++] = text.charCodeAt(index);
  target[to++] = 0;
  return appendOpt(target, at, to - at, asked, udpSize, 0, EDE_NONE);
}

/** The fixed part of a record owned by the question's name; returns where its data goes. */
function record(target: Uint8Array, at: number, type: number, ttl: number, length: number): number {
  let to = at;
  target[to++] = 0xc0;
  target[to++] = HEADER;
  target[to++] = type >>> 8;
  target[to++] = type;
  target[to++] = 0;
  target[to++] = 1;
  to = word(target, to, ttl);
  target[to++] = length >>> 8;
  target[to++] = length;
  return to;
}

function word(target: Uint8Array, at: number, value: number): number {
  target[at] = value >>> 24;
  target[at + 1] = value >>> 16;
  target[at + 2] = value >>> 8;
  target[at + 3] = value;
  return at + 4;
}
