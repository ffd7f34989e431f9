/** What a container asks for below one registrable domain: the names seen, and sums over two sliding windows. */

import { Bloom } from "./sketch.ts";
import type { Detection } from "./types.ts";

/** Sums of a window; what each is of stands in exfiltration.ts, where they are added to. */
export const SUM = {
  /** Bytes that count, weighed: of names, and of answers. */
  NAMES_WEIGHED: 0,
  ANSWERS_WEIGHED: 1,
  /** Bytes of data in names that count, and in all. */
  COUNTED: 2,
  PAYLOAD: 3,
  /** Bytes of labels never seen before, as they are; in how many new names. */
  BYTES: 4,
  NAMES: 5,
  /** Names and answers that count. */
  COUNTING: 6,
  LOOKUPS: 7,
  /** Lookups of types that carry data. */
  DATA_TYPES: 8,
  ANSWER_BYTES: 9,
} as const;
const SUMS = 10;

/** Sums of the last half to whole window: two halves that take turns. */
export class Window {
  readonly #half: number;
  readonly #sums = new Float64Array(2 * SUMS);
  #current = 0;
  #began: number;

  constructor(width: number, now: number) {
    this.#half = width / 2;
    this.#began = now;
  }

  add(sum: number, amount: number): void {
    this.#sums[this.#current + sum]! += amount;
  }

  addLookup(carriesData: boolean): void {
    this.add(SUM.LOOKUPS, 1);
    if (carriesData) this.add(SUM.DATA_TYPES, 1);
  }

  /** A name that is new, with `size` bytes of labels that are. */
  addName(size: number, payload: number): void {
    this.add(SUM.NAMES, 1);
    this.add(SUM.BYTES, size);
    this.add(SUM.PAYLOAD, payload);
  }

  /** A name that counts. */
  count(payload: number, weighed: number): void {
    this.add(SUM.COUNTED, payload);
    this.add(SUM.NAMES_WEIGHED, weighed);
    this.add(SUM.COUNTING, 1);
  }

  clear(now: number): void {
    this.#sums.fill(0);
    this.#began = now;
  }

  of(sum: number): number {
    return this.#sums[sum]! + this.#sums[SUMS + sum]!;
  }

  /** Lets the half go that is too old; true when it did. */
  turn(now: number): boolean {
    const passed = now - this.#began;
    if (passed < this.#half) return false;
    if (passed >= 2 * this.#half) this.#sums.fill(0);
    this.#current = SUMS - this.#current;
    this.#sums.fill(0, this.#current, this.#current + SUMS);
    this.#began = now;
    return true;
  }
}

/** Names and parts of names for which the small filter suffices; above, one in 100 new ones is taken for known. */
const FEW = 40;
const SMALL_BITS = 512;
const LARGE_BITS = 8192;
/** Above this one new name in seven is taken for known; the filter is emptied when the next half of a day begins. */
const MANY = 2000;

export class DomainTraffic {
  readonly fast: Window;
  readonly slow: Window;
  readonly #small = new Bloom(SMALL_BITS);
  #large: Bloom | null = null;
  /** Order of eviction: bytes since, by the space-saving algorithm with what the one before it had; halved each hour. */
  rank = 0;
  /** Until when lookups below it are suspicious; 0: it was not told. */
  until = 0;
  detection: Detection | null = null;
  /** Bytes below it when it was told. */
  toldBytes = 0;

  constructor(fast: number, slow: number, now: number) {
    this.fast = new Window(fast, now);
    this.slow = new Window(slow, now);
  }

  /** As new, for another domain that takes over the rank; the large filter is given up. */
  reset(now: number): void {
    this.fast.clear(now);
    this.slow.clear(now);
    this.#small.clear();
    this.#large = null;
    this.until = this.toldBytes = 0;
    this.detection = null;
  }

  get isLarge(): boolean {
    return this.#large !== null;
  }

  get needsLarge(): boolean {
    return this.#large === null && this.#small.added >= FEW;
  }

  enlarge(): void {
    this.#large = new Bloom(LARGE_BITS);
  }

  /** Whether the hash was new. */
  see(hash: number): boolean {
    if (this.#large === null) return this.#small.add(hash);
    return !this.#small.has(hash) && this.#large.add(hash);
  }

  turn(now: number): void {
    this.fast.turn(now);
    if (this.slow.turn(now) && this.#large !== null && this.#large.added > MANY) this.#large.clear();
  }

  /** Of its arrays and filters, and some 700 for the objects around them. */
  get bytes(): number {
    return 4 * SUMS * 8 + this.#small.bytes + (this.#large?.bytes ?? 0) + 700;
  }
}
