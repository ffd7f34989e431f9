/** The figures of the detector of generated names. */

export interface GeneratedNamesOptions {
  /** Height of the walk at which names are told. */
  readonly threshold: number;
  /** What a new domain that does not exist adds, before its label is looked at. */
  readonly failure: number;
  /**
   * What a bit of evidence for chance adds, and the most and least that a label can: `chance`, and -`words`. Hosters draw
   * names themselves (cloudfront.net), so that below a private suffix it can add half of that.
   */
  readonly perBit: number;
  readonly chance: number;
  readonly words: number;
  /** What a new domain that exists takes away. */
  readonly success: number;
  /** Failures below which nothing is told, whatever they look like. */
  readonly failures: number;
  /** Milliseconds in which the walk halves. */
  readonly halfLife: number;
  /** Milliseconds without a failure of a new domain after which it is told anew; before, only when it grew tenfold. */
  readonly rest: number;
  /** Domains remembered for a container, a power of two; 4 bytes each. */
  readonly domains: number;
  /** Containers known at most; beyond it the one seen first is forgotten. */
  readonly containers: number;
  /** Names (presentation form) of which, and of all below them, nothing is counted. */
  readonly allowed: readonly string[];
  /** Seed of the hash of domains; random in production. */
  readonly seed: number;
}

/**
 * Eight failures of names that look like chance, some 20 of ordinary ones, some 30 of plain English, with no new domain
 * between them that exists; each that does takes back one to four. Where 30 of 100 new domains fail, the walk sinks by two a
 * domain.
 */
export const GENERATED_NAMES_DEFAULTS: GeneratedNamesOptions = {
  threshold: 23,
  failure: 1,
  perBit: 0.25,
  chance: 2,
  words: 0.5,
  success: 4,
  failures: 8,
  halfLife: 30 * 60_000,
  rest: 60 * 60_000,
  domains: 1024,
  containers: 4096,
  allowed: [],
  seed: 0,
};
