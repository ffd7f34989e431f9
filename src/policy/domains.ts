/**
 * Name patterns and the matcher over wire names.
 *
 * `example.com` is that name alone, `*.example.com` every name below it at any depth, `.example.com` both, and `*`
 * every name there is. The matcher is a hash table over suffixes: each pattern's name is in it, and so is every parent
 * of it, marked as having children, so that a walk from the right ends at the first label that no pattern shares. A hit
 * is compared byte for byte; a hash that collides costs a comparison and nothing else.
 */
import { parseAddress } from "../address.ts";
import { nameToWire, wireToName } from "../name.ts";

export interface NamePattern {
  /** As the operator wrote it. */
  readonly entry: string;
  /** `exact`: the name alone; `below`: what is under it; `both`. */
  readonly kind: "exact" | "below" | "both";
  /** Name without its wildcard, wire form, folded; the root for `*`. */
  readonly wire: Uint8Array;
}

/** What a matcher found. One object per pattern, frozen, so that it can key caches. */
export interface NameMatch {
  readonly entry: string;
  readonly match: "exact" | "suffix";
}

/** A pattern, or a text that says why it is none and what is allowed. */
export function parseNamePattern(entry: string): NamePattern | string {
  if (entry === "*") return { entry, kind: "below", wire: Uint8Array.of(0) };
  const kind = entry.startsWith("*.") ? "below" : entry.startsWith(".") ? "both" : "exact";
  const name = entry.slice(kind === "below" ? 2 : kind === "both" ? 1 : 0);
  if (entry !== entry.trim() || entry === "") return "has blanks around it or is empty; write the name alone";
  if (/[/?#@]/.test(entry)) return "is a URL or holds a path; write the host name alone";
  if (parseAddress(name) !== null) return "is an address; those belong in `network.outboundAddresses`";
  if (/^[\d.]+$/.test(name)) {
    return "is made of numbers, as no name is, and no address either; those belong in `network.outboundAddresses`";
  }
  if (name.includes(":")) return "holds a port; write the host name alone";
  if (name.includes("*")) {
    return "has a wildcard inside; `*` may stand alone or as the whole first label (`*.example.com`)";
  }
  if (/[\0-,;-@[-^`{-\x7f]/.test(name)) {
    return "holds a character that no host name has; letters, digits, `-`, `_` and dots are allowed";
  }
  const wire = nameToWire(name);
  if (wire === null || wire.length === 1) {
    return "is no domain name; labels of 1 to 63 bytes, 255 in all, are allowed (`example.com`, `*.example.com`, `.example.com`)";
  }
  return { entry, kind, wire };
}

/** Name of a pattern in the form in which two spellings of one pattern are equal: `*.xn--bcher-kva.example`. */
export function canonicalPattern(pattern: NamePattern): string {
  if (pattern.wire.length === 1) return "*";
  const prefix = pattern.kind === "below" ? "*." : pattern.kind === "both" ? "." : "";
  return prefix + wireToName(pattern.wire);
}

/** One suffix in the table: the wire name, and what patterns say of it and of what lies below. */
interface Suffix {
  readonly wire: Uint8Array;
  exact: NameMatch | null;
  below: NameMatch | null;
}

const MAX_LABELS = 128;
/** Where the labels of the name at hand start; a look-up is synchronous, so one is enough. */
const labelStarts = new Uint16Array(MAX_LABELS);
const HASH_START = 0x811c9dc5;

/** FNV-1a over one label, length byte first, continued from the hash of the labels to its right. */
function hashLabel(hash: number, bytes: Uint8Array, at: number): number {
  const end = at + bytes[at]!;
  for (let index = at; index <= end; index++) hash = Math.imul(hash ^ bytes[index]!, 0x01000193);
  return hash;
}

/** Writes where the labels of the name at `bytes[offset]` start to `labelStarts`; returns their number. */
function splitLabels(bytes: Uint8Array, offset: number): number {
  let count = 0;
  let at = offset;
  for (let length = bytes[at]!; length > 0 && count < MAX_LABELS; length = bytes[at]!) {
    labelStarts[count++] = at;
    at += length + 1;
  }
  return count;
}

/** Immutable set of name patterns; the most specific one answers. */
export class NameMatcher {
  /** Open addressing, linear probing, at most half full: index + 1 into `#suffixes`, 0 is empty. */
  readonly #slots: Int32Array;
  readonly #hashes: Int32Array;
  readonly #suffixes: Suffix[] = [];
  readonly #mask: number;
  readonly #root: NameMatch | null;

  constructor(patterns: readonly NamePattern[]) {
    let labels = 0;
    for (const { wire } of patterns) labels += splitLabels(wire, 0);
    let size = 4;
    while (size < labels * 2) size *= 2;
    this.#mask = size - 1;
    this.#slots = new Int32Array(size);
    this.#hashes = new Int32Array(size);
    let root: NameMatch | null = null;
    for (const { entry, kind, wire } of patterns) {
      // Of two patterns that say the same the first written answers; a plain name goes before `.name`.
      const match: NameMatch = Object.freeze({ entry, match: kind === "exact" ? "exact" : "suffix" });
      const own = this.#insert(wire);
      if (own === null) root ??= match;
      else if (kind === "exact") {
        if (own.exact?.match !== "exact") own.exact = match;
      } else {
        if (kind === "both") own.exact ??= match;
        own.below ??= match;
      }
    }
    this.#root = root;
  }

  /** Adds a name and its parents; returns the name's own suffix, null for the root. */
  #insert(wire: Uint8Array): Suffix | null {
    let own: Suffix | null = null;
    let hash = HASH_START;
    for (let label = splitLabels(wire, 0) - 1; label >= 0; label--) {
      const at = labelStarts[label]!;
      hash = hashLabel(hash, wire, at);
      own = this.#lookup(hash, wire, at, wire.length - 1 - at);
      if (own !== null) continue;
      own = { wire: wire.subarray(at), exact: null, below: null };
      let slot = hash & this.#mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = this.#suffixes.push(own);
      this.#hashes[slot] = hash;
    }
    return own;
  }

  /** The most specific pattern that covers the folded wire name at `bytes[offset]`, or null. Does not allocate. */
  find(bytes: Uint8Array, offset = 0): NameMatch | null {
    const count = splitLabels(bytes, offset);
    if (count === 0) return this.#root;
    const last = labelStarts[count - 1]!;
    const end = last + bytes[last]! + 1;
    let best = this.#root;
    let hash = HASH_START;
    for (let label = count - 1; label >= 0; label--) {
      const at = labelStarts[label]!;
      hash = hashLabel(hash, bytes, at);
      const suffix = this.#lookup(hash, bytes, at, end - at);
      if (suffix === null) return best;
      if (label === 0) return suffix.exact ?? best;
      best = suffix.below ?? best;
    }
    return best;
  }

  /** `length`: bytes without the root label. */
  #lookup(hash: number, bytes: Uint8Array, at: number, length: number): Suffix | null {
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const index = this.#slots[slot]!;
      if (index === 0) return null;
      if (this.#hashes[slot] !== hash) continue;
      const suffix = this.#suffixes[index - 1]!;
      if (suffix.wire.length === length + 1 && sameBytes(suffix.wire, bytes, at, length)) return suffix;
    }
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array, offset: number, length: number): boolean {
  for (let index = 0; index < length; index++) if (a[index] !== b[offset + index]) return false;
  return true;
}
