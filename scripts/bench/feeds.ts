/**
 * The index of feeds with 1.16 million names (the real list of `TIDESMAN_DATA`, or else derived ones) and with five times
 * as many: memory, build, opening and look-ups. Each figure is a median, what it is judged by is measured in turns with it:
 * `sort -u` of the same file; a hash and one read from a random place of as many bytes, which waits for the read before;
 * and the walk over suffixes with a `Set<string>`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { compileFeeds } from "../../src/feed/compile.ts";
import { DomainSet } from "../../src/feed/domain-set.ts";
import { SuffixHash } from "../../src/feed/hash.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { parseList } from "../../src/feed/parse.ts";
import type { CompiledFeeds, FeedSource } from "../../src/feed/types.ts";
import { nameToWire, wireToName } from "../../src/name.ts";
import type { FeedIndex } from "../../src/policy/types.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const REAL = join(DATA, "malicious-domains-1.16m.txt.xz");
const BUILD = join(import.meta.dirname, "build.ts");
const LINES = 1_160_000;
const ASKED = 20_000;
const ROUNDS = 41;
const SEED = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const SOURCE: FeedSource = { name: "bench", path: "bench", kind: "domain", match: "suffix", enabled: true };

/** Times in nanoseconds per look-up, or in milliseconds. */
export interface FeedFigures {
  readonly real: boolean;
  readonly names: number;
  /** Bytes per name: directory, codes and groups; the buckets with the stored names. */
  readonly table: number;
  readonly stored: number;
  readonly build: number;
  /** `sort -u` of the file as it is, and with its lines in no order: the real list comes sorted, which spares most of it. */
  readonly sort: number;
  readonly sortShuffled: number;
  readonly open: number;
  readonly miss: LookupFigures;
  readonly hit: LookupFigures;
  /** With the text of the entry read too, as a reason does. */
  readonly explained: number;
}

export interface LookupFigures {
  readonly index: number;
  /** Without the addon. */
  readonly portable: number;
  readonly hashAndRead: number;
  readonly suffixWalk: number;
}

/** The list's lines, then `times` − 1 variations of every one. */
export function measureFeeds(times: number): FeedFigures {
  const { real, lines: first } = benchLines();
  const lines = Array.from({ length: times }, (_, more) => {
    return more === 0
      ? first
      : first.filter((line) => !line.startsWith(".")).map((line) => `k${more}-${line}`);
  }).flat();
  const body = Buffer.from(`${lines.join("\n")}\n`);
  const sorts: number[] = [];
  const shuffledSorts: number[] = [];
  const builds: number[] = [];
  const folder = mkdtempSync(join(tmpdir(), "tidesman-bench-"));
  try {
    const file = join(folder, "names.txt");
    writeFileSync(file, body);
    const shuffledFile = join(folder, "shuffled.txt");
    writeFileSync(shuffledFile, `${shuffled(lines).join("\n")}\n`);
    for (let round = 0; round < (times === 1 ? 3 : 1); round++) {
      sorts.push(milliseconds(() => sortUnique(file)));
      shuffledSorts.push(milliseconds(() => sortUnique(shuffledFile)));
      builds.push(Number(execFileSync(process.execPath, [BUILD, file], { encoding: "utf8" })));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  const feeds = build(body);
  const set = new DomainSet(feeds.domains, feeds.sources, { trusted: false });
  return {
    real,
    names: set.size,
    table: set.bytes.table / set.size,
    stored: set.bytes.buckets / set.size,
    build: median(builds),
    sort: median(sorts),
    sortShuffled: median(shuffledSorts),
    open: median(Array.from({ length: 5 }, () => milliseconds(() => openFeeds(feeds)))),
    ...measureLookups(feeds, lines),
  };
}

function measureLookups(
  feeds: CompiledFeeds,
  lines: readonly string[],
): Pick<FeedFigures, "miss" | "hit" | "explained"> {
  const index = openFeeds(feeds);
  const portable = openFeeds(feeds, { portable: true });
  const listed = new Set(lines);
  const memory = new Uint32Array(new SharedArrayBuffer(feeds.domains.byteLength & ~3));
  // Every page must be one of its own, not the zero page.
  for (let word = 0; word < memory.length; word++) memory[word] = Math.imul(word, 0x9e3779b1);
  const random = generator();
  const names: string[] = [];
  while (names.length < ASKED) {
    const line = lines[Math.floor(random() * lines.length)] ?? "";
    if (index.domain(nameToWire(line) ?? new Uint8Array(1), 0).length > 0) names.push(line);
  }
  const hits = packed(names);
  // The registrable name changed to one that nobody lists.
  const misses = packed(names.map((name) => name.replace(/(?<=^|\.)[^.]+\.[^.]+$/, "q9$&")));
  const times = {
    miss: lookupTimes(),
    hit: lookupTimes(),
  };
  const explained: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [kind, asked] of [["miss", misses] as const, ["hit", hits] as const]) {
      const into = times[kind];
      into.index.push(nanoseconds(() => lookUp(index, asked)));
      into.portable.push(nanoseconds(() => lookUp(portable, asked)));
      into.hashAndRead.push(nanoseconds(() => hashAndRead(memory, asked, kind === "hit")));
      into.suffixWalk.push(nanoseconds(() => suffixWalk(listed, asked)));
    }
    explained.push(nanoseconds(() => lookUpAndRead(index, hits)));
  }
  const figures = ({ index, portable, hashAndRead, suffixWalk }: LookupTimes): LookupFigures => ({
    index: median(index),
    portable: median(portable),
    hashAndRead: median(hashAndRead),
    suffixWalk: median(suffixWalk),
  });
  return { miss: figures(times.miss), hit: figures(times.hit), explained: median(explained) };
}

