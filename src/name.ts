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
  const source = toASCII(text);
  if (source === null || source === "") return null;
  if (source === ".") return Uint8Array.of(0);
  const wire = new Uint8Array(MAX_NAME + 1);
  let start = 0;
  let end = 1;
  for (let index = 0; index <= source.length; index++) {
    const char = index < source.length ? source[index]! : ".";
    if (char === ".") {
      const length = end - start - 1;
      // The final dot of a fully qualified name has already closed the last label.
      if (length === 0 && index === source.length && start > 0) break;
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

/**
 * Text as A-labels; ASCII is left alone. `domainToASCII` reads its input as the host of a URL: it would cut a path
 * off, undo `%41` and drop line breaks, so what cannot stand in an internationalised name is refused first.
 */
function toASCII(text: string): string | null {
  let ascii = true;
  let plain = true;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 127) ascii = false;
    else if (!NAME_CHARACTERS.has(code)) plain = false;
  }
  if (ascii) return text;
  const converted = plain ? domainToASCII(text) : "";
  return converted === "" ? null : converted;
}
const NAME_CHARACTERS: ReadonlySet<number> = new Set(
  Array.from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*", (char) =>
    char.charCodeAt(0),
  ),
);

/** Presentation form of the uncompressed wire name at `offset`, without the final dot; `.` for the root. */
export function wireToName(wire: Uint8Array, offset = 0): string {
  if (wire[offset] === 0) return ".";
  let text = "";
  for (let at = offset; ; ) {
    const length = at < wire.length ? wire[at]! : 0;
    if (length === 0) return text;
    if (text !== "") text += ".";
    const end = Math.min(at + length, wire.length - 1);
    for (let index = at + 1; index <= end; index++) {
      const byte = wire[index]!;
      if (byte === 46 || byte === 92) text += `\\${String.fromCharCode(byte)}`;
      else if (byte > 32 && byte < 127) text += String.fromCharCode(byte);
      else text += `\\${String(byte).padStart(3, "0")}`;
    }
    at += length + 1;
  }
}

/** Bytes of the wire name at `offset`, the root label included; ends with the array when the root label is missing. */
export function wireLength(wire: Uint8Array, offset = 0): number {
  let at = offset;
  while (at < wire.length && wire[at] !== 0) at += wire[at]! + 1;
  return Math.min(at + 1, wire.length) - offset;
}
