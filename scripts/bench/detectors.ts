/** What the detectors that look at lookups cost: nanoseconds per event (a query, or its answer). */
import { createExfiltrationDetector } from "../../src/detect/exfiltration.ts";
import { createGeneratedNamesDetector } from "../../src/detect/generated-names.ts";
import type { Detector, LookupEvent } from "../../src/detect/types.ts";
import { nameToWire } from "../../src/name.ts";

/** Rounds until code is compiled, and those that are measured. */
const WARM_ROUNDS = 4;
const ROUNDS = 5;
const NAMES = 1000;
const CONTAINERS = 100;
const REPEATS = 200;

export interface DetectorFigures {
  /** A container's usual names, asked for again and again, in nanoseconds per event. */
  readonly exfiltration: number;
  readonly generatedNames: number;
  /** Each event a name never seen before, below 20 domains and each a domain of its own. */
  readonly exfiltrationNew: number;
  readonly generatedNamesNew: number;
  /** Whether a lookup is suspicious, where nothing was told of the container. */
  readonly suspicious: number;
}

export function measureDetectors(): DetectorFigures {
  const usual = Array.from({ length: NAMES }, (_, index) =>
    nameToWire(`host${index % 10}.service${index % 3}.site${index % 50}.com`),
  ).filter((wire) => wire !== null);
  const fresh = usual.map(() => nameToWire("aaaaaaaaaaaa.site.com")).filter((wire) => wire !== null);
  const below = fresh
    .map((_, index) => nameToWire(`aaaaaaaaaaaa.site${index % 20}.com`))
    .filter((wire) => wire !== null);
  const own = fresh
    .map((_, index) => nameToWire(`www.aaaaaaaaaaaa${index % 10}.com`))
    .filter((wire) => wire !== null);
  let serial = 0;
  /** Writes a number that was not used before over the twelve letters at `at`. */
  const renew = (bytes: Uint8Array, at: number): void => {
    let rest = serial++;
    for (let index = at; index < at + 12; index++, rest = Math.floor(rest / 26))
      bytes[index] = 97 + (rest % 26);
  };
  const exfiltration = createExfiltrationDetector();
  return {
    exfiltration: median(() => cost(exfiltration, usual)),
    generatedNames: median(() => cost(createGeneratedNamesDetector(), usual)),
    exfiltrationNew: median(() => cost(createExfiltrationDetector(), below, (bytes) => renew(bytes, 1))),
    generatedNamesNew: median(() => cost(createGeneratedNamesDetector(), own, (bytes) => renew(bytes, 5))),
    suspicious: median(() =>
      cost({ observe: (event, now) => exfiltration.suspicious(event, now), forget() {} }, usual),
    ),
  };
}

function cost(
  detector: Detector<LookupEvent>,
  names: readonly Uint8Array[],
  renew?: (bytes: Uint8Array) => void,
): number {
  const containers = Array.from({ length: CONTAINERS }, (_, index) => `container-${index}`);
  const event: LookupEvent = {
    container: "",
    phase: "query",
    bytes: names[0]!,
    offset: 0,
    type: 1,
    rcode: 0,
    size: 0,
  };
  let now = 0;
  const began = performance.now();
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    event.container = containers[repeat % CONTAINERS]!;
    for (const bytes of names) {
      renew?.(bytes);
      event.bytes = bytes;
      event.phase = "query";
      event.size = 0;
      detector.observe(event, ++now);
      event.phase = "answer";
      event.size = 120;
      detector.observe(event, now);
    }
  }
  return ((performance.now() - began) * 1e6) / (REPEATS * names.length * 2);
}

function median(measure: () => number): number {
  for (let round = 0; round < WARM_ROUNDS; round++) measure();
  return Array.from({ length: ROUNDS }, measure).sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}
