/**
 * What the detector of generated names finds: `node scripts/detections/generated-names.ts DIRECTORY`. Each file of the
 * directory holds names of a family, one a line; a container asks for them one a second, none exists. From many places of
 * the file on, so that the figures do not hang on the order: how often names were found, after how many failed lookups.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createGeneratedNamesDetector } from "../../src/detect/generated-names.ts";
import { nameToWire } from "../../src/name.ts";

const STARTS = 100;
/** Names that a family is given to be found in. */
const NAMES = 250;

export interface FamilyFigures {
  readonly family: string;
  readonly names: number;
  /** Share of the starting places from which it was found. */
  readonly found: number;
  /** Failed lookups until it was, half of the time and at most; null where it never was. */
  readonly median: number | null;
  readonly most: number | null;
}

export function measureFamily(family: string, names: readonly string[]): FamilyFigures {
  const wires = names.map((name) => nameToWire(name)).filter((wire) => wire !== null);
  const starts = Math.min(STARTS, wires.length);
  const took: number[] = [];
  for (let start = 0; start < starts; start++) {
    const first = Math.floor((start * wires.length) / starts);
    const detector = createGeneratedNamesDetector();
    for (let index = 0; index < Math.min(NAMES, wires.length); index++) {
      const bytes = wires[(first + index) % wires.length]!;
      const event = {
        container: "c",
        phase: "answer",
        bytes,
        offset: 0,
        type: 1,
        rcode: 3,
        size: 100,
      } as const;
      if (detector.observe(event, index * 1000) === undefined) continue;
      took.push(index + 1);
      break;
    }
  }
  took.sort((a, b) => a - b);
  return {
    family,
    names: wires.length,
    found: starts === 0 ? 0 : took.length / starts,
    median: took[took.length >> 1] ?? null,
    most: took.at(-1) ?? null,
  };
}

/** Figures of every `FAMILY.txt` in the directory, in order of name. */
export function measureFamilies(directory: string): FamilyFigures[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(".txt"))
    .sort()
    .map((file) => {
      const names = readFileSync(join(directory, file), "utf8").split("\n");
      return measureFamily(
        basename(file, ".txt"),
        names.filter((name) => name !== ""),
      );
    });
}

if (import.meta.main) {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) throw new Error("say which directory holds FAMILY.txt files");
  process.stdout.write(
    "| family | names | found | failed lookups, median | at most |\n|---|---|---|---|---|\n",
  );
  for (const { family, names, found, median, most } of measureFamilies(directory)) {
    const share = `${(found * 100).toFixed(0)} %`;
    process.stdout.write(`| ${family} | ${names} | ${share} | ${median ?? "-"} | ${most ?? "-"} |\n`);
  }
}
