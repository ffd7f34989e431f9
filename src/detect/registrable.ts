/**
 * Where the registrable domain of a name begins: one label below its public suffix, by the public suffix list with its
 * ICANN and private sections. Asked for every lookup, so it walks the trie of tldts on wire bytes, where tldts would
 * want a string; the tests hold it against tldts itself.
 */
import { createRequire } from "node:module";

/** The edges of node `n` are `edgeStart[n] … edgeStart[n + 1]`, their labels one text in order. */
interface Trie {
  readonly nodeFlags: Uint8Array;
  readonly edgeStart: Uint16Array;
  readonly edgeLength: Uint8Array;
  readonly edgeChild: Uint16Array;
  readonly labelText: string;
  readonly rulesRoot: number;
  readonly exceptionsRoot: number;
}

const { nodeFlags, edgeStart, edgeLength, edgeChild, labelText, rulesRoot, exceptionsRoot }: Trie =
  createRequire(import.meta.url)("tldts/dist/es6/src/data/trie.js");

const STAR = 42;
const text = Buffer.from(labelText, "latin1");
const offsets = new Uint32Array(edgeLength.length);
/** Edge that is `*`, by node; -1 where there is none. */
const wildcards = new Int32Array(nodeFlags.length).fill(-1);
/** Open addressing by node and label: edge + 1, 0 where free. A hit is compared, so equal hashes do no harm. */
const SLOTS = 1 << 15;
const slots = new Uint16Array(SLOTS);

function slotOf(node: number, bytes: Uint8Array, start: number, length: number): number {
  let hash = node ^ 0x811c9dc5;
  for (let at = start; at < start + length; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}

/** Which node an edge leaves, so that a label is only found below its own parent. */
const parents = new Uint16Array(edgeLength.length);
for (let node = 0, offset = 0; node < nodeFlags.length; node++) {
  for (let edge = edgeStart[node]!; edge < edgeStart[node + 1]!; edge++) {
    const length = edgeLength[edge]!;
    offsets[edge] = offset;
    parents[edge] = node;
    if (length === 1 && text[offset] === STAR) wildcards[node] = edge;
    let slot = slotOf(node, text, offset, length);
    while (slots[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
    slots[slot] = edge + 1;
    offset += length;
  }
}

function edgeOf(node: number, bytes: Uint8Array, start: number, length: number): number {
  for (let slot = slotOf(node, bytes, start, length); slots[slot] !== 0; slot = (slot + 1) & (SLOTS - 1)) {
    const edge = slots[slot]! - 1;
    if (parents[edge] !== node || edgeLength[edge] !== length) continue;
    let same = 0;
    const offset = offsets[edge]!;
    while (same < length && text[offset + same] === bytes[start + same]) same++;
    if (same === length) return edge;
  }
  return wildcards[node]!;
}

/** Where the labels of the name asked for begin. A name of 255 bytes has at most 127. */
const starts = new Uint8Array(128);

/** What `nodeFlags` says of a rule of the private section; 1 is the ICANN section. */
const PRIVATE = 2;
/** Flags of the rule that `depthOf` found. */
let flags = 0;

/** Labels of the longest rule under `root` that ends the name; 0: none. */
function depthOf(root: number, bytes: Uint8Array, offset: number, labels: number): number {
  let found = 0;
  flags = 0;
  let node = root;
  for (let depth = 1; depth <= labels; depth++) {
    const start = offset + starts[labels - depth]!;
    const edge = edgeOf(node, bytes, start + 1, bytes[start]!);
    if (edge < 0) break;
    node = edgeChild[edge]!;
    if (nodeFlags[node] === 0) continue;
    found = depth;
    flags = nodeFlags[node]!;
  }
  return found;
}

/**
 * Offset in `bytes` of the registrable domain of the folded wire name at `offset`; -1 for a name that has none: the root, a
 * public suffix, a single label, bytes that are no whole name. A last label that the list does not know is a suffix.
 */
export function registrableAt(bytes: Uint8Array, offset: number): number {
  let labels = 0;
  let at = offset;
  while (at < bytes.length && bytes[at] !== 0) {
    if (bytes[at]! > 63 || at - offset > 253) return -1;
    starts[labels++] = at - offset;
    at += bytes[at]! + 1;
  }
  if (at >= bytes.length || labels < 2) return -1;
  const exception = depthOf(exceptionsRoot, bytes, offset, labels);
  const suffix = exception > 0 ? exception - 1 : Math.max(1, depthOf(rulesRoot, bytes, offset, labels));
  return labels > suffix ? offset + starts[labels - suffix - 1]! : -1;
}

/** Whether that domain is below a suffix of the private section: a customer's name at a hoster, often not chosen by hand. */
export function isBelowPrivateSuffix(bytes: Uint8Array, offset: number): boolean {
  return registrableAt(bytes, offset) >= 0 && flags === PRIVATE;
}
