/** Compiles parsed lists into the two buffers that index.ts describes. Pure: the same lists and seed, the same bytes. */
import { compileAddresses } from "./compile-addresses.ts";
import { compileDomains, type DomainBuild } from "./compile-domains.ts";
import { SEED_LENGTH } from "./hash.ts";
import type { CompiledFeeds, FeedSource, FeedStatus } from "./types.ts";

/** A source with what is in use of it. */
export interface FeedList {
  readonly source: FeedSource;
  readonly status: FeedStatus;
  /** As `ParsedList.entries`, for the source's kind; empty when nothing of it is in use. */
  readonly entries: Uint8Array;
}

/**
 * `seed`: SEED_LENGTH secret random bytes. `build`: of the domain half; absent: the fastest. Blocks its thread for as long as
 * it takes. Throws TM_FEED for too many names, a RangeError for a seed of another length.
 */
export function compileFeeds(
  lists: readonly FeedList[],
  seed: Uint8Array,
  build?: DomainBuild,
): CompiledFeeds {
  if (seed.length !== SEED_LENGTH)
    throw new RangeError(`a seed has ${SEED_LENGTH} bytes, not ${seed.length}`);
  const view = new DataView(seed.buffer, seed.byteOffset, SEED_LENGTH);
  const key = [view.getUint32(0, true), view.getUint32(4, true)] as const;
  const nothing = new Uint8Array();
  const of = (addresses: boolean): Uint8Array[] => {
    return lists.map(({ source, entries }) =>
      (source.kind === "address") === addresses ? entries : nothing,
    );
  };
  return {
    sources: lists.map(({ source }) => source),
    statuses: lists.map(({ status }) => status),
    domains: compileDomains(of(false), key, build),
    addresses: compileAddresses(of(true), key),
  };
}
