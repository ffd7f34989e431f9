/**
 * The targets that one container has turned to already, so that a retry is not a second probe. Fingerprints of 32 bits in
 * buckets of eight, two generations of them: what was not contacted for one to two periods is forgotten, and when a
 * generation is full, each newcomer takes the place of one that stands in its bucket.
 *
 * Memory: 4 bytes a target, from 256 bytes to `2 * 4 * limit` (32 KiB at 4096). A new target is taken for a known one with
 * a chance of at most 16 in 2^32 / (limit / 8), 1 in 500,000 at 4096; a known one for a new one only after it was displaced.
 */

const BUCKET = 8;
const SMALLEST = 64;

export class FirstContacts {
  readonly #limit: number;
  readonly #period: number;
  #current = new Uint32Array(SMALLEST);
  #previous: Uint32Array | null = null;
  #since: number;
  #victim = 0;

  /** `limit`: fingerprints of a generation, a power of two of 64 or more; `period` and `now` in milliseconds. */
  constructor(limit: number, period: number, now: number) {
    this.#limit = limit;
    this.#period = period;
    this.#since = now;
  }

  get bytes(): number {
    return this.#current.byteLength + (this.#previous?.byteLength ?? 0);
  }

  /** Whether the target with that hash (unsigned, 32 bits) is new; from then on it is known. */
  add(hash: number, now: number): boolean {
    const age = now - this.#since;
    if (age >= this.#period) {
      this.#previous = age < 2 * this.#period ? this.#current : null;
      this.#current = new Uint32Array(SMALLEST);
      this.#since = now;
    }
    const fingerprint = hash === 0 ? 1 : hash;
    if (!this.#insert(fingerprint)) return false;
    return this.#previous === null || !holds(this.#previous, fingerprint);
  }

  /** False when it stands there already. */
  #insert(fingerprint: number): boolean {
    for (;;) {
      const table = this.#current;
      const start = bucketOf(table, fingerprint);
      for (let at = start; at < start + BUCKET; at++) {
        if (table[at] === fingerprint) return false;
        if (table[at] === 0) {
          table[at] = fingerprint;
          return true;
        }
      }
      if (table.length >= this.#limit) {
        this.#victim = (this.#victim + 1) % BUCKET;
        table[start + this.#victim] = fingerprint;
        return true;
      }
      this.#grow();
    }
  }

  #grow(): void {
    const before = this.#current;
    const after = new Uint32Array(before.length * 2);
    for (const fingerprint of before) {
      if (fingerprint === 0) continue;
      // Two buckets take what one held: there is always room.
      let at = bucketOf(after, fingerprint);
      while (after[at] !== 0) at++;
      after[at] = fingerprint;
    }
    this.#current = after;
  }
}

function bucketOf(table: Uint32Array, fingerprint: number): number {
  return (fingerprint & (table.length / BUCKET - 1)) * BUCKET;
}

function holds(table: Uint32Array, fingerprint: number): boolean {
  const start = bucketOf(table, fingerprint);
  for (let at = start; at < start + BUCKET; at++) {
    if (table[at] === fingerprint) return true;
    if (table[at] === 0) return false;
  }
  return false;
}

/** Hash of an address, and of a target when given its protocol and port; unsigned, 32 bits. After murmur3's mixing steps. */
export function hashTarget(
  bytes: Uint8Array,
  offset: number,
  length: number,
  seed: number,
  target: number,
): number {
  let hash = mix(seed ^ length, target);
  for (let at = offset; at < offset + length; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    hash = mix(hash, word);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mix(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593) ^ hash;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}
