/**
 * A seeded mutational fuzzer. Coverage-guided fuzzing was tried first: the prebuilt engine of Jazzer.js needs a newer C
 * library than the oldest system we support. This one is repeatable: a seed and a number name one input.
 */

/** xorshift128+ on two 32-bit halves is more than a fuzzer needs; this is mulberry32. Returns 0 ≤ x < 1. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const INTERESTING = [0, 1, 2, 0x0c, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff];

/** A mutant of one or two corpus entries, at most `maxLength` bytes. */
export function mutate(corpus: readonly Uint8Array[], random: () => number, maxLength: number): Uint8Array {
  const below = (limit: number): number => Math.floor(random() * limit);
  let bytes = Uint8Array.from(corpus[below(corpus.length)] ?? []);
  const rounds = 1 + below(8);
  for (let round = 0; round < rounds; round++) {
    const at = below(bytes.length + 1);
    switch (below(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << below(8));
        break;
      case 1:
        if (at < bytes.length) bytes[at] = INTERESTING[below(INTERESTING.length)]!;
        break;
      case 2:
        if (at < bytes.length) bytes[at] = below(256);
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      case 4: {
        const extra = new Uint8Array(1 + below(16)).map(() => below(256));
        bytes = join(bytes.subarray(0, at), extra, bytes.subarray(at));
        break;
      }
      case 5: {
        const length = below(Math.min(64, bytes.length - at) + 1);
        bytes = join(bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at));
        break;
      }
      case 6: {
        const other = corpus[below(corpus.length)] ?? new Uint8Array();
        const cut = below(other.length + 1);
        bytes = join(bytes.subarray(0, at), other.subarray(cut));
        break;
      }
      case 7: {
        const length = below(Math.min(16, bytes.length - at) + 1);
        bytes = join(bytes.subarray(0, at), bytes.subarray(at + length));
        break;
      }
    }
  }
  return bytes.subarray(0, maxLength);
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export interface FuzzTarget {
  readonly name: string;
  readonly corpus: readonly Uint8Array[];
  readonly maxLength: number;
  /** Throws when an invariant breaks; what the parser is allowed to throw it catches itself. */
  check(input: Uint8Array): void;
}

/** Runs `count` inputs; throws with the seed, the number and the bytes of the first that fails. */
export function fuzz(target: FuzzTarget, count: number, seed: number): void {
  const random = randomOf(seed);
  for (let number = 0; number < count; number++) {
    const input =
      number < target.corpus.length
        ? target.corpus[number]!
        : mutate(target.corpus, random, target.maxLength);
    try {
      target.check(input);
    } catch (error) {
      const hex = Buffer.from(input).toString("hex");
      throw new Error(`${target.name}: input ${number} of seed ${seed} broke it: ${hex}`, { cause: error });
    }
  }
}
