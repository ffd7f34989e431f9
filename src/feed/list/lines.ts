/** Lines of a list, as places in its bytes. */
import { FeedBodyError } from "./body.ts";

export const LF = 10;
export const DOT = 46;
/** Longer lines are refused where a format reads them as text. */
export const MAX_LINE = 16 * 1024;

/** Lines of a list: four times the longest that is published. Each may become an entry, which costs memory. */
export const MAX_LINES = 20_000_000;

/** What begins a comment in most lists: `#`, `!` and `;`. */
export const COMMENTS: ReadonlySet<number> = new Set([..."#!;"].map((char) => char.charCodeAt(0)));
export const NO_COMMENTS: ReadonlySet<number> = new Set();

/** `start` and `end` of a line, its outer blanks cut off; its number, from 1; whether it began with a blank. */
export type OnLine = (start: number, end: number, line: number, indented: boolean) => void;

/** Takes lines that begin at `at`, as many in a row as are nothing special, `most` at most. */
export type TakeLines = (at: number, most: number) => Taken;

export interface Taken {
  /** Where the line begins that was not taken. */
  readonly next: number;
  readonly lines: number;
}

/**
 * Calls back for every line that is neither blank nor a comment, nor one that `take` takes: reading a usual line needs far
 * less than telling what an unusual one is. A byte order mark is no part of the first. Throws `FeedBodyError` for more than
 * `MAX_LINES`, blank ones and comments among them.
 */
export function forEachLine(
  body: Uint8Array,
  comments: ReadonlySet<number>,
  onLine: OnLine,
  take?: TakeLines,
): void {
  let at = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
  for (let line = 1; at < body.length; line++) {
    if (take !== undefined) {
      const { next, lines } = take(at, MAX_LINES + 1 - line);
      at = next;
      line += lines;
      if (at >= body.length) return;
    }
    if (line > MAX_LINES) throw new FeedBodyError(`it has more than ${MAX_LINES} lines`);
    let next = body.indexOf(LF, at);
    if (next < 0) next = body.length;
    let start = at;
    let end = next;
    while (start < end && isBlank(body[start]!)) start++;
    while (end > start && isBlank(body[end - 1]!)) end--;
    if (start < end && !comments.has(body[start]!)) onLine(start, end, line, start > at);
    at = next + 1;
  }
}

export function isBlank(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** Where the word that begins at `from` ends. */
export function wordEnd(body: Uint8Array, from: number, end: number): number {
  let to = from;
  while (to < end && !isBlank(body[to]!)) to++;
  return to;
}

/** Where the next word begins; `end` when there is none. */
export function skipBlanks(body: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && isBlank(body[at]!)) at++;
  return at;
}

/** Whether what follows an entry is nothing, or a comment behind a blank. */
export function isCommentOrEmpty(body: Uint8Array, from: number, end: number): boolean {
  const at = skipBlanks(body, from, end);
  return at >= end || COMMENTS.has(body[at]!);
}

/** The bytes as text, one character each. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}

/**
 * `text` up to the first of `marks` that begins it or stands behind a blank, without the blanks before that: what a trailing
 * comment leaves. Takes one look at each character, however many blanks there are.
 */
export function beforeComment(text: string, marks: string): string {
  if (!Array.from(marks).some((mark) => text.includes(mark))) return text.trimEnd();
  for (let at = 0; at < text.length; at++) {
    if (marks.includes(text[at]!) && (at === 0 || isBlank(text.charCodeAt(at - 1))))
      return text.slice(0, at).trimEnd();
  }
  return text.trimEnd();
}
