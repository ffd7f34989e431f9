/**
 * Plain lists as the Internet serves them, from bytes to entries. A line that is no entry is counted and sampled, never
 * guessed at; a body that is no list at all (a web page, an archive, another format) is refused as a whole, so that the
 * last good list stays in use. Nothing here throws but `FeedBodyError`, whatever the bytes.
 */
import { domainToASCII } from "node:url";
import { getPublicSuffix } from "tldts";
import { isMapped, parsePrefix } from "../address.ts";
import { MAX_LABEL, MAX_NAME } from "../name.ts";
import { Growing } from "./growing.ts";

/** Why a whole body was refused; `message` is lower case and complete. */
export class FeedBodyError extends Error {
  override readonly name = "FeedBodyError";
}

/** The entries of one list, and what was refused. Plain data. */
export interface ParsedList {
  /**
   * Domains: folded ASCII text without the final dot, each name ended by a line feed; a leading dot marks a name that
   * stands for everything below it too. Addresses: rows of `ADDRESS_ROW` bytes.
   */
  readonly entries: Uint8Array;
  readonly count: number;
  /** Lines that were no entry, and the first few of them as `line N: text: reason`. */
  readonly refused: number;
  readonly samples: readonly string[];
}

/** An address entry: 4 or 6, the prefix length, then the address in network order, padded with zeros to 16 bytes. */
export const ADDRESS_ROW = 18;

/** Bytes of a body that are read at most; a longer one is refused. */
export const MAX_BODY = 512 * 1024 * 1024;
const MAX_LINE = 1024;
const MAX_SAMPLES = 5;
const MAX_SAMPLE_TEXT = 80;
/** Shorter prefixes name so much of the Internet that a feed cannot mean them. */
const SHORTEST_IPV4 = 8;
const SHORTEST_IPV6 = 16;

const LF = 10;
const DOT = 46;
const STAR = 42;
const COMMENT = new Set([..."#!;"].map((char) => char.charCodeAt(0)));

/** Byte to the byte kept in a name: letters folded, digits, `-`, `_` and `.`; 0 for all others. */
const NAME_BYTE: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 65 && byte <= 90) return byte + 32;
  return /[a-z0-9_.-]/.test(String.fromCharCode(byte)) ? byte : 0;
});

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * A plain-domain list: one name a line; `#`, `!` and `;` begin comments, at the start of a line or after a blank.
 * `match`: whether names stand for everything below them; a name written `*.name` or `.name` always does.
 * Refused: addresses, ports, URLs, single labels, public suffixes (see `isPublicSuffix`), several names on a line.
 */
export function parseDomains(body: Uint8Array, match: "suffix" | "exact"): ParsedList {
  const out = new Growing(body.length + 1024);
  const refused = new Refused();
  let count = 0;
  forEachLine(body, (start, end, line) => {
    const mark = out.length;
    const reason = domainLine(body, start, end, match === "suffix", out);
    if (reason === null) {
      count++;
      return;
    }
    out.length = mark;
    refused.add(body, start, end, line, reason);
  });
  refused.checkBody(count, "domain name");
  return { entries: out.content(), count, refused: refused.count, samples: refused.samples };
}

/**
 * A plain-address list: one IPv4 or IPv6 address or CIDR prefix a line, comments as in `parseDomains`. Host bits of a
 * prefix are cleared; IPv4-mapped IPv6 addresses become IPv4. Refused: ports, ranges, names, octets with leading zeros,
 * and prefixes shorter than /8 (IPv4) or /16 (IPv6).
 */
export function parseAddresses(body: Uint8Array): ParsedList {
  const out = new Growing(ADDRESS_ROW * 1024);
  const refused = new Refused();
  let count = 0;
  forEachLine(body, (start, end, line) => {
    const reason = addressLine(body, start, end, out);
    if (reason === null) count++;
    else refused.add(body, start, end, line, reason);
  });
  refused.checkBody(count, "address");
  return { entries: out.content(), count, refused: refused.count, samples: refused.samples };
}

