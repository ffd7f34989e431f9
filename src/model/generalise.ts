/** What may be learned of names, and when many of them become one entry. Pure. */
import { parse } from "tldts";
import { SUFFIX_PARENTS } from "./suffix-parents.ts";

/** Children of one parent that a model holds one by one; more become `*.parent`. */
export const MAX_CHILDREN = 20;
/** The same for children whose first label looks rotating. */
export const MAX_ROTATING = 5;
/** Names below one registrable domain, at any depth, that a model holds one by one. */
export const MAX_BELOW_DOMAIN = 64;
/** Tenants of one suffix of the private section (buckets), which no wildcard may cover, with names at any depth. */
export const MAX_BELOW_SUFFIX = 64;
/** Longest name that is learned; characters. Ordinary names are far shorter, those that carry data are not. */
const MAX_LEARNED_NAME = 180;
const MAX_LEARNED_LABEL = 56;

export interface Place {
  /** What somebody registered: one label under a public suffix. Null for a suffix and for a name of one label. */
  readonly domain: string | null;
  readonly suffix: string;
  /** Section of the list that holds the suffix; `none`: an internal name. */
  readonly section: "icann" | "private" | "none";
}

/** Where a name stands among the public suffixes. */
export function placeOf(name: string): Place {
  const { domain, publicSuffix, isIcann, isPrivate } = parse(name, {
    allowPrivateDomains: true,
    detectIp: false,
    extractHostname: false,
    validateHostname: false,
  });
  const section = isPrivate === true ? "private" : isIcann === true ? "icann" : "none";
  return { domain, suffix: publicSuffix ?? "", section };
}

/** The name without its first label; empty for a name of one label. */
export function parentOf(name: string): string {
  const dot = name.indexOf(".");
  return dot < 0 ? "" : name.slice(dot + 1);
}

/** Whether `*.parent` covers nothing that others can register: it is below every public suffix. */
export function mayCover(parent: string): boolean {
  const { domain, section } = placeOf(parent);
  if (domain === null || SUFFIX_PARENTS.has(parent)) return false;
  // A rule such as `*.ck` makes every child a suffix, which the parent does not show.
  if (placeOf(`x.${parent}`).domain === null) return false;
  // The top of an internal zone is whole infrastructure.
  return section !== "none" || parent !== domain;
}

/** Labels that something counts or draws: a digit run of three, hex or long and mixed, or a number behind a word. */
export function looksRotating(label: string): boolean {
  if (/\d{3,}/.test(label) || /[a-z]-?\d+$/.test(label)) return true;
  if (label.length >= 8 && /^[0-9a-f-]+$/.test(label) && /\d/.test(label)) return true;
  if (label.length < 12) return false;
  const digits = label.replaceAll(/\D/g, "").length;
  const vowels = label.replaceAll(/[^aeiou]/g, "").length;
  return digits >= 3 || vowels * 6 < label.length;
}

/** Whether a name may become an entry: not a public suffix, and not of a shape that carries data. */
export function mayLearn(name: string): boolean {
  if (name === "" || name === "." || name.length > MAX_LEARNED_NAME) return false;
  const { domain, section } = placeOf(name);
  if (domain === null && section !== "none") return false;
  return name.split(".").every((label) => label.length <= MAX_LEARNED_LABEL);
}
