/** How many bytes of data a label may carry. */
import { chanceBits } from "./lexical.ts";

/** Letters above this length that look like chance are taken for data; shorter ones may be any abbreviation. */
const SHORT = 12;
/** What a byte of an ordinary word, or of a short label, is worth. */
const WORD = 0.25;
/** Bytes a decimal digit can carry: log2(10) / 8. Addresses in DNS block lists are such labels. */
const DECIMAL = 0.415;

/** What the last label that `labelPayload` looked at is: hexadecimal throughout, or with bytes that are not ASCII. */
export const label = { hexadecimal: false, binary: false };

/**
 * Bytes of data in the folded label of `length` bytes at `start`, from nearly nothing (a word, a number, one character) to
 * `length`. Hexadecimal digits count in full, and `label.hexadecimal` is set.
 */
export function labelPayload(bytes: Uint8Array, start: number, length: number): number {
  let digits = 0;
  let hexadecimal = 0;
  label.binary = false;
  for (let at = start; at < start + length; at++) {
    const byte = bytes[at]!;
    if (byte >= 48 && byte <= 57) digits++;
    else if ((byte >= 97 && byte <= 102) || byte === 45) hexadecimal++;
    else if (byte > 127) label.binary = true;
  }
  label.hexadecimal = digits > 0 && length >= 8 && digits + hexadecimal === length;
  if (label.binary) return length;
  if (length === 1) return WORD;
  if (digits === length) return length * DECIMAL;
  if (label.hexadecimal) return length;
  return length >= SHORT && chanceBits(bytes, start, length) > 0 ? length : length * WORD;
}
