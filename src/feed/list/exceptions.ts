/**
 * Names and addresses that a list takes out again. The compiled feeds hold no negative entries, so exceptions are carried
 * out here, before compiling. What is excepted must never hit: where an entry reaches over an exception, the entry gives
 * way. An address prefix is split around it; a name that stands for everything below keeps only itself, and where it was
 * written to mean only what is below (`*.name`), nothing.
 */
import { Growing } from "../growing.ts";
import { ADDRESS_ROW, type AddressRange, appendRange, rangeOfRow } from "./addresses.ts";
import { FeedBodyError } from "./body.ts";
import { DOT, LF } from "./lines.ts";

/** Names kept for all exceptions of a list: a bound on memory, far above any real list. */
const MAX_KEPT = 2_000_000;

/** `whole`: the name alone; `below`: what is below it, but not the name; `both`. */
export type ExceptionReach = "whole" | "below" | "both";

export class NameExceptions {
  /** Excepted themselves. */
  readonly #whole = new Set<string>();
  /** Excepted with everything below, whatever entries say there. */
  readonly #trees = new Set<string>();
  /** Names that cannot stand for everything below them, because something there is excepted. */
  readonly #above = new Set<string>();

  get size(): number {
    return this.#above.size + this.#whole.size;
  }

  /**
   * `name`: folded ASCII. `strong`: the exception also takes out entries below it, as in Adblock lists; without it the
   * closest of entry and exception speaks, as in RPZ. Throws `FeedBodyError` when there are too many.
   */
  add(name: string, reach: ExceptionReach, strong: boolean): void {
    if (reach !== "below") this.#whole.add(name);
    if (reach !== "whole") {
      this.#above.add(name);
      if (strong) this.#trees.add(name);
    }
    for (const parent of parents(name)) this.#above.add(parent);
    if (this.size > MAX_KEPT) throw new FeedBodyError("the list has too many exceptions to be carried out");
  }

  /**
   * The entries without what is excepted. `keepTop`: an entry for everything below means its own name too. `onNarrowed`
   * hears of each that now stands for that name alone, or (`gone`) for nothing.
   */
  apply(entries: Uint8Array, keepTop: boolean, onNarrowed: (name: string, gone: boolean) => void): Taken {
    const out = new Growing(entries.length + 1);
    const text = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
    let count = 0;
    for (let at = 0; at < text.length; ) {
      const next = text.indexOf(LF, at) + 1;
      const below = text[at] === DOT;
      const name = text.toString("latin1", below ? at + 1 : at, next - 1);
      const whole = this.#whole.has(name);
      const inTree = this.#trees.has(name) || parents(name).some((parent) => this.#trees.has(parent));
      const narrowed = below && !inTree && (whole || this.#above.has(name));
      const gone = whole || (narrowed && !keepTop) || (inTree && this.#excepted(name));
      if (narrowed) onNarrowed(name, gone);
      if (!gone) {
        out.append(text.subarray(narrowed ? at + 1 : at, next));
        count++;
      }
      at = next;
    }
    return { entries: out.content(), count };
  }

  /** Whether an entry inside of an excepted tree is excepted: the tree's top itself only when it is named as a whole. */
  #excepted(name: string): boolean {
    return !this.#trees.has(name) || this.#whole.has(name);
  }
}

export interface Taken {
  readonly entries: Uint8Array;
  readonly count: number;
}

export class AddressExceptions {
  readonly #ranges: AddressRange[] = [];

  get size(): number {
    return this.#ranges.length;
  }

  add(range: AddressRange): void {
    this.#ranges.push(range);
    if (this.size > MAX_KEPT) throw new FeedBodyError("the list has too many exceptions to be carried out");
  }

  /**
   * The rows without what is excepted; a prefix around an exception becomes several. `onNarrowed` hears where each row
   * stands that loses something.
   */
  apply(rows: Uint8Array, onNarrowed?: (at: number) => void): Taken {
    const merged = this.#merged();
    const out = new Growing(rows.length + ADDRESS_ROW);
    let count = 0;
    for (let at = 0; at < rows.length; at += ADDRESS_ROW) {
      const { bits, first, last } = rangeOfRow(rows, at);
      const ranges = merged[bits];
      const touched = firstEndingAt(ranges, first);
      if (touched === ranges.length || ranges[touched]!.first > last) {
        out.append(rows.subarray(at, at + ADDRESS_ROW));
        count++;
        continue;
      }
      onNarrowed?.(at);
      let from = first;
      for (let index = touched; index < ranges.length; index++) {
        const { first: gapFirst, last: gapLast } = ranges[index]!;
        if (gapFirst > last) break;
        if (gapFirst > from) count += appendRange({ bits, first: from, last: gapFirst - 1n }, out);
        from = gapLast + 1n;
      }
      if (from <= last) count += appendRange({ bits, first: from, last }, out);
    }
    return { entries: out.content(), count };
  }

  /** By family, in order, without overlaps. */
  #merged(): Record<32 | 128, readonly AddressRange[]> {
    const merged: Record<32 | 128, AddressRange[]> = { 32: [], 128: [] };
    for (const range of this.#ranges.toSorted((a, b) =>
      a.first < b.first ? -1 : a.first > b.first ? 1 : 0,
    )) {
      const ranges = merged[range.bits];
      const before = ranges.at(-1);
      if (before === undefined || before.last < range.first) ranges.push(range);
      else if (before.last < range.last) ranges[ranges.length - 1] = { ...before, last: range.last };
    }
    return merged;
  }
}

/** Index of the first range that ends at or behind `place`. */
function firstEndingAt(ranges: readonly AddressRange[], place: bigint): number {
  let low = 0;
  for (let high = ranges.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.last >= place) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The names of two or more labels above a name. */
function parents(name: string): string[] {
  const above: string[] = [];
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
    const parent = name.slice(dot + 1);
    if (!parent.includes(".")) break;
    above.push(parent);
  }
  return above;
}
