/** Walks over the suffixes of a name in compiled domain sets: what src/feed asks for, and how the addon does it. */
import { TidesmanError } from "../errors.ts";
import { type Addon, loadAddon } from "./addon.ts";

/** Parts of one domain set; what they mean src/feed/index.ts says. All arrays are over SharedArrayBuffers. */
export interface WalkParts {
  readonly directory: Uint16Array;
  readonly buckets: Uint16Array;
  readonly contexts: Uint16Array;
  readonly codes: Uint16Array;
  readonly key0: number;
  readonly key1: number;
  /** At most 32. */
  readonly groupBits: number;
}

/** Words of `DomainWalk.found`: how many entries there are, then STRIDE words for each. */
export const FOUND = {
  COUNT: 0,
  FIRST: 1,
  /** Of an entry: labels of the name asked for that stand before it, group, and where the stored name begins. */
  LABELS: 0,
  GROUP: 1,
  WORD: 2,
  BIT: 3,
  STRIDE: 4,
} as const;

/** Bytes that the question may have: more than any name, whose root label stands at MOST_NAME at the latest. */
export const QUESTION = 256;
export const MOST_NAME = 254;
export const MOST_LABELS = MOST_NAME / 2;

/** One name at a time, in memory that both sides know, so that nothing is made for a look-up. */
export interface DomainWalk {
  /** Where the name is put, in wire form and any case; QUESTION bytes. */
  readonly question: Uint8Array;
  /** The entries that are the name or end it, the shortest first, after `find`. */
  readonly found: Uint32Array;
  /** `size`: bytes of the question, in which the name begins and ends. Finds nothing for what is no name. */
  find(size: number): void;
  /** The stored name that begins at a bit of a word of the buckets. */
  text(word: number, bit: number): string;
}

/** What was loaded by this thread; null when there is no addon. */
let loaded: Addon | null | undefined;

/** The walk in C++; null where the addon was not built. */
export function nativeDomainWalk(parts: WalkParts): DomainWalk | null {
  if (loaded === undefined) loaded = loadedAddon();
  return loaded?.openDomainSet(parts) ?? null;
}

function loadedAddon(): Addon | null {
  try {
    return loadAddon();
  } catch (error) {
    if (error instanceof TidesmanError && error.code === "TM_NATIVE_MISSING") return null;
    throw error;
  }
}
