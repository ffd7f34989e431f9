/** One domain name of a list, from its bytes to an entry. */
import { domainToASCII } from "node:url";
import { MAX_LABEL, MAX_NAME } from "../../name.ts";
import { Growing } from "../growing.ts";
import { MAX_BODY } from "./body.ts";
import { DOT, LF, type Taken } from "./lines.ts";
import { isPublicSuffix, mayBePublicSuffix } from "./public-suffix.ts";

export { isPublicSuffix } from "./public-suffix.ts";

const STAR = 42;
const CR = 13;

/** Byte to the byte kept in a name: letters folded, digits, `-`, `_` and `.`; 0 for all others. */
const NAME_BYTE: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 65 && byte <= 90) return byte + 32;
  return /[a-z0-9_.-]/.test(String.fromCharCode(byte)) ? byte : 0;
});

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Writes the name at `body[start … end)` to `out` as folded ASCII without the final dot, ended by a line feed, with a dot
 * before it when it stands for everything below it too: with `below`, or where it is written `*.name` or `.name`.
 * Returns null, or why it is no name that can be listed (then `out` is as it was).
 */
export function appendName(
  body: Uint8Array,
  start: number,
  end: number,
  below: boolean,
  out: Growing,
): string | null {
  const mark = out.length;
  const reason = append(body, start, end, below, out);
  if (reason !== null) out.length = mark;
  return reason;
}

/**
 * The same for the lines from `body[at]` on, `most` at most, until one is no name as most are written: with two labels or more
 * from its first byte to its line feed (CR LF too), that may be no public suffix nor an address. What it is, `appendName` tells.
 */
export function appendNameLines(
  body: Uint8Array,
  at: number,
  below: boolean,
  out: Growing,
  most: number,
): Taken {
  let next = at;
  let lines = 0;
  for (; lines < most && next < body.length && out.length <= MAX_BODY; lines++) {
    out.reserve(MAX_NAME + 2);
    const { bytes } = out;
    let to = out.length;
    if (below) bytes[to++] = DOT;
    const first = to;
    let label = first;
    let second = first;
    let from = next;
    // Where the line feed stands at the latest. One read outside of the body would make all others take twice as long.
    const last = Math.min(next + MAX_NAME - 2, body.length - 1);
    for (; from < last; from++) {
      const byte = NAME_BYTE[body[from]!]!;
      if (byte === 0) break;
      bytes[to++] = byte;
      if (byte !== DOT) continue;
      const length = to - 1 - label;
      if (length === 0 || length > MAX_LABEL) return { next, lines };
      if (label === first) second = to;
      label = to;
    }
    if (body[from] === CR && from + 1 < body.length) from++;
    if (body[from] !== LF || label === first || to === label || to - label > MAX_LABEL) break;
    if (isDigit(bytes[label]!) || mayBePublicSuffix(bytes, first, second, to)) break;
    bytes[to++] = LF;
    out.length = to;
    next = from + 1;
  }
  return { next, lines };
}

function append(body: Uint8Array, start: number, end: number, suffix: boolean, out: Growing): string | null {
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
  const { bytes } = out;
  let to = first;
  let labels = 0;
  let labelStart = first;
  let second = first;
  for (let from = at; from < end; from++) {
    const byte = NAME_BYTE[body[from]!]!;
    if (byte === 0) {
      if (body[from]! > 127) return appendUnicode(body, at, end, out);
      return body[from] === 58 || body[from] === 47
        ? "a URL or port, not a domain name"
        : "not a domain name";
    }
    if (byte === DOT) {
      const length = to - labelStart;
      if (length === 0) return "empty label";
      if (length > MAX_LABEL) return "label over 63 bytes";
      // The dot at the very end is that of the root.
      if (from + 1 === end) continue;
      labelStart = to + 1;
      if (labels++ === 0) second = labelStart;
    }
    if (to - first >= MAX_NAME - 2) return "name over 255 bytes";
    bytes[to++] = byte;
  }
  if (to - labelStart > MAX_LABEL) return "label over 63 bytes";
  if (to === labelStart) return "empty label";
  if (labels === 0) return "a single label";
  out.length = to;
  if (endsInNumber(out, labelStart)) return "an address, not a domain name";
  if (mayBePublicSuffix(bytes, first, second, to) && isPublicSuffix(out.text(first)))
    return "a public suffix";
  out.bytes[out.length++] = LF;
  return null;
}

/** The same for a name in Unicode, whose labels become A-labels. `out` already holds the mark for everything below. */
function appendUnicode(body: Uint8Array, start: number, end: number, out: Growing): string | null {
  if (end - start > MAX_NAME * 4) return "name over 255 bytes";
  let name: string;
  try {
    name = utf8.decode(body.subarray(start, end));
  } catch {
    return "not UTF-8";
  }
  // What URL parsing would decode or strip is no part of a name.
  if (/[\0-,/:-@[-^`{-\u007f]/.test(name)) return "not a domain name";
  const ascii = Buffer.from(domainToASCII(name), "latin1");
  if (ascii.length === 0) return "not a domain name";
  // A full stop of another script: it is not the mark that `append` would take it for.
  if (ascii[0] === DOT) return "empty label";
  const scratch = new Growing(ascii.length + MAX_NAME + 2);
  const reason = append(ascii, 0, ascii.length, false, scratch);
  if (reason === null) out.append(scratch.bytes.subarray(0, scratch.length));
  return reason;
}

/** Whether the last label is a number, so that the text is an address or nothing (no such top-level domain exists). */
function endsInNumber(out: Growing, labelStart: number): boolean {
  return isDigit(out.bytes[labelStart]!) && /^(?:\d+|0x[0-9a-f]*)$/.test(out.text(labelStart));
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}
