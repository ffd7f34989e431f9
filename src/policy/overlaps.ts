/**
 * What the lists of a rule say twice, against each other, or too broadly. The same pattern in `allowed` and `denied` is
 * refused, since one of the two is a mistake. Where one merely covers the other, deny wins, and a notice says so. The
 * lists are read from the unchecked document, so that these problems are told beside all others.
 */

import { parseAddress, prefixContains } from "../address.ts";
import type { Path, SourceDocument } from "../document.ts";
import { quote } from "../issues.ts";
import { canonicalPattern, type NamePattern, parseNamePattern, patternCovers } from "./domains.ts";
import { type PortRange, parsePortEntry } from "./ports.ts";
import { type AddressEntry, canonicalPrefix, parseAddressEntry } from "./prefixes.ts";
import { coveredSuffix } from "./public-suffixes.ts";

/** Entries compared pairwise; lists beyond this are still searched for entries that stand there twice. */
const MAX_PAIRS = 4_000_000;

interface Language<Entry> {
  /** The entry, or null when it is none (the schema has said so). */
  parse(value: unknown): Entry | null;
  /** The form in which two spellings of one entry are equal. */
  canonical(entry: Entry): string;
  covers(outer: Entry, inner: Entry): boolean;
  /** Whether the two share something although neither covers the other; names and prefixes cannot. */
  crosses?(a: Entry, b: Entry): boolean;
}

const NAMES: Language<NamePattern> = {
  parse: (value) => parsed(typeof value === "string" ? parseNamePattern(value) : null),
  canonical: canonicalPattern,
  covers: patternCovers,
};
const ADDRESSES: Language<AddressEntry> = {
  parse: (value) => parsed(typeof value === "string" ? parseAddressEntry(value) : null),
  canonical: canonicalPrefix,
  covers: (outer, inner) =>
    outer.bytes.length === inner.bytes.length &&
    outer.length <= inner.length &&
    prefixContains(outer, inner.bytes),
};
const PORTS: Language<PortRange> = {
  parse: (value) =>
    parsed(typeof value === "string" || typeof value === "number" ? parsePortEntry(value) : null),
  canonical: ({ first, last }) => (first === last ? String(first) : `${first}-${last}`),
  covers: (outer, inner) => outer.first <= inner.first && outer.last >= inner.last,
  crosses: (a, b) =>
    (a.first < b.first && b.first <= a.last && a.last < b.last) ||
    (b.first < a.first && a.first <= b.last && b.last < a.last),
};

function parsed<Entry extends object>(result: Entry | string | null): Entry | null {
  return typeof result === "string" ? null : result;
}

/** Checks every list of the rule with this index. */
export function checkLists(document: SourceDocument, rule: number): void {
  const dns = ["rules", rule, "dns"];
  const names = compare(document, dns, NAMES);
  checkSuffixes(document, dns, names.allowed);
  const addresses = compare(document, ["rules", rule, "network", "outboundAddresses"], ADDRESSES);
  for (const { path, entry } of [...addresses.allowed, ...addresses.denied])
    noteAddress(document, path, entry);
  compare(document, ["rules", rule, "network", "outboundPorts"], PORTS);
  compare(document, ["rules", rule, "network", "listeningPorts"], PORTS);
}

interface Located<Entry> {
  readonly path: Path;
  readonly entry: Entry;
  readonly canonical: string;
}

function read<Entry>(
  document: SourceDocument,
  path: Path,
  language: Language<Entry>,
): readonly Located<Entry>[] {
  const list = document.at(path);
  if (!Array.isArray(list)) return [];
  return list.flatMap((value: unknown, index) => {
    const entry = language.parse(value);
    return entry === null ? [] : [{ path: [...path, index], entry, canonical: language.canonical(entry) }];
  });
}

function compare<Entry extends { readonly entry: string }>(
  document: SourceDocument,
  path: Path,
  language: Language<Entry>,
): { allowed: readonly Located<Entry>[]; denied: readonly Located<Entry>[] } {
  const allowed = read(document, [...path, "allowed"], language);
  const denied = read(document, [...path, "denied"], language);
  const deniedTexts = new Map(denied.map((item) => [item.canonical, item]));
  for (const item of allowed) {
    const twin = deniedTexts.get(item.canonical);
    if (twin === undefined) continue;
    const what = `${quote(item.entry.entry)} is in \`denied\` too (${quote(twin.entry.entry)}); keep it in one of the two`;
    document.problem(item.path, what);
  }
  for (const list of [allowed, denied]) noteTwice(document, list);
  if ((allowed.length + denied.length) ** 2 > MAX_PAIRS) return { allowed, denied };
  const { covers, crosses = () => false } = language;
  const note = (
    level: "info" | "warning",
    list: readonly Located<Entry>[],
    others: readonly Located<Entry>[],
    meets: (other: Entry, item: Entry) => boolean,
    say: (item: string, other: string) => string,
  ): void => {
    for (const item of list) {
      const other = others.find((one) => one.canonical !== item.canonical && meets(one.entry, item.entry));
      if (other === undefined) continue;
      document.notice(level, item.path, say(quote(item.entry.entry), quote(other.entry.entry)));
    }
  };
  const coveredInList = (item: string, other: string) => `${item} is covered by ${other} of the same list`;
  note("info", allowed, allowed, covers, coveredInList);
  note("info", denied, denied, covers, coveredInList);
  note("warning", allowed, denied, covers, (item, other) => {
    return `${item} is never allowed: \`denied\` holds ${other}, and deny wins`;
  });
  note("warning", allowed, denied, crosses, (item, other) => {
    return `${item} overlaps ${other} in \`denied\`: deny wins where they meet`;
  });
  note("info", denied, allowed, covers, (item, other) => {
    return `${item} is denied although \`allowed\` holds ${other}: deny wins`;
  });
  return { allowed, denied };
}

function noteTwice<Entry extends { readonly entry: string }>(
  document: SourceDocument,
  list: readonly Located<Entry>[],
): void {
  const seen = new Set<string>();
  for (const item of list) {
    if (seen.has(item.canonical)) {
      document.notice("info", item.path, `${quote(item.entry.entry)} stands in this list twice`);
    }
    seen.add(item.canonical);
  }
}

/** Refuses allowed patterns under which anybody can register a name, unless the section says `force: true`. */
function checkSuffixes(document: SourceDocument, dns: Path, allowed: readonly Located<NamePattern>[]): void {
  const forced = document.at([...dns, "force"]) === true;
  for (const { path, entry } of allowed) {
    const suffix = coveredSuffix(entry);
    if (suffix === null) continue;
    const what =
      suffix === "*"
        ? "`*` allows every name there is"
        : `${quote(entry.entry)} allows every name under the public suffix \`${suffix}\`, which anybody can register`;
    if (forced) document.notice("warning", path, `${what}; accepted, since \`force\` is set`);
    else document.problem(path, `${what}; name what is needed, or set \`force: true\` in this dns section`);
  }
}

function noteAddress(document: SourceDocument, path: Path, entry: AddressEntry): void {
  if (entry.length === 0 && path.at(-2) === "allowed") {
    const what = `${quote(entry.entry)} allows every address of its family; feeds and models have no say then`;
    document.notice("warning", path, what);
  }
  const written = parseAddress(entry.entry.split("/")[0] ?? "");
  if (written === null || written.length !== entry.bytes.length) return;
  if (written.some((byte, index) => byte !== entry.bytes[index])) {
    document.notice(
      "warning",
      path,
      `${quote(entry.entry)} has host bits set; it is read as \`${canonicalPrefix(entry)}\``,
    );
  }
}