/**
 * Whether to list `name` would be to list a registry or a hoster: it is a rule of the public suffix list (`co.uk`,
 * `github.io`), or a suffix in use below a wildcard rule of its ICANN section (`x.ck`). A name below a wildcard rule of
 * the private section (`x.localto.net`) belongs to one customer, and feeds rightly list those. Folded ASCII.
 */
export function isPublicSuffix(name: string): boolean {
  if (getPublicSuffix(name, PRIVATE) !== name) return false;
  if (getPublicSuffix(name, ICANN) === name) return true;
  // No rule names this label, so a suffix that it makes comes from a wildcard.
  const wildcard = `0-no-rule-names-this-0${name.slice(name.indexOf("."))}`;
  return getPublicSuffix(wildcard, PRIVATE) !== wildcard;
}
const PLAIN = { extractHostname: false, validateHostname: false, detectIp: false };
const ICANN = { ...PLAIN, allowPrivateDomains: false };
const PRIVATE = { ...PLAIN, allowPrivateDomains: true };

// ------------------------------------------------------------------------------------------------ lines

/** Writes the entry of one line to `out`; or says why it is none (then `out` holds rubbish behind its old length). */
function domainLine(
  body: Uint8Array,
  start: number,
  end: number,
  suffix: boolean,
  out: Growing,
): string | null {
  let at = start;
  let below = suffix;
  if (body[at] === STAR && body[at + 1] === DOT) at++;
  if (body[at] === DOT) {
    at++;
    below = true;
  }
  out.reserve(MAX_NAME + 2);
  if (below) out.bytes[out.length++] = DOT;
  const first = out.length;
  let labels = 0;
  let labelStart = first;
  let to = at;
  for (; to < end && !isBlank(body[to]!); to++) {
    const byte = NAME_BYTE[body[to]!]!;
    if (byte === 0) {
      if (body[to]! > 127) {
        out.length = first;
        return unicodeLine(body, at, end, out);
      }
      return body[to] === 58 || body[to] === 47 ? "a URL or port, not a domain name" : "not a domain name";
    }
    if (byte === DOT) {
      const length = out.length - labelStart;
      if (length === 0) return "empty label";
      if (length > MAX_LABEL) return "label over 63 bytes";
      // The dot at the very end is that of the root.
      if (to + 1 === end || isBlank(body[to + 1]!)) continue;
      labels++;
      labelStart = out.length + 1;
    }
    if (out.length - first >= MAX_NAME - 2) return "name over 255 bytes";
    out.bytes[out.length++] = byte;
  }
  if (out.length - labelStart > MAX_LABEL) return "label over 63 bytes";
  if (out.length === labelStart) return "empty label";
  if (!isCommentOrEmpty(body, to, end)) return "more than one name";
  if (labels === 0) return "a single label";
  if (endsInNumber(out, labelStart)) return "an address, not a domain name";
  if (isPublicSuffix(out.text(first))) return "a public suffix";
  out.bytes[out.length++] = LF;
  return null;
}

