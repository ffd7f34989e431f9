/**
 * Writes the domain half of the compiled feeds (layout: index.ts) from the parts that the addon makes, or, where it was not
 * built, domain-parts.ts. The same lists and seed give the same bytes, whichever made them.
 */
import { systemCode, TidesmanError } from "../errors.ts";
import { type DomainParts, loadDomainBuild } from "../native/domain-build.ts";
import { makeDomainParts } from "./domain-parts.ts";
import { DOMAIN, DOMAIN_MAGIC, HEADER, HEADER_BYTES, ROW_WORDS, seal, VERSION } from "./format.ts";
import { CONTEXTS, SYMBOLS } from "./name-code.ts";
import { noName, tooMany } from "./suffix-records.ts";

/** Makes the parts of a domain set from lists and the seed as two words; see makeDomainParts. */
export type DomainBuild = typeof makeDomainParts;

/** In C++; `places` overrides where the addon is sought. Throws TM_NATIVE_MISSING. */
export function nativeBuild(places?: readonly string[]): DomainBuild {
  const build = loadDomainBuild(places);
  return (lists, key) => {
    try {
      return build(lists, key);
    } catch (error) {
      const code = systemCode(error);
      throw code === "E2BIG" ? tooMany() : code === "EINVAL" ? noName() : error;
    }
  };
}

/** The fastest that can be had here; `places` overrides where the addon is sought. */
export function fastestBuild(places?: readonly string[]): DomainBuild {
  try {
    return nativeBuild(places);
  } catch (error) {
    if (error instanceof TidesmanError && error.code === "TM_NATIVE_MISSING") return makeDomainParts;
    throw error;
  }
}

/**
 * `lists`: for each feed its names (`ParsedList.entries`); empty for feeds of addresses. `key`: the seed as two words. Throws
 * TM_FEED for too many, TM_INTERNAL for lists that hold anything else.
 */
export function compileDomains(
  lists: readonly Uint8Array[],
  key: readonly [number, number],
  build: DomainBuild = fastestBuild(),
): SharedArrayBuffer {
  return joined(build(lists, key), lists.length, key);
}

function joined(parts: DomainParts, feeds: number, key: readonly [number, number]): SharedArrayBuffer {
  const { directory, groupWords, contexts, lengths, buckets } = parts;
  const directoryAt = HEADER_BYTES;
  const groupsAt = directoryAt + directory.byteLength;
  const setsAt = groupsAt + groupWords.byteLength;
  const lengthsAt = setsAt + contexts.byteLength;
  // Whole words: CONTEXTS is even, SYMBOLS a multiple of four.
  const bucketsAt = lengthsAt + lengths.length;
  const buffer = new SharedArrayBuffer(bucketsAt + buckets.byteLength);
  const header = new Uint32Array(buffer, 0, HEADER_BYTES / 4);
  header[HEADER.MAGIC] = DOMAIN_MAGIC;
  header[HEADER.VERSION] = VERSION;
  header[HEADER.BYTES] = buffer.byteLength;
  header[HEADER.KEY0] = key[0];
  header[HEADER.KEY1] = key[1];
  header[HEADER.FEEDS] = feeds;
  header[HEADER.GROUPS] = parts.groups;
  header[HEADER.GROUPS_AT] = groupsAt;
  header[DOMAIN.NAMES] = parts.names;
  header[DOMAIN.MARKERS] = parts.markers;
  header[DOMAIN.ROWS] = directory.length / ROW_WORDS;
  header[DOMAIN.DIRECTORY_AT] = directoryAt;
  header[DOMAIN.CODE_SETS] = lengths.length / SYMBOLS;
  header[DOMAIN.CODE_SETS_AT] = setsAt;
  header[DOMAIN.BUCKETS_AT] = bucketsAt;
  header[DOMAIN.GROUP_BITS] = parts.groupBits;
  new Uint16Array(buffer, directoryAt, directory.length).set(directory);
  new Uint32Array(buffer, groupsAt, groupWords.length).set(groupWords);
  new Uint16Array(buffer, setsAt, CONTEXTS).set(contexts);
  new Uint8Array(buffer, lengthsAt, lengths.length).set(lengths);
  new Uint32Array(buffer, bucketsAt, buckets.length).set(buckets);
  seal(buffer);
  return buffer;
}
