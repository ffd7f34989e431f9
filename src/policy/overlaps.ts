/**
 * What the lists of a rule say twice, against each other, or too broadly. The same pattern in `allowed` and `denied` is
 * refused, since one of the two is a mistake. Where one merely covers the other, deny wins, and a notice says so. The
 * lists are read from the unchecked document, so that these problems are told beside all others.
 */

import { formatAddress, parseAddress, parsePrefix } from "../address.ts";
import type { Path, SourceDocument } from "../document.ts";
import { quote } from "../issues.ts";
import { canonicalPattern, type NamePattern, parseNamePattern } from "./domains.ts";
import { type PortRange, parsePortEntry } from "./ports.ts";
import { type AddressEntry, canonicalPrefix, parseAddressEntry } from "./prefixes.ts";
import { coveredSuffix } from "./public-suffixes.ts";

/** Port entries compared pairwise; longer lists are still searched for entries that stand there twice. */
const MAX_PORT_ENTRIES = 2000;

interface Located<Entry> {
  readonly path: Path;
  readonly entry: Entry;
  /** The form in which two spellings of one entry are equal. */
  readonly canonical: string;
}
/** Another entry that meets this one, or undefined. */
type Search<Entry> = (item: Located<Entry>) => Located<Entry> | undefined;

interface Language<Entry> {
  /** The entry, or null when it is none (the schema has said so). */
  parse(value: unknown): Entry | null;
  canonical(entry: Entry): string;
  /** Finds an entry of the list, spelled in whatever way, that covers all of another and is not the same. */
  covering(list: readonly Located<Entry>[]): Search<Entry>;
  /** The same for entries that share something although neither covers the other; names and prefixes cannot. */
  crossing?(list: readonly Located<Entry>[]): Search<Entry>;
}

const NAMES: Language<NamePattern> = {
  parse: (value) => parsed(typeof value === "string" ? parseNamePattern(value) : null),
  canonical: canonicalPattern,
  covering(list) {
    const byText = new Map(list.map((item) => [item.canonical, item]));
    return ({ canonical, entry: { kind } }) => {
      let name = canonical.replace(/^\*?\./, "");
      let found = kind === "both" || canonical === "*" ? undefined : byText.get(`.${name}`);
      for (let dot = name.indexOf("."); found === undefined && dot >= 0; dot = name.indexOf(".")) {
        name = name.slice(dot + 1);
        found = byText.get(`*.${name}`) ?? byText.get(`.${name}`);
      }
      return found ?? (canonical === "*" ? undefined : byText.get("*"));
    };
  },
};
const ADDRESSES: Language<AddressEntry> = {
  parse: (value) => parsed(typeof value === "string" ? parseAddressEntry(value) : null),
  canonical: canonicalPrefix,
  covering(list) {
    const byText = new Map(list.map((item) => [item.canonical, item]));
    const lengths = [...new Set(list.map(({ entry }) => entry.length))].sort((a, b) => b - a);
    return ({ entry: { bytes, length } }) => {
      for (const shorter of lengths) {
        if (shorter >= length) continue;
        const outer = parsePrefix(`${formatAddress(bytes)}/${shorter}`);
        const found = outer === null ? undefined : byText.get(canonicalPrefix(outer));
        if (found !== undefined) return found;
      }
      return undefined;
    };
  },
};
const PORTS: Language<PortRange> = {
  parse: (value) =>
    parsed(typeof value === "string" || typeof value === "number" ? parsePortEntry(value) : null),
  canonical: ({ first, last }) => (first === last ? String(first) : `${first}-${last}`),
  covering: (list) =>
    searchPorts(list, (other, item) => other.first <= item.first && other.last >= item.last),
  crossing: (list) =>
    searchPorts(
      list,
      (a, b) =>
        (a.first < b.first && b.first <= a.last && a.last < b.last) ||
        (b.first < a.first && a.first <= b.last && b.last < a.last),
    ),
};

function searchPorts(
  list: readonly Located<PortRange>[],
  meets: (other: PortRange, item: PortRange) => boolean,
): Search<PortRange> {
  if (list.length > MAX_PORT_ENTRIES) return () => undefined;
  return (item) => list.find((other) => other.canonical !== item.canonical && meets(other.entry, item.entry));
}

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
  const note = (
    level: "info" | "warning",
    list: readonly Located<Entry>[],
    search: Search<Entry>,
    say: (item: string, other: string) => string,
  ): void => {
    for (const item of list) {
      const other = search(item);
      if (other === undefined) continue;
      document.notice(level, item.path, say(quote(item.entry.entry), quote(other.entry.entry)));
    }
  };
  const byAllowed = language.covering(allowed);
  const byDenied = language.covering(denied);
  const coveredInList = (item: string, other: string) => `${item} is covered by ${other} of the same list`;
  note("info", allowed, byAllowed, coveredInList);
  note("info", denied, byDenied, coveredInList);
  note("warning", allowed, byDenied, (item, other) => {
    return `${item} is never allowed: \`denied\` holds ${other}, and deny wins`;
  });
  note("info", denied, byAllowed, (item, other) => {
    return `${item} is denied although \`allowed\` holds ${other}: deny wins`;
  });
  if (language.crossing !== undefined) {
    note("warning", allowed, language.crossing(denied), (item, other) => {
      return `${item} overlaps ${other} in \`denied\`: deny wins where they meet`;
    });
  }
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
