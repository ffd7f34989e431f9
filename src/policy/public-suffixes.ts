/** Names under which anybody can register: the public suffix list, its ICANN and its private section. */
import { parse } from "tldts";
import { wireToName } from "../name.ts";
import type { NamePattern } from "./domains.ts";

/**
 * The public suffix that a wildcard covers whole (`*.com`, `.co.uk`, `*.github.io`, `*`), or null. A plain name covers
 * none, and a last label that the list does not know (`*.internal`, `*.local`) is a private one. Suffixes further below
 * a name that is none itself are found only where the list has them as a wildcard.
 */
export function coveredSuffix(pattern: NamePattern): string | null {
  if (pattern.kind === "exact") return null;
  if (pattern.wire.length === 1) return "*";
  const name = wireToName(pattern.wire);
  if (isPublicSuffix(name)) return name;
  return isPublicSuffix(`x.${name}`) ? `*.${name}` : null;
}

function isPublicSuffix(name: string): boolean {
  const { publicSuffix, isIcann, isPrivate } = parse(name, {
    allowPrivateDomains: true,
    detectIp: false,
    extractHostname: false,
    validateHostname: false,
  });
  return publicSuffix === name && (isIcann === true || isPrivate === true);
}
