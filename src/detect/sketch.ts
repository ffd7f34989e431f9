/** Sets of fixed size that remember hashes approximately: what was added is always found, what was not sometimes too. */

/** 32 bits of the bytes from `start` to `end` (FNV-1a, finished as murmur3 does). The seed keeps others from choosing collisions. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed ^ 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** A Bloom filter over hashes with three bits each; `bits` is a power of two, and bits / 8 bytes are its memory. */
export class Bloom {
  readonly #words: Int32Array;
  readonly #mask: number;
  /** Hashes that were new when they were added. */
  added = 0;

  constructor(bits: number) {
    this.#words = new Int32Array(bits >>> 5);
    this.#mask = bits - 1;
  }

  get bytes(): number {
    return this.#words.byteLength;
  }

  has(hash: number): boolean {
    const step = stepOf(hash);
    return this.#bit(hash) && this.#bit(hash + step) && this.#bit(hash + 2 * step);
  }

  /** Whether the hash was new. */
  add(hash: number): boolean {
    if (this.has(hash)) return false;
    const step = stepOf(hash);
    this.#set(hash);
    this.#set(hash + step);
    this.#set(hash + 2 * step);
    this.added++;
    return true;
  }

  clear(): void {
    this.#words.fill(0);
    this.added = 0;
  }

  #bit(hash: number): boolean {
    return ((this.#words[(hash & this.#mask) >>> 5]! >>> (hash & 31)) & 1) === 1;
  }

  #set(hash: number): void {
    this.#words[(hash & this.#mask) >>> 5]! |= 1 << (hash & 31);
  }
}

/** Odd, from bits that the position is not taken from. */
function stepOf(hash: number): number {
  return (Math.imul(hash, 0x9e3779b1) >>> 15) | 1;
}

/** Remembers the last `capacity` to `2 * capacity` hashes, in two filters that take turns; 4 bytes for each of `capacity`. */
export class RecentSet {
  readonly #capacity: number;
  #now: Bloom;
  #before: Bloom;

  /** `capacity` is a power of two, at least 2; some one in 400 new hashes is taken for known when it is full. */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#now = new Bloom(capacity * 16);
    this.#before = new Bloom(capacity * 16);
  }

  get bytes(): number {
    return this.#now.bytes + this.#before.bytes;
  }

  /** Whether the hash was new. */
  add(hash: number): boolean {
    if (this.#now.has(hash)) return false;
    const known = this.#before.has(hash);
    if (this.#now.added >= this.#capacity) {
      const oldest = this.#before;
      this.#before = this.#now;
      this.#now = oldest;
      oldest.clear();
    }
    this.#now.add(hash);
    return !known;
  }
}
