/**
 * A hash table of names in wire form that is searched with bytes and answers with text. A stored name is compared byte for
 * byte. The hash starts from a secret value and multiplies by another, so that a container cannot pick names that collide.
 */
import { getRandomValues } from "node:crypto";

const SMALLEST = 16;

/** The secret halves of the hash; one for the tables that are searched together. */
export class LabelHash {
  readonly start: number;
  readonly #factor: number;

  constructor() {
    const [start, factor] = getRandomValues(new Int32Array(2));
    this.start = start!;
    // Odd, so that multiplication loses nothing.
    this.#factor = factor! | 1;
  }

  /** `hash` with the label at `bytes[at]` put to its left; begin with `start` and the rightmost label. */
  add(hash: number, bytes: Uint8Array, at: number): number {
    const end = at + bytes[at]!;
    let next = hash;
    for (let place = at; place <= end; place++) {
      next = Math.imul(next ^ bytes[place]!, this.#factor);
      next ^= next >>> 15;
    }
    return next;
  }
}

export class WireTable {
  /** Entry number plus one by hash; open addressing, at most half full. 0: free. */
  #slots = new Int32Array(SMALLEST);
  #hashes = new Int32Array(SMALLEST / 2);
  /** Where the wire form of each entry ends; it begins where the one before ends. */
  #ends = new Int32Array(SMALLEST / 2);
  #wires = new Uint8Array(SMALLEST * 16);
  #texts: string[] = [];

  get size(): number {
    return this.#texts.length;
  }

  /** The text of the entry that equals `bytes[at … at + length)`, or null. */
  find(hash: number, bytes: Uint8Array, at: number, length: number): string | null {
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]! - 1;
      if (this.#hashes[entry] === hash && this.#equals(entry, bytes, at, length)) return this.#texts[entry]!;
    }
    return null;
  }

  /** Adds an entry that is not there yet. */
  add(hash: number, wire: Uint8Array, text: string): void {
    const entry = this.#texts.length;
    if (entry === this.#hashes.length) this.#grow();
    const begin = entry === 0 ? 0 : this.#ends[entry - 1]!;
    if (begin + wire.length > this.#wires.length) {
      const wires = new Uint8Array(this.#wires.length * 2 + wire.length);
      wires.set(this.#wires);
      this.#wires = wires;
    }
    this.#wires.set(wire, begin);
    this.#ends[entry] = begin + wire.length;
    this.#hashes[entry] = hash;
    this.#texts.push(text);
    this.#place(entry);
  }

  #equals(entry: number, bytes: Uint8Array, at: number, length: number): boolean {
    const begin = entry === 0 ? 0 : this.#ends[entry - 1]!;
    if (this.#ends[entry]! - begin !== length) return false;
    for (let index = 0; index < length; index++) {
      if (this.#wires[begin + index] !== bytes[at + index]) return false;
    }
    return true;
  }

  #place(entry: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#hashes[entry]! & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = entry + 1;
  }

  #grow(): void {
    const room = this.#hashes.length * 2;
    const hashes = new Int32Array(room);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
    const ends = new Int32Array(room);
    ends.set(this.#ends);
    this.#ends = ends;
    this.#slots = new Int32Array(room * 2);
    for (let entry = 0; entry < this.#texts.length; entry++) this.#place(entry);
  }
}
