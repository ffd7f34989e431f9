/** The domain half of compiled feeds, made in one call that blocks its thread: for workers and processes of their own. */
import { loadAddon } from "./addon.ts";

/** What a domain set is put together from; the layout of each array is what feed/index.ts says of it. */
export interface DomainParts {
  /** Distinct names, and suffixes of names that are none. */
  readonly names: number;
  readonly markers: number;
  readonly groups: number;
  /** Bits of a group's number in the buckets. */
  readonly groupBits: number;
  readonly groupWords: Uint32Array;
  /** Sets of codes: the number of each context's, and the length of each symbol's code in each. */
  readonly contexts: Uint16Array;
  readonly lengths: Uint8Array;
  readonly directory: Uint16Array;
  readonly buckets: Uint32Array;
}

/**
 * Throws TM_NATIVE_MISSING. What it returns takes the names of each feed, in stored form, and the seed as two words; it throws
 * an error with the code E2BIG (more than a set holds), EINVAL (no name in stored form) or ENOMEM.
 */
export function loadDomainBuild(
  places?: readonly string[],
): (lists: readonly Uint8Array[], key: readonly [number, number]) => DomainParts {
  const addon = loadAddon(places);
  return (lists, [key0, key1]) => addon.buildDomains(lists, key0, key1);
}