/** The same for a name in Unicode, whose labels become A-labels. `out` already holds the mark for everything below. */
function unicodeLine(body: Uint8Array, start: number, end: number, out: Growing): string | null {
  let to = start;
  while (to < end && !isBlank(body[to]!)) to++;
  let name: string;
  try {
    name = utf8.decode(body.subarray(start, to));
  } catch {
    return "not UTF-8";
  }
  // What URL parsing would decode or strip is no part of a name.
  if (/[\0-,/:-@[-^`{-\u007f]/.test(name)) return "not a domain name";
  const ascii = Buffer.from(domainToASCII(name), "latin1");
  const scratch = new Growing(ascii.length + MAX_NAME + 2);
  const reason =
    ascii.length === 0 ? "not a domain name" : domainLine(ascii, 0, ascii.length, false, scratch);
  if (reason !== null) return reason;
  if (!isCommentOrEmpty(body, to, end)) return "more than one name";
  out.append(scratch.bytes.subarray(0, scratch.length));
  return null;
}

function addressLine(body: Uint8Array, start: number, end: number, out: Growing): string | null {
  let to = start;
  while (to < end && !isBlank(body[to]!)) to++;
  if (to - start > 64) return "not an address";
  const prefix = parsePrefix(latin1(body, start, to));
  if (prefix === null) return "not an address";
  if (!isCommentOrEmpty(body, to, end)) return "more than one address";
  let { bytes, length } = prefix;
  if (bytes.length === 16 && length >= 96 && isMapped(bytes)) {
    bytes = bytes.subarray(12);
    length -= 96;
  }
  const ipv4 = bytes.length === 4;
  if (length < (ipv4 ? SHORTEST_IPV4 : SHORTEST_IPV6)) return "a prefix too short to be meant";
  const row = new Uint8Array(ADDRESS_ROW);
  row[0] = ipv4 ? 4 : 6;
  row[1] = length;
  row.set(bytes, 2);
  out.append(row);
  return null;
}

/** Calls back for every line that is neither blank nor a comment, its outer blanks cut off. Lines count from 1. */
function forEachLine(body: Uint8Array, onLine: (start: number, end: number, line: number) => void): void {
  checkBody(body);
  let at = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
  for (let line = 1; at < body.length; line++) {
    let next = body.indexOf(LF, at);
    if (next < 0) next = body.length;
    let start = at;
    let end = next;
    while (start < end && isBlank(body[start]!)) start++;
    while (end > start && isBlank(body[end - 1]!)) end--;
    if (start < end && !COMMENT.has(body[start]!)) onLine(start, end, line);
    at = next + 1;
  }
}

/** Throws for a body that is a web page, an archive or another binary, or too long. */
function checkBody(body: Uint8Array): void {
  if (body.length > MAX_BODY) throw new FeedBodyError(`the body is longer than ${MAX_BODY} bytes`);
  if (body.includes(0)) throw new FeedBodyError("the body is binary, not a text list");
  const head = body.subarray(0, 4096);
  for (const byte of head) {
    if (byte < 9 || (byte > 13 && byte < 32)) throw new FeedBodyError("the body is binary, not a text list");
  }
  if (/^(?:ï»¿)?\s*</.test(latin1(head, 0, head.length))) {
    throw new FeedBodyError("the body is a web page (HTML or XML), not a list");
  }
}

class Refused {
  count = 0;
  readonly samples: string[] = [];

  add(body: Uint8Array, start: number, end: number, line: number, reason: string): void {
    this.count++;
    if (this.samples.length >= MAX_SAMPLES) return;
    const why = end - start > MAX_LINE ? "line too long" : reason;
    const cut = end - start > MAX_SAMPLE_TEXT;
    const text = latin1(body, start, cut ? start + MAX_SAMPLE_TEXT : end);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: samples reach a terminal, so control bytes are what is replaced
    const shown = text.replace(/[\x00-\x1f\x7f-\xff]/g, (char) => {
      return `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
    });
    this.samples.push(`line ${line}: ${shown}${cut ? "…" : ""}: ${why}`);
  }

  /** A body of which no line is an entry is of another format, and must not empty the feed. */
  checkBody(count: number, noun: string): void {
    if (count > 0 || this.count === 0) return;
    const lines = this.count === 1 ? "its only line" : `none of its ${this.count} lines`;
    const verb = this.count === 1 ? "is not" : "is";
    throw new FeedBodyError(`${lines} ${verb} an entry (${noun} expected): ${this.samples[0]}`);
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}

function isBlank(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** Whether what follows an entry is nothing, or a comment behind a blank. */
function isCommentOrEmpty(body: Uint8Array, from: number, end: number): boolean {
  let at = from;
  while (at < end && isBlank(body[at]!)) at++;
  return at >= end || COMMENT.has(body[at]!);
}

/** Whether the last label is a number, so that the text is an address or nothing (no such top-level domain exists). */
function endsInNumber(out: Growing, labelStart: number): boolean {
  const first = out.bytes[labelStart]!;
  return first >= 48 && first <= 57 && /^(?:\d+|0x[0-9a-f]*)$/.test(out.text(labelStart));
}