type LookupTimes = Record<keyof LookupFigures, number[]>;

function lookupTimes(): LookupTimes {
  return { index: [], portable: [], hashAndRead: [], suffixWalk: [] };
}

interface Asked {
  /** Names in wire form, one after the other, as packets bring them. */
  readonly bytes: Uint8Array;
  readonly offsets: readonly number[];
}

function packed(texts: readonly string[]): Asked {
  const names = texts.map((text) => nameToWire(text) ?? new Uint8Array(1));
  let end = 0;
  const offsets = names.map((name) => {
    const offset = end;
    end += name.length;
    return offset;
  });
  return { bytes: new Uint8Array(Buffer.concat(names)), offsets };
}

function lookUp(index: FeedIndex, { bytes, offsets }: Asked): number {
  let hits = 0;
  for (const offset of offsets) hits += index.domain(bytes, offset).length;
  return hits;
}

function lookUpAndRead(index: FeedIndex, { bytes, offsets }: Asked): number {
  let length = 0;
  for (const offset of offsets) for (const hit of index.domain(bytes, offset)) length += hit.entry.length;
  return length;
}

/** `whole`: the hash of all labels, as a hit needs it; else of the last two, where a miss ends. */
function hashAndRead(memory: Uint32Array, { bytes, offsets }: Asked, whole: boolean): number {
  const hash = new SuffixHash(1, 2);
  const labels = new Int32Array(128);
  let read = 0;
  for (const offset of offsets) {
    let count = 0;
    let end = offset;
    for (let length = bytes[end]!; length !== 0; length = bytes[end]!) {
      labels[count++] = end;
      end += length + 1;
    }
    hash.start();
    hash.label(bytes, labels[count - 1]! + 1, end);
    for (let label = count - 2; label >= (whole ? 0 : count - 2); label--) {
      hash.label(bytes, labels[label]! + 1, labels[label + 1]!);
      hash.finish();
    }
    const place = (hash.high ^ (read & 1)) >>> 0;
    read = memory[Math.floor((place * memory.length) / 0x1_0000_0000)]!;
  }
  return read;
}

function suffixWalk(listed: Set<string>, { bytes, offsets }: Asked): number {
  let hits = 0;
  for (const offset of offsets) {
    for (let suffix = wireToName(bytes, offset); ; ) {
      if (listed.has(suffix)) {
        hits++;
        break;
      }
      const dot = suffix.indexOf(".");
      if (dot < 0) break;
      suffix = suffix.slice(dot + 1);
    }
  }
  return hits;
}

/** The real list, or one of derived names where it is not there. */
export function benchLines(): { readonly real: boolean; readonly lines: readonly string[] } {
  const real = existsSync(REAL);
  return {
    real,
    lines: real ? realLines() : Array.from({ length: LINES }, (_, index) => derivedName(index)),
  };
}

/** One feed of a plain list, compiled as an update does. */
export function build(body: Uint8Array): CompiledFeeds {
  const { entries, count, refused, samples } = parseList(body, { kind: "domain", match: "suffix", now: 0 });
  const { name, kind } = SOURCE;
  const status = { name, kind, entries: count, refused, samples, loadedAt: 0, error: null };
  return compileFeeds([{ source: SOURCE, entries, status }], SEED);
}

function realLines(): string[] {
  const text = execFileSync("xz", ["-dc", REAL], { maxBuffer: 1 << 30 }).toString("latin1");
  return text.split("\n").filter((line) => line !== "");
}

/** Durstenfeld's shuffle. */
function shuffled(lines: readonly string[]): string[] {
  const all = [...lines];
  const random = generator();
  for (let at = all.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [all[at], all[other]] = [all[other]!, all[at]!];
  }
  return all;
}

function sortUnique(file: string): void {
  execFileSync("sort", ["-u", "-o", "/dev/null", file], { env: { ...process.env, LC_ALL: "C" } });
}

/** Names of about the length of real ones. */
function derivedName(index: number): string {
  const label = Math.imul(index, 0x9e3779b1) >>> 0;
  const tld = ["com", "net", "example", "org", "info"][index % 5];
  return index % 3 === 0 ? `www.${label.toString(36)}-shop.${tld}` : `${label.toString(36)}secure.${tld}`;
}

function generator(): () => number {
  let state = 12345;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

function milliseconds(work: () => unknown): number {
  const began = performance.now();
  work();
  return performance.now() - began;
}

function nanoseconds(pass: () => unknown): number {
  return (milliseconds(pass) * 1e6) / ASKED;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
}
