/**
 * Lists of popular names, which guard.ts keeps out of feeds: one name a line, or `RANK,NAME` as Tranco publishes. `#`
 * begins a comment, at the start of a line or behind a blank.
 */
import { readFileSync } from "node:fs";
import { Growing } from "./growing.ts";
import { DOT, forEachLine, isCommentOrEmpty, latin1, wordEnd } from "./list/lines.ts";
import { appendName } from "./list/names.ts";

const COMMA = 44;
const HASH: ReadonlySet<number> = new Set([35]);
const MAX_SAMPLES = 5;
const MAX_SAMPLE_TEXT = 80;

export interface PopularNames {
  /** Folded ASCII without the final dot. */
  readonly names: ReadonlySet<string>;
  /** Lines that hold no name that a feed could list (public suffixes are among them), and the first few of them. */
  readonly refused: number;
  readonly samples: readonly string[];
}

export function parsePopular(body: Uint8Array): PopularNames {
  const names = new Set<string>();
  const samples: string[] = [];
  const scratch = new Growing(1024);
  let refused = 0;
  forEachLine(body, HASH, (start, end, line) => {
    const from = behindRank(body, start, end);
    const to = wordEnd(body, from, end);
    scratch.length = 0;
    const reason = isCommentOrEmpty(body, to, end)
      ? appendName(body, from, to, false, scratch)
      : "more than one name";
    // `*.name` would protect names that nobody has named.
    if (reason === null && scratch.bytes[0] !== DOT) {
      names.add(scratch.text(0).slice(0, -1));
      return;
    }
    refused++;
    if (samples.length >= MAX_SAMPLES) return;
    const shown = latin1(body, start, Math.min(end, start + MAX_SAMPLE_TEXT)).replace(/[^\x20-\x7e]/g, "?");
    samples.push(`line ${line}: ${shown}: ${reason ?? "a pattern, not a name"}`);
  });
  return { names, refused, samples };
}

/** The names of all `files`. `warnings` takes what cannot be read, and what holds no name. */
export function readPopular(files: readonly string[], warnings: string[]): ReadonlySet<string> {
  const all = new Set<string>();
  for (const file of files) {
    try {
      const { names, refused, samples } = parsePopular(readFileSync(file));
      for (const name of names) all.add(name);
      if (names.size === 0 && refused > 0) warnings.push(`\`${file}\` holds no popular name: ${samples[0]}`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      warnings.push(`the popular names of \`${file}\` cannot be read: ${why}`);
    }
  }
  return all;
}

/** Where the name of `RANK,NAME` begins; `start` when there is no rank. */
function behindRank(body: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && body[at]! >= 48 && body[at]! <= 57) at++;
  return at > start && at < end && body[at] === COMMA ? at + 1 : start;
}
