/** One address, prefix or range of a list, from its bytes to entries. */
import { isMapped, type Prefix, parseAddress, parsePrefix } from "../../address.ts";
import type { Growing } from "../growing.ts";
import { latin1 } from "./lines.ts";

/** An address entry: 4 or 6, the prefix length, then the address in network order, padded with zeros to 16 bytes. */
export const ADDRESS_ROW = 18;

/** Shorter prefixes name so much of the Internet that a feed cannot mean them. */
const SHORTEST_IPV4 = 8;
const SHORTEST_IPV6 = 16;
const MAX_TEXT = 100;

/** Addresses of one family from `first` to `last`, both included, as numbers of `bits` bits. */
export interface AddressRange {
  readonly bits: 32 | 128;
  readonly first: bigint;
  readonly last: bigint;
}

/**
 * Writes the address, prefix (`1.2.3.0/24`) or range (`1.2.3.4-1.2.3.9`) at `body[start … end)` to `out`, as rows of
 * `ADDRESS_ROW` bytes; host bits of a prefix are cleared, and IPv4-mapped IPv6 addresses become IPv4. Returns how many
 * rows, or why there are none.
 */
export function appendAddresses(body: Uint8Array, start: number, end: number, out: Growing): number | string {
  if (end - start > MAX_TEXT) return "not an address";
  const text = latin1(body, start, end);
  const prefix = parsePrefix(text);
  if (prefix !== null) return appendPrefix(prefix, out);
  const range = parseRange(text);
  if (range === null) return "not an address";
  if (range.last < range.first) return "a range that ends before it begins";
  if (range.last - range.first >= 1n << BigInt(range.bits - shortest(range.bits))) {
    return "a range too long to be meant";
  }
  return appendRange(range, out);
}

/** What the text of an address, prefix or range covers; null when it is none. */
export function parseRange(text: string): AddressRange | null {
  const dash = text.indexOf("-");
  if (dash < 0) {
    const prefix = parsePrefix(text);
    return prefix === null ? null : rangeOf(unmapped(prefix));
  }
  const [from, to] = [text.slice(0, dash), text.slice(dash + 1)].map((part) => parseAddress(part.trim()));
  if (!from || !to) return null;
  const [first, last] = [from, to].map((bytes) => rangeOf(unmapped({ bytes, length: bytes.length * 8 })));
  if (!first || !last || first.bits !== last.bits) return null;
  return { bits: first.bits, first: first.first, last: last.last };
}

/** What the row at `rows[at]` covers. */
export function rangeOfRow(rows: Uint8Array, at: number): AddressRange {
  const bytes = rows.subarray(at + 2, at + 2 + (rows[at] === 4 ? 4 : 16));
  return rangeOf({ bytes, length: rows[at + 1]! });
}

/** Writes the fewest prefixes that cover exactly `range`; returns how many. */
export function appendRange({ bits, first, last }: AddressRange, out: Growing): number {
  let rows = 0;
  for (let at = first; at <= last; rows++) {
    // The largest block that begins here and does not reach past the end.
    let size = 0;
    while (size < bits && (at & ((2n << BigInt(size)) - 1n)) === 0n && at + (2n << BigInt(size)) - 1n <= last)
      size++;
    const bytes = new Uint8Array(bits / 8);
    for (let index = bytes.length - 1, rest = at; index >= 0; index--, rest >>= 8n) {
      bytes[index] = Number(rest & 0xffn);
    }
    appendRow(bytes, bits - size, out);
    at += 1n << BigInt(size);
  }
  return rows;
}

function appendPrefix(prefix: Prefix, out: Growing): number | string {
  const { bytes, length } = unmapped(prefix);
  if (length < shortest(bytes.length === 4 ? 32 : 128)) return "a prefix too short to be meant";
  appendRow(bytes, length, out);
  return 1;
}

function appendRow(bytes: Uint8Array, length: number, out: Growing): void {
  out.reserve(ADDRESS_ROW);
  out.bytes.fill(0, out.length, out.length + ADDRESS_ROW);
  out.bytes[out.length] = bytes.length === 4 ? 4 : 6;
  out.bytes[out.length + 1] = length;
  out.bytes.set(bytes, out.length + 2);
  out.length += ADDRESS_ROW;
}

function unmapped({ bytes, length }: Prefix): Prefix {
  if (bytes.length !== 16 || length < 96 || !isMapped(bytes)) return { bytes, length };
  return { bytes: bytes.subarray(12), length: length - 96 };
}

function rangeOf({ bytes, length }: Prefix): AddressRange {
  const bits = bytes.length === 4 ? 32 : 128;
  let first = 0n;
  for (const byte of bytes) first = (first << 8n) | BigInt(byte);
  return { bits, first, last: first + (1n << BigInt(bits - length)) - 1n };
}

function shortest(bits: 32 | 128): number {
  return bits === 32 ? SHORTEST_IPV4 : SHORTEST_IPV6;
}
