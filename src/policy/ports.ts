/** Port lists: numbers and inclusive ranges, as disjoint sorted segments. */
import type { PortEntry } from "./schema.ts";

export interface PortRange {
  /** As the operator wrote it. */
  readonly entry: string;
  /** Inclusive, 1–65535. */
  readonly first: number;
  readonly last: number;
}

/** What a matcher found. One object per entry, frozen, so that it can key caches. */
export interface PortMatch {
  readonly entry: string;
  readonly match: "port";
}

/** A port or a range, or a text that says why it is none. */
export function parsePortEntry(value: PortEntry): PortRange | string {
  const entry = String(value);
  const parts = /^(\d{1,9})(?:\s*-\s*(\d{1,9}))?$/.exec(entry);
  if (parts === null)
    return 'is no port; a number of 1 to 65535 or a range in quotes is allowed ("8000-8100")';
  const first = Number(parts[1]);
  const last = parts[2] === undefined ? first : Number(parts[2]);
  if (first > last) return `is reversed; write it as "${last}-${first}"`;
  if (first < 1 || last > 65535) return "is out of range; 1 to 65535 are allowed";
  return { entry, first, last };
}

/** Immutable set of ports; of several entries that hold a port the narrowest answers. */
export class PortMatcher {
  /** First port of each segment, ascending; segment i ends where i + 1 starts. */
  readonly #starts: Int32Array;
  /** Entry index + 1 of each segment; 0: none. */
  readonly #entries: Int32Array;
  readonly #matches: readonly PortMatch[];

  constructor(ranges: readonly PortRange[]) {
    this.#matches = ranges.map(({ entry }) => Object.freeze({ entry, match: "port" }));
    const painted = new Int32Array(65537);
    const widestFirst = ranges
      .map((range, index) => ({ range, index }))
      .sort((a, b) => b.range.last - b.range.first - (a.range.last - a.range.first) || b.index - a.index);
    for (const { range, index } of widestFirst) painted.fill(index + 1, range.first, range.last + 1);
    const starts: number[] = [0];
    for (let port = 1; port <= 65536; port++) if (painted[port] !== painted[port - 1]) starts.push(port);
    this.#starts = Int32Array.from(starts);
    this.#entries = Int32Array.from(starts, (port) => painted[port]!);
  }

  /** The narrowest entry that holds the port, or null. Does not allocate. */
  find(port: number): PortMatch | null {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= port) low = middle;
      else high = middle - 1;
    }
    const entry = this.#entries[low]!;
    return entry === 0 ? null : this.#matches[entry - 1]!;
  }
}
