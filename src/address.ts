/** IP addresses as bytes in network order: 4 or 16 of them. Text follows RFC 4291 on input and RFC 5952 on output. */
import { isIPv6 } from "node:net";

/** Bytes of an address, or null when `text` is none (a zone `%eth0` is not accepted). */
export function parseAddress(text: string): Uint8Array | null {
  const ipv4 = parseIPv4(text);
  if (ipv4 !== null) return ipv4;
  if (!isIPv6(text) || text.includes("%")) return null;
  let hex = text;
  const lastColon = hex.lastIndexOf(":");
  const tail = hex.slice(lastColon + 1);
  if (tail.includes(".")) {
    const [a = 0, b = 0, c = 0, d = 0] = tail.split(".").map(Number);
    hex = `${hex.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [head = "", rest] = hex.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = rest === undefined || rest === "" ? [] : rest.split(":");
  const groups =
    rest === undefined
      ? left
      : [...left, ...new Array<string>(8 - left.length - right.length).fill("0"), ...right];
  const bytes = new Uint8Array(16);
  groups.forEach((group, index) => {
    const value = Number.parseInt(group, 16);
    bytes[index * 2] = value >>> 8;
    bytes[index * 2 + 1] = value & 255;
  });
  return bytes;
}

/** The same as events have it: of an IPv4-mapped address the four bytes of the IPv4 address that it stands for. */
export function parseDestination(text: string): Uint8Array | null {
  const bytes = parseAddress(text);
  return bytes?.length === 16 && isMapped(bytes) ? bytes.slice(12) : bytes;
}

/** Four decimal numbers without leading zeros; lists have millions of them, so no strings are made. */
function parseIPv4(text: string): Uint8Array | null {
  if (text.length < 7 || text.length > 15) return null;
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = 0;
  let digits = 0;
  for (let index = 0; index <= text.length; index++) {
    const code = index < text.length ? text.charCodeAt(index) : 46;
    if (code === 46) {
      if (digits === 0 || part === 4) return null;
      bytes[part++] = value;
      value = 0;
      digits = 0;
      continue;
    }
    if (code < 48 || code > 57 || (digits > 0 && value === 0)) return null;
    value = value * 10 + code - 48;
    digits++;
    if (value > 255) return null;
  }
  return part === 4 ? bytes : null;
}

/** Text of the 4 or 16 bytes at `offset`. */
export function formatAddress(bytes: Uint8Array, offset = 0, length = bytes.length - offset): string {
  if (length === 4) return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
  if (isMapped(bytes, offset)) return `::ffff:${formatAddress(bytes, offset + 12, 4)}`;
  const group = (index: number): number => (bytes[offset + index * 2]! << 8) | bytes[offset + index * 2 + 1]!;
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; ) {
    if (group(start) !== 0) {
      start++;
      continue;
    }
    let end = start;
    while (end < 8 && group(end) === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
    start = end;
  }
  let text = "";
  for (let index = 0; index < 8; index++) {
    if (index === bestStart) {
      text += "::";
      index += bestLength - 1;
      continue;
    }
    if (text !== "" && !text.endsWith(":")) text += ":";
    text += group(index).toString(16);
  }
  return text;
}

/** Whether the 16 bytes at `offset` are an IPv4-mapped address (::ffff:0:0/96). */
export function isMapped(bytes: Uint8Array, offset = 0): boolean {
  for (let index = 0; index < 10; index++) if (bytes[offset + index] !== 0) return false;
  return bytes[offset + 10] === 255 && bytes[offset + 11] === 255;
}

/** The four bytes at `offset` as an unsigned number, most significant first: a key for maps. */
export function ipv4Key(bytes: Uint8Array, offset = 0): number {
  return (
    ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>>
    0
  );
}

/** The sixteen bytes at `offset` as a string of eight UTF-16 units: a key for maps, not for people. */
export function ipv6Key(bytes: Uint8Array, offset = 0): string {
  return String.fromCharCode(
    (bytes[offset]! << 8) | bytes[offset + 1]!,
    (bytes[offset + 2]! << 8) | bytes[offset + 3]!,
    (bytes[offset + 4]! << 8) | bytes[offset + 5]!,
    (bytes[offset + 6]! << 8) | bytes[offset + 7]!,
    (bytes[offset + 8]! << 8) | bytes[offset + 9]!,
    (bytes[offset + 10]! << 8) | bytes[offset + 11]!,
    (bytes[offset + 12]! << 8) | bytes[offset + 13]!,
    (bytes[offset + 14]! << 8) | bytes[offset + 15]!,
  );
}

export interface Prefix {
  readonly bytes: Uint8Array;
  /** Bits that count, 0–32 or 0–128. */
  readonly length: number;
}

/** `10.0.0.0/8`, `2001:db8::/32`, or a bare address (all bits). Host bits are cleared. Null when it is neither. */
export function parsePrefix(text: string): Prefix | null {
  const slash = text.indexOf("/");
  const bytes = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (bytes === null) return null;
  const bits = bytes.length * 8;
  if (slash < 0) return { bytes, length: bits };
  const suffix = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(suffix) || Number(suffix) > bits) return null;
  const length = Number(suffix);
  for (let index = 0; index < bytes.length; index++) {
    const keep = Math.max(0, Math.min(8, length - index * 8));
    bytes[index] = bytes[index]! & (0xff00 >> keep) & 0xff;
  }
  return { bytes, length };
}

/** Whether the address at `bytes[offset]` (of the prefix's family) lies inside `prefix`. */
export function prefixContains(prefix: Prefix, bytes: Uint8Array, offset = 0): boolean {
  const whole = prefix.length >> 3;
  for (let index = 0; index < whole; index++) if (bytes[offset + index] !== prefix.bytes[index]) return false;
  const rest = prefix.length & 7;
  if (rest === 0) return true;
  const mask = (0xff00 >> rest) & 0xff;
  return (bytes[offset + whole]! & mask) === (prefix.bytes[whole]! & mask);
}

/**
 * Prefixes that are not the Internet on any host: RFC 1122 (0/8, 127/8), 1918, 6598 (100.64/10), 3927, 5771, 919; RFC 4291, 4193. Those of the documentation
 * are not among them.
 */
export const NEVER_INTERNET: readonly string[] = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "224.0.0.0/4",
  "255.255.255.255/32",
  "::/128",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
  "ff00::/8",
];
