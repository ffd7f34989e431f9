/** How many bytes of data a label may carry. */
import { chanceBits } from "./lexical.ts";

/** Letters from this length on that look like chance are taken for data; shorter ones may be any abbreviation. */
export const SHORT = 12;
/** Below this length a label says nothing at all. */
const SHORTEST = 4;
/** What a byte of an ordinary word, or of a short label, is worth. */
export const WORD = 0.25;
/** Bytes a decimal digit can carry: log2(10) / 8. Addresses in DNS block lists and of pods are such labels. */
const DECIMAL = 0.415;

/**
 * What the last label that `labelPayload` looked at is: hexadecimal throughout, or with bytes that are not ASCII. `short`: its
 * length where that is too short for it to be judged alone, else 0; then `bits` is the evidence (lexical.ts) that it was drawn.
 */
export const label = { hexadecimal: false, binary: false, short: 0, bits: 0 };

/**
 * Bytes of data in the folded label of `length` bytes at `start`, from nearly nothing (a word, a number, one character) to
 * `length`. Hexadecimal digits count in full, and `label.hexadecimal` is set.
 */
export function labelPayload(bytes: Uint8Array, start: number, length: number): number {
  let digits = 0;
  let hyphens = 0;
  let letters = 0;
  label.binary = false;
  label.short = 0;
  for (let at = start; at < start + length; at++) {
    const byte = bytes[at]!;
    if (byte >= 48 && byte <= 57) digits++;
    else if (byte === 45) hyphens++;
    else if (byte >= 97 && byte <= 102) letters++;
    else if (byte > 127) label.binary = true;
  }
  label.hexadecimal = digits > 0 && letters > 0 && length >= 8 && digits + letters + hyphens === length;
  if (label.binary) return length;
  if (length === 1) return WORD;
  if (digits + hyphens === length) return length * DECIMAL;
  if (label.hexadecimal) return length;
  // RFC 8552: names of services and protocols.
  if (length < SHORTEST || bytes[start] === 95) return length * WORD;
  const bits = chanceBits(bytes, start, length);
  if (length >= SHORT) return bits > 0 ? length : length * WORD;
  label.short = length;
  label.bits = bits;
  return length * WORD;
}

/** Bytes of data in all labels of a folded wire name. */
export function namePayload(name: Uint8Array): number {
  let payload = 0;
  for (let at = 0; at < name.length && name[at] !== 0; at += name[at]! + 1)
    payload += labelPayload(name, at + 1, name[at]!);
  return payload;
}
