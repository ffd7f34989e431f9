/**
 * One name, address, prefix or range a line; `#`, `!` and `;` begin comments, at the start of a line or after a blank.
 * Also what Spamhaus (`1.2.3.0/24 ; SBL123`), FireHOL (netsets), CrowdSec and ipsum publish. Refused: ports, URLs, single
 * labels, public suffixes, several names on a line.
 */
import type { ListEntries } from "./entries.ts";
import { type ListFormat, share } from "./format.ts";
import { COMMENTS, isCommentOrEmpty, skipBlanks, wordEnd } from "./lines.ts";

const DASH = 45;
/** A word that may be a name or address, alone on its line. Less specific than any other format. */
const WORD = /^[\w.*:/\x80-\xff-]+(?:\s*-\s*[\d.:a-f]+)?(?:\s+[#!;].*)?$/i;

export const plain: ListFormat = {
  name: "plain",
  match: "suffix",
  score: ({ lines }) => share(lines, WORD) * 0.9,
  read(body, out) {
    out.readNameLines(body, COMMENTS, (start, end) => plainLine(body, start, end, out));
  },
};

/** Takes one line of a plain list; null, or why it is no entry. */
export function plainLine(body: Uint8Array, start: number, end: number, out: ListEntries): string | null {
  let to = wordEnd(body, start, end);
  if (out.kind === "address") to = rangeEnd(body, to, end);
  if (!isCommentOrEmpty(body, to, end)) {
    if (out.kind === "address") return "more than one address";
    return "more than one name";
  }
  return out.add(body, start, to);
}

/** The end of `1.2.3.4 - 1.2.3.9`, which is one entry written as three words. */
function rangeEnd(body: Uint8Array, first: number, end: number): number {
  const dash = skipBlanks(body, first, end);
  if (body[dash] !== DASH || dash >= end) return first;
  return wordEnd(body, skipBlanks(body, dash + 1, end), end);
}
