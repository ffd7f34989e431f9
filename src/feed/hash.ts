/**
 * HalfSipHash-1-3 (Aumasson and Bernstein; https://github.com/veorq/SipHash) over the labels of a
 * domain name from right to left, so that one pass yields the hash of every suffix. The key is secret and random: who
 * writes names into a feed, or asks for them, cannot aim at one place of a table.
 *
 * A label is absorbed in words of four bytes, the first byte lowest; its last word holds the zero to three bytes left over
 * and the label's length in the top byte. Two different names therefore never feed the same words.
 */

/**
 * Folds a byte of a label to the form in which names are stored: A–Z to a–z. A dot or line feed inside a label, which
 * would read as the end of one in stored text, becomes 0xff, which no stored name holds.
 */
export const FOLD: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 65 && byte <= 90) return byte + 32;
  return byte === 46 || byte === 10 ? 0xff : byte;
});

/** Bytes of a seed. */
export const SEED_LENGTH = 8;

export class SuffixHash {
  /** v0 … v3, then the two halves of the latest result. */
  readonly #state = new Int32Array(6);
  readonly #key0: number;
  readonly #key1: number;

  /** `key0`, `key1`: the seed as two 32-bit words. */
  constructor(key0: number, key1: number) {
    this.#key0 = key0 | 0;
    this.#key1 = key1 | 0;
  }

  /** Upper and lower half of the hash of the labels absorbed so far, unsigned; valid after `finish`. */
  get high(): number {
    return this.#state[4]! >>> 0;
  }
  get low(): number {
    return this.#state[5]! >>> 0;
  }

  /** Forgets all labels. */
  start(): void {
    const state = this.#state;
    state[0] = this.#key0;
    state[1] = this.#key1;
    state[2] = 0x6c796765 ^ this.#key0;
    state[3] = 0x74656462 ^ this.#key1;
  }

  /** Absorbs the label `bytes[from … to)` in any case, one more to the left. */
  label(bytes: Uint8Array, from: number, to: number): void {
    const state = this.#state;
    let v0 = state[0]!;
    let v1 = state[1]!;
    let v2 = state[2]!;
    let v3 = state[3]!;
    let at = from;
    for (let last = false; !last; ) {
      let word: number;
      if (at + 4 <= to) {
        word =
          FOLD[bytes[at]!]! |
          (FOLD[bytes[at + 1]!]! << 8) |
          (FOLD[bytes[at + 2]!]! << 16) |
          (FOLD[bytes[at + 3]!]! << 24);
        at += 4;
      } else {
        word = (to - from) << 24;
        for (let shift = 0; at < to; at++, shift += 8) word |= FOLD[bytes[at]!]! << shift;
        last = true;
      }
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
    }
    state[0] = v0;
    state[1] = v1;
    state[2] = v2;
    state[3] = v3;
  }

  /** Computes `high` and `low` of the labels absorbed so far; more may follow. */
  finish(): void {
    const state = this.#state;
    let v0 = state[0]!;
    let v1 = state[1]!;
    let v2 = state[2]! ^ 0xee;
    let v3 = state[3]!;
    for (let round = 0; round < 3; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    state[4] = v1 ^ v3;
    state[5] = v0 ^ v2;
  }
}
