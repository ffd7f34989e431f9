/**
 * Lookups whose asker nobody knows yet. A container may ask before the runtime has told who it is: its lookups wait
 * here, bounded in number and time, are decided as soon as it is known, and are dropped otherwise.
 */
import type { Asker } from "./lookup.ts";

/** Milliseconds that a lookup waits: askers themselves try again after a few seconds. */
const HOLD_TIME = 2000;
const HOLD_LIMIT = 512;
const HOLD_PER_SOURCE = 32;
/** Queries longer than this are not held: no well-formed one is. */
const LONGEST = 1024;

export interface HeldLookup {
  readonly message: Uint8Array;
  /** 4 or 16 bytes, and their text. */
  readonly address: Uint8Array;
  readonly source: string;
  readonly interfaceIndex: number;
  readonly asker: Asker;
  readonly since: number;
}

export class Hold {
  /** By source, in order of arrival. */
  readonly #sources = new Map<string, HeldLookup[]>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Keeps the lookup. Says whether it was kept, and whether its source is a new one that must be asked about. */
  add(lookup: HeldLookup): { readonly held: boolean; readonly first: boolean } {
    const waiting = this.#sources.get(lookup.source);
    const room = this.#count < HOLD_LIMIT && (waiting?.length ?? 0) < HOLD_PER_SOURCE;
    if (!room || lookup.message.length > LONGEST) return { held: false, first: false };
    this.#count++;
    if (waiting === undefined) this.#sources.set(lookup.source, [lookup]);
    else waiting.push(lookup);
    return { held: true, first: waiting === undefined };
  }

  /** Hands over, and lets go of, every lookup of sources that `isKnown` knows now. */
  release(isKnown: (lookup: HeldLookup) => boolean, deliver: (lookup: HeldLookup) => void): void {
    for (const [source, lookups] of this.#sources) {
      const [first] = lookups;
      if (first === undefined || !isKnown(first)) continue;
      this.#sources.delete(source);
      this.#count -= lookups.length;
      for (const lookup of lookups) deliver(lookup);
    }
  }

  /** Drops what has waited long enough; returns how many. */
  expire(now: number): number {
    const before = this.#count;
    for (const [source, lookups] of this.#sources) {
      const left = lookups.filter((lookup) => now - lookup.since < HOLD_TIME);
      this.#count -= lookups.length - left.length;
      if (left.length === 0) this.#sources.delete(source);
      else this.#sources.set(source, left);
    }
    return before - this.#count;
  }
}
