/**
 * Whether a name is a public suffix, asked for every name of every list. tldts takes most of the time of reading a list
 * for that, so that what can be no rule is told by a few of its bytes first: a filter of every rule of the public suffix
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

const FILTER_BITS = 20;
/** Two bits for each rule. */
const filter = new Uint8Array(1 << (FILTER_BITS - 3));
/** Bytes that a name must have, and what stands behind its first dot, to be told by its first and last ones. */
const SHORTEST_NAME = 4;
const SHORTEST_REST = 2;
/** Keeps rules that begin with `*.` apart from others; above any length of a name. */
const WILDCARD = 0x100;

/**
 * False where `isPublicSuffix` of the name `bytes[from … to)` is, whose second label begins at `second`: then neither is the
 * name a rule, nor what stands behind its first dot one with `*.` before it, by length and by a few bytes. Of no use against
 * whoever wants to be asked about.
 */
export function mayBePublicSuffix(bytes: Uint8Array, from: number, second: number, to: number): boolean {
  if (to - from < SHORTEST_NAME || to - second < SHORTEST_REST) return true;
  return has(ruleKey(bytes, from, to)) || has(wildcardKey(bytes, second, to));
}

function ruleKey(bytes: Uint8Array, from: number, to: number): number {
  const head = half(bytes, from) | (half(bytes, from + 2) << 16);
  return mixed(head, half(bytes, to - 4) | (half(bytes, to - 2) << 16), to - from);
}

/** Of what stands behind `*.`. */
function wildcardKey(bytes: Uint8Array, from: number, to: number): number {
  return mixed(half(bytes, from), half(bytes, to - 2), to - from + WILDCARD);
}

function half(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function mixed(head: number, tail: number, length: number): number {
  const hash = Math.imul(Math.imul(head, 0x01000193) ^ tail, 0x9e3779b1);
  return Math.imul(hash ^ (hash >>> 15) ^ length, 0x85ebca6b);
}

function has(key: number): boolean {
  // Nearly always the first one tells.
  return hasBit(key >>> (32 - FILTER_BITS)) && hasBit(second(key));
}

function hasBit(bit: number): boolean {
  return ((filter[bit >>> 3]! >>> (bit & 7)) & 1) === 1;
}

function second(key: number): number {
  return Math.imul(key ^ (key >>> 16), 0xc2b2ae35) >>> (32 - FILTER_BITS);
}

function add(key: number): void {
  for (const bit of [key >>> (32 - FILTER_BITS), second(key)]) filter[bit >>> 3]! |= 1 << (bit & 7);
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
  const bytes = Buffer.from(rule, "latin1");
  if (rule.includes("*")) {
    const isUsual = rule.lastIndexOf("*") === 0 && rule[1] === "." && bytes.length >= 2 + SHORTEST_REST;
    // No list has had such a rule; every name is then asked about.
    if (!isUsual) filter.fill(0xff);
    add(wildcardKey(bytes, 2, bytes.length));
  } else if (bytes.length >= SHORTEST_NAME) add(ruleKey(bytes, 0, bytes.length));
}
