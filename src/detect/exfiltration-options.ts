/** The figures of the exfiltration detector. */

/** When what is new below a domain, within a time, is told. */
export interface TrafficThreshold {
  /** Milliseconds looked back over, at most; half of it at least. */
  readonly window: number;
  /** Bytes below a domain from which it is told. What weighs how much stands below; a drip's are not weighed. */
  readonly bytes: number;
  /** Names that count, at least. */
  readonly names: number;
}

/** Which names count. */
export interface CountingNames {
  /** New bytes from which a name counts. A SHA-1 digest has 20. */
  readonly nameBytes: number;
  /** Share of all new bytes below the domain that names which count must have; it lets search lists pass. */
  readonly share: number;
}

export interface ExfiltrationOptions {
  /** A tunnel in use, or a file that leaves. */
  readonly burst: TrafficThreshold;
  /** Hexadecimal digits are worth half. */
  readonly burstNames: CountingNames;
  /** Little at a time, for long. */
  readonly drip: TrafficThreshold;
  /** Hexadecimal digits are worth all. */
  readonly dripNames: CountingNames;
  /** New bytes from which a name counts twice; so does one with bytes that are not ASCII. */
  readonly longName: number;
  /** How often a byte counts in types that carry data and that hardly anybody asks for: NULL, KEY, private ones. */
  readonly rareType: number;
  /** The same for TXT, CNAME, MX and SRV. */
  readonly dataType: number;
  /** Bytes of an answer of those types to a new name that do not count, beside the name. */
  readonly smallAnswer: number;
  /** The same for the data in names that an answer of any other type leads to; beyond it each byte counts `dataType` times. */
  readonly smallTarget: number;
  /** Milliseconds after the last lookup below a domain that was told, for which `suspicious` is true and it is not told anew. */
  readonly hold: number;
  /** Domains of a container watched at a time. */
  readonly domains: number;
  /** How many of them may have many names, at 1 KiB each. */
  readonly largeDomains: number;
  /** Containers known at most; beyond it the one seen first is forgotten. */
  readonly containers: number;
  /** Names (presentation form) of which, and of all below them, nothing is counted. */
  readonly allowed: readonly string[];
  /** Seed of the hash of names; random in production, so that nobody can make names that look alike. */
  readonly seed: number;
}

/**
 * | what | told after |
 * |---|---|
 * | NULL, KEY or private type, long or 8-bit names | 1 KiB of names |
 * | TXT, CNAME, MX, SRV, long or 8-bit names | 2 KiB |
 * | any other type, long or 8-bit names | 4 KiB |
 * | any other type, names of 24 to 59 new bytes | 8 KiB |
 * | answers of NULL, KEY or private type (TXT, CNAME, MX, SRV) to new names | 2 KiB (4 KiB) beyond name and 128 bytes each |
 * | data in the targets of aliases, to new names | 4 KiB beyond 48 bytes each |
 * | any type, names of 10 new bytes and more, of six that look drawn | 16 KiB within a day: 16 hours at 1 KiB an hour |
 *
 * Of 20,000 popular names, asked for one after the other, no domain comes to 1 KiB that counts as a burst, nor to 2 KiB as a drip.
 * The names of an image scan or mail filter that asks a service for digests come to 16 KiB with 500 MD5 or 400 SHA-1
 * digests a day: more is for the list of allowed domains.
 */
export const EXFILTRATION_DEFAULTS: ExfiltrationOptions = {
  burst: { window: 10 * 60_000, bytes: 8192, names: 6 },
  burstNames: { nameBytes: 24, share: 0.2 },
  drip: { window: 24 * 3_600_000, bytes: 16_384, names: 50 },
  dripNames: { nameBytes: 10, share: 0.5 },
  longName: 60,
  rareType: 4,
  dataType: 2,
  smallAnswer: 128,
  smallTarget: 48,
  hold: 3_600_000,
  domains: 64,
  largeDomains: 32,
  containers: 4096,
  allowed: [],
  seed: 0,
};
