/** Every way of compiling feeds that can be had here, held to be the same to the byte. */

import { compileFeeds as compile, type FeedList } from "../../src/feed/compile.ts";
import { type DomainBuild, fastestBuild } from "../../src/feed/compile-domains.ts";
import { makeDomainParts } from "../../src/feed/domain-parts.ts";
import type { CompiledFeeds } from "../../src/feed/types.ts";

/** The addon's, and the one in TypeScript; only that where the addon was not built. */
export const BUILDS: readonly DomainBuild[] = [...new Set([fastestBuild(), makeDomainParts])];

/** As compileFeeds; throws when the builds do not make the same of the lists. */
export function compileFeeds(lists: readonly FeedList[], seed: Uint8Array): CompiledFeeds {
  const [first, ...others] = BUILDS.map((build) => compile(lists, seed, build));
  for (const { domains } of others) {
    if (Buffer.compare(Buffer.from(domains), Buffer.from(first!.domains)) !== 0) {
      throw new Error("the builds differ");
    }
  }
  return first!;
}
