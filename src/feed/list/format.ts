/** What every list format has in common, and how well one fits the first lines of a body. */
import type { FeedSource, ListFormatName } from "../types.ts";
import type { ListEntries } from "./entries.ts";
import { forEachLine, latin1, NO_COMMENTS } from "./lines.ts";

export interface ListFormat {
  readonly name: ListFormatName;
  /** What its names stand for where the feed has no `match` of its own. */
  readonly match: FeedSource["match"];
  /** How well it explains a sample: 0 (not at all) to 1 (all of it). */
  readonly score: (sample: ListSample) => number;
  /** Hands every entry, exception and refusal to `out`. Throws nothing but `FeedBodyError`. */
  readonly read: (body: Uint8Array, out: ListEntries, now: number) => void;
}

/** The beginning of a body. */
export interface ListSample {
  /** Lines that no format takes for a comment, outer blanks cut off, long ones cut. */
  readonly lines: readonly string[];
  readonly comments: readonly string[];
}

const MAX_SAMPLE_LINES = 400;
const MAX_SAMPLE_LINE = 512;
/** JSON often has no lines, and keys that tell may stand behind long texts. */
const MAX_SAMPLE_JSON = 64 * 1024;
const MAX_SAMPLE_BYTES = 1024 * 1024;

export function sampleOf(body: Uint8Array): ListSample {
  const lines: string[] = [];
  const comments: string[] = [];
  // The cut may fall into a line: what is left of it is one line of many.
  forEachLine(body.subarray(0, MAX_SAMPLE_BYTES), NO_COMMENTS, (start, end) => {
    if (lines.length >= MAX_SAMPLE_LINES) return;
    const most = body[start] === 123 || body[start] === 91 ? MAX_SAMPLE_JSON : MAX_SAMPLE_LINE;
    const line = latin1(body, start, Math.min(end, start + most));
    if (!/^(?:[#!;]|\/\/)/.test(line)) lines.push(line);
    else if (comments.length < MAX_SAMPLE_LINES) comments.push(line);
  });
  return { lines, comments };
}

/** The share of the lines that fit; 0 when there are none. */
export function share(lines: readonly string[], fits: RegExp): number {
  let fitting = 0;
  for (const line of lines) if (fits.test(line)) fitting++;
  return lines.length === 0 ? 0 : fitting / lines.length;
}

/** Whether the sample begins like JSON and has one of the keys. */
export function hasJSONKey(sample: ListSample, keys: RegExp): boolean {
  return /^[[{]/.test(sample.lines[0] ?? "") && sample.lines.some((line) => keys.test(line));
}
