/**
 * How much a label looks like chance. A model of pairs of characters, learned from ordinary names, says how many bits a
 * label costs whoever expects words; what was drawn evenly from an alphabet costs log2 of its size a character. The
 * difference of the two is the evidence, in bits, that the label is no word. All functions take wire bytes, folded, allocate
 * nothing and take any bytes.
 */
import { LETTER_PAIRS } from "./letter-pairs.ts";

/** The edge of a label, a to z, hyphen and underscore, a digit, any other byte. */
export const CLASSES = 30;
const HYPHEN = 27;
export const DIGIT = 28;
export const OTHER = 29;

const CLASS_OF: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 97 && byte <= 122) return byte - 96;
  if (byte >= 65 && byte <= 90) return byte - 64;
  if (byte >= 48 && byte <= 57) return DIGIT;
  return byte === 45 || byte === 95 ? HYPHEN : OTHER;
});

export function classOf(byte: number): number {
  return CLASS_OF[byte]!;
}

const COST: Uint8Array = Uint8Array.from(LETTER_PAIRS, (char) => {
  const code = char.charCodeAt(0);
  if (code >= 97) return code - 97 + 36;
  if (code >= 65) return code - 65 + 10;
  if (code >= 48) return code - 48;
  return char === "+" ? 62 : 63;
});

/** Bits that the label of `length` bytes at `start` costs whoever expects ordinary names. */
export function wordBits(bytes: Uint8Array, start: number, length: number): number {
  let quarters = 0;
  let before = 0;
  for (let at = start; at < start + length; at++) {
    const next = CLASS_OF[bytes[at]!]!;
    quarters += COST[before * CLASSES + next]!;
    before = next;
  }
  return (quarters + COST[before * CLASSES]!) / 4;
}

const LETTERS = Math.log2(26);
const ALPHANUMERIC = Math.log2(36);

/** Evidence in bits that the label was drawn from letters, or letters and digits, evenly: positive for chance, negative for words. */
export function chanceBits(bytes: Uint8Array, start: number, length: number): number {
  let digits = 0;
  for (let at = start; at < start + length; at++) if (CLASS_OF[bytes[at]!] === DIGIT) digits++;
  return wordBits(bytes, start, length) - length * (digits === 0 ? LETTERS : ALPHANUMERIC);
}
