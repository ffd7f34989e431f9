/**
 * Whether a name is a public suffix, asked for every name of every list. tldts takes most of the time of reading a list
 * for that, so that what can be no rule is told by a hash first: a filter with a bit for every rule of the public suffix
 * list, made from the trie that tldts itself asks.
 */
import { createRequire } from "node:module";
import { getPublicSuffix } from "tldts";

const PLAIN = { extractHostname: false, validateHostname: false, detectIp: false };
const ICANN = { ...PLAIN, allowPrivateDomains: false };
const PRIVATE = { ...PLAIN, allowPrivateDomains: true };

/**
 * Whether to list `name` would be to list a registry or a hoster: it is a rule of the public suffix list (`co.uk`,
 * `github.io`), or a suffix in use below a wildcard rule of its ICANN section (`x.ck`). A name below a wildcard rule of
 * the private section (`x.localto.net`) belongs to one customer, and feeds rightly list those. Folded ASCII.
 */
export function isPublicSuffix(name: string): boolean {
  if (getPublicSuffix(name, PRIVATE) !== name) return false;
  if (getPublicSuffix(name, ICANN) === name) return true;
  // No rule names this label, so a suffix that it makes comes from a wildcard.
  const wildcard = `0-no-rule-names-this-0${name.slice(name.indexOf("."))}`;
  return getPublicSuffix(wildcard, PRIVATE) !== wildcard;
}

/** Hash of no bytes. */
export const EMPTY = 0x811c9dc5 | 0;

/** The hash of the bytes that `hash` is of and one more (FNV-1a); of no use against whoever wants two to be equal. */
export function hashByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193);
}

const FILTER_BITS = 20;
const rules = new Uint8Array(1 << (FILTER_BITS - 3));
/** Of rules that begin with `*.`: what stands behind that. */
const wildcards = new Uint8Array(1 << (FILTER_BITS - 3));

/**
 * False where `isPublicSuffix` of a name of two or more labels is: then neither is the name a rule nor the part of it
 * behind the first dot one with `*.` before it. By hash: of the whole name, and of that part.
 */
export function mayBePublicSuffix(whole: number, rest: number): boolean {
  return has(rules, whole) || has(wildcards, rest);
}

function has(filter: Uint8Array, hash: number): boolean {
  const bit = Math.imul(hash, 0x9e3779b1) >>> (32 - FILTER_BITS);
  return ((filter[bit >>> 3]! >>> (bit & 7)) & 1) === 1;
}

function add(filter: Uint8Array, name: string): void {
  let hash = EMPTY;
  for (let at = 0; at < name.length; at++) hash = hashByte(hash, name.charCodeAt(at));
  const bit = Math.imul(hash, 0x9e3779b1) >>> (32 - FILTER_BITS);
  filter[bit >>> 3]! |= 1 << (bit & 7);
}

/** What tldts walks: the edges of node `n` are `edgeStart[n] … edgeStart[n + 1]`, their labels one text in order. */
interface Trie {
  readonly nodeFlags: Uint8Array;
  readonly edgeStart: Uint16Array;
  readonly edgeLength: Uint8Array;
  readonly edgeChild: Uint16Array;
  readonly labelText: string;
  readonly rulesRoot: number;
}

/** Every rule of the public suffix list that tldts knows, exceptions aside. */
export function publicSuffixRules(): string[] {
  const trie: Trie = createRequire(import.meta.url)("tldts/dist/es6/src/data/trie.js");
  const { nodeFlags, edgeStart, edgeLength, edgeChild, labelText, rulesRoot } = trie;
  const offsets = new Uint32Array(edgeLength.length + 1);
  for (const [edge, length] of edgeLength.entries()) offsets[edge + 1] = offsets[edge]! + length;
  const found: string[] = [];
  const below = (node: number, behind: string): void => {
    for (let edge = edgeStart[node]!; edge < edgeStart[node + 1]!; edge++) {
      const rule = labelText.slice(offsets[edge], offsets[edge + 1]) + behind;
      if (nodeFlags[edgeChild[edge]!] !== 0) found.push(rule);
      below(edgeChild[edge]!, `.${rule}`);
    }
  };
  below(rulesRoot, "");
  return found;
}

for (const rule of publicSuffixRules()) {
  if (!rule.includes("*")) add(rules, rule);
  else if (rule.lastIndexOf("*") === 0 && rule[1] === ".") add(wildcards, rule.slice(2));
  else {
    // No list has had such a rule; every name is then asked about.
    rules.fill(0xff);
  }
}
