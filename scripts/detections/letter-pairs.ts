/**
 * Makes src/detect/letter-pairs.ts: how often which character follows which in ordinary names.
 * `node scripts/detections/letter-pairs.ts NAMES... > src/detect/letter-pairs.ts`; each file holds a name a line. Only
 * counts of pairs come out of it, quantised to a quarter of a bit; no name can be read from them.
 */
import { readFileSync } from "node:fs";
import { CLASSES, classOf, DIGIT, OTHER } from "../../src/detect/lexical.ts";

/** Spreads a little weight over pairs that were never seen. */
const SMOOTHING = 0.5;
const STEPS = 4;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";

const labels = new Set<string>();
for (const path of process.argv.slice(2)) {
  for (const line of readFileSync(path, "utf8").split("\n")) {
    const parts = line.trim().toLowerCase().split(".");
    // Top-level domains are few and the same everywhere.
    for (const label of parts.slice(0, -1)) {
      // Hashes and addresses are no words.
      if (label.length > 2 && label.length <= 24 && (label.match(/\d/g)?.length ?? 0) <= 2) labels.add(label);
    }
  }
}

const counts = new Float64Array(CLASSES * CLASSES).fill(SMOOTHING);
for (const label of labels) {
  let before = 0;
  for (let at = 0; at < label.length; at++) {
    const next = classOf(label.charCodeAt(at));
    counts[before * CLASSES + next]!++;
    before = next;
  }
  counts[before * CLASSES]!++;
}

let costs = "";
for (let before = 0; before < CLASSES; before++) {
  const row = counts.subarray(before * CLASSES, (before + 1) * CLASSES);
  const sum = row.reduce((total, count) => total + count, 0);
  for (let next = 0; next < CLASSES; next++) {
    const members = next === DIGIT ? 10 : next === OTHER ? 128 : 1;
    const bits = -Math.log2(row[next]! / sum / members);
    costs += ALPHABET[Math.min(63, Math.round(bits * STEPS))];
  }
}
const rows = Array.from({ length: CLASSES }, (_, row) => costs.slice(row * CLASSES, (row + 1) * CLASSES));
process.stdout.write(`/**
 * What a character costs after another in ordinary names, in quarters of a bit: -4 log2 P(next | before), a base64-like
 * digit each (0-9, A-Z, a-z, +, -). A row for each class of lexical.ts before, a column for each next; the first of
 * both is the edge of a label. Made by scripts/detections/letter-pairs.ts from pair counts over the labels of two public
 * lists of popular names (Tranco and Cisco Umbrella, CC0), of which nothing else is here.
 */
export const LETTER_PAIRS =
${rows.map((row) => `  "${row}"`).join(" +\n")};
`);
