/**
 * Generated names: malware that finds its server by asking for names that it computes, of which nearly all do not exist.
 * A sequential test, as for port scans (port-scan.ts): each registrable domain that a container asks for the first time moves a
 * walk, up when it does not exist and down when it does, and farther up the more its label looks like chance
 * (lexical.ts). A walk never sinks below zero and halves in `halfLife`. A single name never suffices: the
 * most that one gives is `failure + chance`, an eighth of the threshold.
 *
 * Words strung together are found too, only later, since they look like names; then the failures alone speak. Failures of
 * a search list do not count: they lie below few registrable domains, each of which counts once.
 *
 * What is not seen: families that ask for less than some eight names in the half-life, or whose names mostly exist (sinkholed
 * families); and a program that asks for a list of dead domains without success is found like a dictionary family.
 *
 * Memory of a container: 4 KiB of domains it has asked for, and 0.5 KiB.
 */
import { wireToName } from "../name.ts";
import { typeName } from "../record-type.ts";
import { AllowedNames } from "./allowed-names.ts";
import { GENERATED_NAMES_DEFAULTS, type GeneratedNamesOptions } from "./generated-names-options.ts";
import { chanceBits } from "./lexical.ts";
import { endsInArpa, rootAt } from "./name-end.ts";
import { isBelowPrivateSuffix, registrableAt } from "./registrable.ts";
import { hashBytes, RecentSet } from "./sketch.ts";
import type { Detection, Detector, LookupEvent } from "./types.ts";

const NXDOMAIN = 3;
const GROWTH = 10;
const SAMPLES = 3;
/** Bytes kept of a sample: a whole label and most suffixes. */
const SAMPLE = 96;

class Walk {
  height = 0;
  /** When `height` was true. */
  time = 0;
  /** Since the walk last left the ground. */
  began = 0;
  failures = 0;
  successes = 0;
  chances = 0;
  last = 0;
  /** Failures when it was last told; 0: not told. */
  told = 0;
  readonly samples = new Uint8Array(SAMPLES * SAMPLE);
  readonly seen: RecentSet;

  constructor(domains: number) {
    this.seen = new RecentSet(domains);
  }
}

/** Whether the label is an A-label (RFC 5890): a word of another script looks like chance in Punycode. */
function isEncoded(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at]! > 4 &&
    bytes[at + 1] === 120 &&
    bytes[at + 2] === 110 &&
    bytes[at + 3] === 45 &&
    bytes[at + 4] === 45
  );
}

export interface GeneratedNamesDetector extends Detector<LookupEvent> {
  /**
   * Whether the container was told of, not long ago, and the domain looks like one of those names: perhaps the one that exists.
   * A single name is never told for that, and never to be learned.
   */
  doubts(event: LookupEvent, now: number): boolean;
  readonly stats: { readonly containers: number; readonly bytes: number };
}

export function createGeneratedNamesDetector(
  given: Partial<GeneratedNamesOptions> = {},
): GeneratedNamesDetector {
  const options = { ...GENERATED_NAMES_DEFAULTS, ...given };
  const allowed = new AllowedNames(options.allowed);
  const walks = new Map<string, Walk>();

  const walkOf = (container: string): Walk => {
    const known = walks.get(container);
    if (known !== undefined) return known;
    if (walks.size >= options.containers) {
      for (const first of walks.keys()) {
        walks.delete(first);
        break;
      }
    }
    const walk = new Walk(options.domains);
    walks.set(container, walk);
    return walk;
  };

  /** What the registrable label adds for its looks. */
  const chanceOf = (bytes: Uint8Array, start: number): number => {
    const bits = isEncoded(bytes, start) ? 0 : chanceBits(bytes, start + 1, bytes[start]!);
    const most = isBelowPrivateSuffix(bytes, start) ? options.chance / 2 : options.chance;
    return Math.min(most, Math.max(-options.words, bits * options.perBit));
  };

  return {
    observe(event, now) {
      if (event.phase !== "answer" || (event.rcode !== 0 && event.rcode !== NXDOMAIN)) return undefined;
      const { bytes } = event;
      const start = registrableAt(bytes, event.offset);
      if (start < 0) return undefined;
      const end = rootAt(bytes, start);
      // Most addresses have no name, and nobody registers there.
      if (endsInArpa(bytes, end)) return undefined;
      const walk = walkOf(event.container);
      if (!walk.seen.add(hashBytes(bytes, start, end, options.seed))) return undefined;
      if (allowed.cover(bytes, event.offset)) return undefined;

      if (walk.height > 0) walk.height *= 2 ** ((walk.time - now) / options.halfLife);
      walk.time = now;
      if (walk.told > 0 && now - walk.last > options.rest) walk.told = walk.height = 0;
      if (walk.height < 0.01 && walk.told === 0) {
        walk.height = walk.failures = walk.successes = walk.chances = 0;
        walk.began = now;
      }
      if (event.rcode === 0) {
        walk.successes++;
        walk.height = Math.max(0, walk.height - options.success);
        return undefined;
      }
      const label = chanceOf(bytes, start);
      if (label >= options.chance / 2) walk.chances++;
      // Past the threshold more says nothing, and the walk should come down again.
      walk.height = Math.min(2 * options.threshold, walk.height + Math.max(0, options.failure + label));
      const sample = (walk.failures % SAMPLES) * SAMPLE;
      for (let at = 0; at < SAMPLE; at++)
        walk.samples[sample + at] = start + at < end ? bytes[start + at]! : 0;
      walk.failures++;
      walk.last = now;
      if (walk.height < options.threshold || walk.failures < options.failures) return undefined;
      if (walk.told > 0 && walk.failures < walk.told * GROWTH) return undefined;
      walk.told = walk.failures;
      return describe(walk, event, now);
    },

    doubts(event, now) {
      const walk = walks.get(event.container);
      if (walk === undefined || walk.told === 0 || now - walk.last > options.rest) return false;
      const start = registrableAt(event.bytes, event.offset);
      if (start < 0 || allowed.cover(event.bytes, event.offset)) return false;
      return chanceOf(event.bytes, start) >= options.chance / 2;
    },

    forget(container) {
      walks.delete(container);
    },

    get stats() {
      let bytes = 0;
      for (const { seen, samples } of walks.values()) bytes += seen.bytes + samples.byteLength + 200;
      return { containers: walks.size, bytes };
    },
  };
}

function describe(walk: Walk, event: LookupEvent, now: number): Detection {
  const { failures, successes, chances } = walk;
  const samples = Array.from({ length: Math.min(SAMPLES, failures) }, (_, sample) =>
    wireToName(walk.samples.subarray(sample * SAMPLE, (sample + 1) * SAMPLE)),
  );
  const asked = failures + successes;
  const seconds = Math.max(1, Math.round((now - walk.began) / 1000));
  const time = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return {
    type: "dns",
    attackType: "suspiciousDNS",
    message: `${failures} of ${asked} domains asked for the first time in ${time} do not exist, like names that malware generates`,
    dns: {
      name: wireToName(event.bytes, event.offset),
      type: typeName(event.type),
      answers: [],
      rcode: "NXDOMAIN",
    },
    connection: null,
    reasons: [
      {
        kind: "detection",
        message: `${chances} of the ${failures} look like chance, among the last: ${samples.map((name) => `\`${name}\``).join(", ")}`,
      },
    ],
  };
}
