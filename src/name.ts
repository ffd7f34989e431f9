/**
 * Domain names in wire form (RFC 1035, section 3.1): length-prefixed labels that end in the root label. Comparison is
 * ASCII case-insensitive (RFC 4343), so names are folded once and compared as bytes. Labels are bytes: a tunnel sends
 * 8-bit ones, and they survive.
 */
import { domainToASCII } from "node:url";

export const MAX_NAME = 255;
export const MAX_LABEL = 63;

/**
 * Wire form of a presentation name, folded. IDNs become A-labels. `\DDD` and `\X` escapes are understood (RFC 1035,
 * section 5.1). Null when it is no name: empty label, label over 63 or name over 255 bytes.
 */
export function nameToWire(text: string): Uint8Array | null {
  let source = text;
  for (let index = 0; index < source.length; index++) {
    if (source.charCodeAt(index) > 127) {
      source = domainToASCII(source);
      if (source === "") return null;
      break;
    }
  }
  if (source === "." || source === "") return source === "." ? Uint8Array.of(0) : null;
  if (source.endsWith(".") && !source.endsWith("\\.")) source = source.slice(0, -1);
  const wire = new Uint8Array(MAX_NAME + 1);
  let start = 0;
  let end = 1;
  for (let index = 0; index <= source.length; index++) {
    const char = index < source.length ? source[index]! : ".";
    if (char === ".") {
      const length = end - start - 1;
      if (length === 0 || length > MAX_LABEL) return null;
      wire[start] = length;
      start = end++;
      if (end > MAX_NAME) return null;
      continue;
    }
    let byte = char.charCodeAt(0);
    if (char === "\\") {
      const digits = source.slice(index + 1, index + 4);
      if (/^\d{3}$/.test(digits)) {
        byte = Number(digits);
        if (byte > 255) return null;
        index += 3;
      } else {
        if (index + 1 >= source.length) return null;
        byte = source.charCodeAt(++index);
      }
    }
    if (byte >= 65 && byte <= 90) byte |= 32;
    wire[end++] = byte;
    if (end > MAX_NAME) return null;
  }
  return wire.slice(0, start + 1);
}

/** Presentation form of the uncompressed wire name at `offset`, without the final dot; `.` for the root. */
export function wireToName(wire: Uint8Array, offset = 0): string {
  if (wire[offset] === 0) return ".";
  let text = "";
  for (let at = offset; ; ) {
    const length = wire[at]!;
    if (length === 0 || length === undefined) return text;
    if (text !== "") text += ".";
    for (let index = at + 1; index <= at + length; index++) {
      const byte = wire[index]!;
      if (byte === 46 || byte === 92) text += `\\${String.fromCharCode(byte)}`;
      else if (byte > 32 && byte < 127) text += String.fromCharCode(byte);
      else text += `\\${String(byte).padStart(3, "0")}`;
    }
    at += length + 1;
  }
}

/** Bytes of the wire name at `offset`, the root label included. */
export function wireLength(wire: Uint8Array, offset = 0): number {
  let at = offset;
  while (wire[at] !== 0) at += wire[at]! + 1;
  return at + 1 - offset;
}
