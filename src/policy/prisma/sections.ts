/** The sections of a rule, in both shapes that they have had. */
import { canonicalPattern, parseNamePattern } from "../domains.ts";
import { parsePortEntry } from "../ports.ts";
import { canonicalPrefix, parseAddressEntry } from "../prefixes.ts";
import { coveredSuffix } from "../public-suffixes.ts";
import type { DnsSection, NetworkSection, PortEntry } from "../schema.ts";
import type { Effect } from "../types.ts";
import type { ExportedDns, ExportedNetwork, ExportedPorts, ExportedRule } from "./export.ts";

type Note = (text: string) => void;

interface Lists<Entry> {
  readonly allowed?: readonly Entry[];
  readonly denied?: readonly Entry[];
  readonly deniedEffect?: Effect;
}

/** Effect of feeds: what was called advanced protection; undefined: that of the section. */
function intelligenceOf(rule: ExportedRule): { readonly intelligence?: Effect } {
  const { advancedProtection, advancedProtectionEffect } = rule;
  if (advancedProtectionEffect !== undefined) return { intelligence: advancedProtectionEffect };
  return advancedProtection === false ? { intelligence: "disable" } : {};
}

export function dnsSection(rule: ExportedRule, exported: ExportedDns, note: Note): DnsSection {
  if (exported.disabled === true) return { effect: "disable" };
  const effect = effectOf("dns", exported, note);
  const { domainList } = exported;
  const lists = {
    allowed: domainList?.allowed ?? exported.whitelist,
    denied: domainList?.denied ?? exported.blacklist,
    deniedEffect: domainList?.effect,
  };
  return { effect, ...listsOf("dns", lists, canonicalName, note), ...intelligenceOf(rule) };
}

export function networkSection(rule: ExportedRule, exported: ExportedNetwork, note: Note): NetworkSection {
  if (exported.disabled === true) return { effect: "disable" };
  const effect = effectOf("network", exported, note);
  const addresses = listsOf(
    "outbound addresses",
    {
      allowed: exported.allowedIPs.concat(exported.whitelistIPs),
      denied: exported.deniedIPs.concat(exported.blacklistIPs),
      deniedEffect: exported.deniedIPsEffect,
    },
    canonicalAddress,
    note,
  );
  const ports = (what: string, key: "outboundPorts" | "listeningPorts"): Lists<PortEntry> => {
    const suffix = key === "outboundPorts" ? "OutboundPorts" : "ListeningPorts";
    const allowed = exported[key]?.allowed ?? exported[`whitelist${suffix}`];
    const denied = exported[key]?.denied ?? exported[`blacklist${suffix}`];
    const deniedEffect = exported[key]?.effect;
    for (const range of allowed)
      if (range.deny === true)
        note(`${what}: \`${portEntry(range)}\` is allowed and says \`deny\`; left out`);
    const entries = {
      allowed: allowed.filter(({ deny }) => deny !== true).map(portEntry),
      denied: denied.map(portEntry),
      deniedEffect,
    };
    return listsOf(what, entries, canonicalPort, note);
  };
  const portScan = exported.portScanEffect ?? (exported.detectPortScan === false ? "disable" : undefined);
  const rawSockets = exported.rawSocketsEffect ?? (exported.skipRawSockets === true ? "disable" : undefined);
  return {
    effect,
    ...named("outboundAddresses", addresses),
    ...named("outboundPorts", ports("outbound ports", "outboundPorts")),
    ...named("listeningPorts", ports("listening ports", "listeningPorts")),
    ...(portScan === undefined ? {} : { portScan }),
    ...(rawSockets === undefined ? {} : { rawSockets }),
    ...intelligenceOf(rule),
  };
}

/** One that was never set does nothing there either; lists may have an effect of their own. */
function effectOf(
  what: string,
  { defaultEffect, effect }: Pick<ExportedDns, "defaultEffect" | "effect">,
  note: Note,
): Effect {
  const known = defaultEffect ?? effect;
  if (known === undefined) note(`${what}: has no effect; \`disable\`, but for what its lists say themselves`);
  return known ?? "disable";
}

function named<Key extends string, Entry>(key: Key, lists: Lists<Entry>): Partial<Record<Key, Lists<Entry>>> {
  return Object.keys(lists).length === 0 ? {} : ({ [key]: lists } as Record<Key, Lists<Entry>>);
}

/**
 * Lists that parse.ts accepts: what is no entry is left out and told, an entry of both lists is denied, one that stands twice
 * stands once. `canonical` gives the form in which two spellings are equal, or the reason against an entry.
 */
function listsOf<Entry extends PortEntry>(
  what: string,
  given: {
    readonly allowed: readonly Entry[];
    readonly denied: readonly Entry[];
    readonly deniedEffect: Effect | undefined;
  },
  canonical: (entry: Entry, isAllowed: boolean) => { readonly form: string } | { readonly refused: string },
  note: Note,
): Lists<Entry> {
  const read = (entries: readonly Entry[], isAllowed: boolean): Map<string, Entry> => {
    const found = new Map<string, Entry>();
    for (const entry of entries) {
      const result = canonical(entry, isAllowed);
      if ("form" in result) found.set(result.form, entry);
      else note(`${what}: \`${entry}\` ${result.refused}; left out`);
    }
    return found;
  };
  const denied = read(given.denied, false);
  const allowed = read(given.allowed, true);
  for (const [form, entry] of allowed) {
    if (!denied.has(form)) continue;
    allowed.delete(form);
    note(`${what}: \`${entry}\` was allowed and denied; denied`);
  }
  return {
    ...(allowed.size === 0 ? {} : { allowed: [...allowed.values()] }),
    ...(denied.size === 0 ? {} : { denied: [...denied.values()] }),
    ...(denied.size === 0 || given.deniedEffect === undefined ? {} : { deniedEffect: given.deniedEffect }),
  };
}

function canonicalName(entry: string, isAllowed: boolean): { form: string } | { refused: string } {
  const pattern = parseNamePattern(entry);
  if (typeof pattern === "string") return { refused: pattern };
  const suffix = isAllowed ? coveredSuffix(pattern) : null;
  if (suffix !== null) return { refused: `allows all below \`${suffix}\`, where anybody can register` };
  return { form: canonicalPattern(pattern) };
}

function canonicalAddress(entry: string): { form: string } | { refused: string } {
  const parsed = parseAddressEntry(entry);
  return typeof parsed === "string" ? { refused: parsed } : { form: canonicalPrefix(parsed) };
}

function canonicalPort(entry: PortEntry): { form: string } | { refused: string } {
  const parsed = parsePortEntry(entry);
  return typeof parsed === "string" ? { refused: parsed } : { form: `${parsed.first}-${parsed.last}` };
}

/** No packet goes to port 0, with which a range of all ports may begin. */
function portEntry({ start, end }: ExportedPorts[number]): PortEntry {
  const last = end ?? start;
  const first = start === 0 && last > 0 ? 1 : start;
  return first === last ? first : `${first}-${last}`;
}
