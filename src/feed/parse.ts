/**
 * Lists as the Internet serves them, from bytes to entries. A line that is no entry is counted and sampled, never guessed
 * at; a body that is no list at all (a web page, an archive, half a document) is refused as a whole, so that the last good
 * list stays in use. Nothing here throws but `FeedBodyError`, whatever the bytes. The formats are in `list/`.
 */
import { checkText } from "./list/body.ts";
import { ListEntries, type ParsedList } from "./list/entries.ts";
import { detectFormat, formatNamed } from "./list/formats.ts";
import { readMISPFolder } from "./list/misp.ts";
import type { FeedSource, ListFormatName } from "./types.ts";

export { ADDRESS_ROW } from "./list/addresses.ts";
export { FeedBodyError, MAX_BODY } from "./list/body.ts";
export type { ParsedList } from "./list/entries.ts";

export interface ParseOptions {
  /** Entries of the other kind are refused. */
  readonly kind: FeedSource["kind"];
  /** Absent: what the format means. Of no meaning for addresses. */
  readonly match?: FeedSource["match"];
  /** Absent: detected. */
  readonly format?: ListFormatName;
  /** Milliseconds since the epoch, for indicators that are valid for a time. */
  readonly now: number;
}

/** A list with how it was read. */
export interface ReadList extends ParsedList {
  readonly format: ListFormatName;
  readonly match: FeedSource["match"];
}

/** Reads an unpacked body. */
export function parseList(body: Uint8Array, { kind, match, format, now }: ParseOptions): ReadList {
  checkText(body);
  const found = format === undefined ? detectFormat(body) : formatNamed(format);
  // A URL names a host, whatever other lines of that format mean.
  const meant = kind === "address" ? "exact" : (match ?? (kind === "url" ? "exact" : found.match));
  const out = new ListEntries(kind, meant, body.length);
  found.read(body, out, now);
  return { ...out.finish(), format: found.name, match: meant };
}

/** Reads the MISP feed in the folder `path`; `readFile` as in `ReadOptions`. */
export function parseFolder(
  path: string,
  readFile: (path: string) => Uint8Array,
  { kind, match }: Pick<ParseOptions, "kind" | "match">,
): ReadList {
  const meant = match ?? "exact";
  const out = new ListEntries(kind, meant, 0);
  readMISPFolder(path, readFile, out);
  return { ...out.finish(), format: "misp", match: meant };
}

/** A plain list of domains (list/plain.ts). */
export function parseDomains(body: Uint8Array, match: FeedSource["match"]): ParsedList {
  return parseList(body, { kind: "domain", match, format: "plain", now: 0 });
}

/** A plain list of addresses (list/plain.ts). */
export function parseAddresses(body: Uint8Array): ParsedList {
  return parseList(body, { kind: "address", format: "plain", now: 0 });
}
