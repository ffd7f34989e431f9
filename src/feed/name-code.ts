/**
 * How names are stored in about half their bytes: Huffman codes of single characters, chosen by the two characters before
 * (the code of `o` behind `.c` is one bit). Equal names have equal bits and no name's bits begin another's, so that a
 * question is compared with a stored name by coding it on the way, symbol by symbol; nothing is decoded. Codes are
 * canonical and at most 15 bits long, hence told by their lengths alone (RFC 1951 section 3.2.2), first bit lowest.
 *
 * A context (two characters) that the sample holds often has a set of codes of its own; others share that of their second
 * character, or the one for all.
 */

/** Ends a name; the context at its beginning is two of it. */
const END = 0;
const ALPHABET = "\nabcdefghijklmnopqrstuvwxyz0123456789-_.";
/** Symbols of the alphabet. */
export const SYMBOLS = ALPHABET.length;
const DOT = SYMBOLS - 1;
/** Pairs of symbols. */
export const CONTEXTS = SYMBOLS * SYMBOLS;
const NO_SYMBOL = 255;
const MAX_LENGTH = 15;
/** A name of 253 characters and its end, at MAX_LENGTH bits each, in words. */
const MAX_WORDS = 120;
/** The same in bytes of text. */
const MAX_TEXT = 254;
/**
 * How often the sample must hold a context for codes of its own. The less, the shorter the names; but codes that a processor
 * does not hold in its nearest caches cost every comparison more than is won.
 */
const ENOUGH = 3072;

/** Symbol of a byte of stored text, and of a byte of a label in a question: any case, but no dot or line feed. */
const TEXT_SYMBOL = Uint8Array.from({ length: 256 }, (_, byte) => {
  const symbol = ALPHABET.indexOf(String.fromCharCode(byte));
  return symbol < 0 ? NO_SYMBOL : symbol;
});
const LABEL_SYMBOL = Uint8Array.from({ length: 256 }, (_, byte) => {
  const symbol = TEXT_SYMBOL[byte >= 65 && byte <= 90 ? byte + 32 : byte]!;
  return symbol === END || symbol === DOT ? NO_SYMBOL : symbol;
});

/** Whether the byte may stand in a label of stored text. */
export function isStoredByte(byte: number): boolean {
  return LABEL_SYMBOL[byte] !== NO_SYMBOL && LABEL_SYMBOL[byte] === TEXT_SYMBOL[byte];
}

/** Sets of codes as stored. */
export interface CodeSets {
  /** For each context (first symbol × SYMBOLS + second) the number of its set. */
  readonly contexts: Uint16Array;
  /** For each set the length in bits of the code of each symbol. */
  readonly lengths: Uint8Array;
}

/** Learns codes from names, each ended by a line feed. Deterministic. */
export function learnCodes(sample: Uint8Array): CodeSets {
  const counts = new Uint32Array(CONTEXTS * SYMBOLS);
  let context = END;
  for (const byte of sample) {
    const symbol = TEXT_SYMBOL[byte]!;
    counts[context * SYMBOLS + symbol]!++;
    context = symbol === END ? END : (context % SYMBOLS) * SYMBOLS + symbol;
  }
  const ofSecond = new Uint32Array(SYMBOLS * SYMBOLS);
  const ofAll = new Uint32Array(SYMBOLS);
  for (const [index, count] of counts.entries()) {
    ofSecond[index % ofSecond.length]! += count;
    ofAll[index % SYMBOLS]! += count;
  }
  const sets = [codeLengths(ofAll)];
  const addSet = (of: Uint32Array, index: number, otherwise: number): number => {
    const row = of.subarray(index * SYMBOLS, (index + 1) * SYMBOLS);
    if (row.reduce((sum, count) => sum + count, 0) < ENOUGH) return otherwise;
    return sets.push(codeLengths(row)) - 1;
  };
  const seconds = Uint16Array.from({ length: SYMBOLS }, (_, second) => addSet(ofSecond, second, 0));
  const contexts = Uint16Array.from({ length: CONTEXTS }, (_, index) => {
    return addSet(counts, index, seconds[index % SYMBOLS]!);
  });
  return { contexts, lengths: Buffer.concat(sets) };
}

/** Huffman's lengths for symbols that occur so often; flatter where one would be longer than MAX_LENGTH. */
function codeLengths(counts: Uint32Array): Uint8Array {
  let weights = Array.from(counts, (count) => count * 64 + 1);
  for (;;) {
    const lengths = huffman(weights);
    if (lengths.every((length) => length <= MAX_LENGTH)) return lengths;
    weights = weights.map((weight) => Math.floor(weight / 4) + 1);
  }
}

/** Two queues, leaves by weight and joined nodes in the order of their making, of which the lightest two are joined. */
function huffman(weights: readonly number[]): Uint8Array {
  const leaves = weights.map((weight, symbol) => ({ weight, symbol, parent: -1 }));
  const nodes = leaves.slice().sort((a, b) => a.weight - b.weight || a.symbol - b.symbol);
  let leaf = 0;
  let joined = weights.length;
  const lightest = (): number => {
    const next = joined < nodes.length ? nodes[joined]!.weight : Number.POSITIVE_INFINITY;
    return leaf < weights.length && nodes[leaf]!.weight <= next ? leaf++ : joined++;
  };
  while (nodes.length < weights.length * 2 - 1) {
    const one = nodes[lightest()]!;
    const other = nodes[lightest()]!;
    one.parent = other.parent = nodes.length;
    nodes.push({ weight: one.weight + other.weight, symbol: -1, parent: -1 });
  }
  return Uint8Array.from(leaves, ({ parent }) => {
    let length = 0;
    for (let node = parent; node >= 0; node = nodes[node]!.parent) length++;
    return length;
  });
}

/** What sets of codes are looked up in; shared between threads, since making it takes milliseconds. */
export interface CodeTables {
  /** As stored. */
  readonly contexts: Uint16Array;
  /** For each set and symbol the code, first bit lowest, and a one above its last bit. */
  readonly codes: Uint16Array;
  /** For each set its symbols, those with short codes first: the likely ones. */
  readonly likely: Uint8Array;
}

export function codeTables({ contexts, lengths }: CodeSets): CodeTables {
  const codes = new Uint16Array(new SharedArrayBuffer(lengths.length * 2));
  const likely = new Uint8Array(new SharedArrayBuffer(lengths.length));
  const next = new Uint16Array(MAX_LENGTH + 2);
  const places = new Uint8Array(MAX_LENGTH + 2);
  for (let set = 0; set < lengths.length; set += SYMBOLS) {
    // The first code of each length and its place among the likely ones, then a code and a place for each symbol.
    next.fill(0);
    places.fill(0);
    for (let at = set; at < set + SYMBOLS; at++) places[lengths[at]! + 1]!++;
    places[1] = 0;
    for (let length = 1; length <= MAX_LENGTH; length++) {
      next[length + 1] = (next[length]! + places[length + 1]!) << 1;
      places[length + 1]! += places[length]!;
    }
    for (let at = set; at < set + SYMBOLS; at++) {
      const length = lengths[at]!;
      if (length === 0) continue;
      codes[at] = reversed(next[length]!++, length) | (1 << length);
      likely[set + places[length]!++] = at - set;
    }
  }
  return { contexts, codes, likely };
}

/** Codes names, and compares and reads coded ones. */
export class NameCoder {
  /** Bits of the name that `encode` coded last, and how many. */
  readonly bits = new Uint32Array(MAX_WORDS);
  length = 0;
  readonly #contexts: Uint16Array;
  readonly #codes: Uint16Array;
  readonly #likely: Uint8Array;

  constructor({ contexts, codes, likely }: CodeTables) {
    this.#contexts = contexts;
    this.#codes = codes;
    this.#likely = likely;
  }

  /** Codes the name that begins at `text[start]` and ends in a line feed to `bits`. */
  encode(text: Uint8Array, start: number): void {
    const { bits } = this;
    const codes = this.#codes;
    const contexts = this.#contexts;
    let held = 0;
    let count = 0;
    let word = 0;
    let first = END;
    let second = END;
    for (let at = start, symbol = -1; symbol !== END; at++) {
      symbol = TEXT_SYMBOL[text[at]!]!;
      const code = codes[contexts[first * SYMBOLS + second]! * SYMBOLS + symbol]!;
      const length = lengthOf(code);
      const rest = code ^ (1 << length);
      held |= rest << count;
      count += length;
      if (count >= 32) {
        bits[word++] = held;
        count -= 32;
        held = rest >>> (length - count);
      }
      first = second;
      second = symbol;
    }
    bits[word] = held;
    this.length = word * 32 + count;
  }

  /**
   * Whether the bits from bit `shift` of `words[word]` on are the name in wire form whose first label begins at
   * `bytes[from]` and whose root stands at `bytes[end]`.
   */
  equals(
    words: Uint16Array,
    word: number,
    shift: number,
    bytes: Uint8Array,
    from: number,
    end: number,
  ): boolean {
    const codes = this.#codes;
    const contexts = this.#contexts;
    let bit = shift;
    let first = END;
    let second = END;
    let next = from + bytes[from]! + 1;
    // Symbol by symbol, not word by word: a branch that is taken now and then costs more than what it spares.
    for (let at = from + 1; at <= end; at++) {
      let symbol = LABEL_SYMBOL[bytes[at]!]!;
      if (at === next) {
        symbol = at === end ? END : DOT;
        next += bytes[at]! + 1;
      } else if (symbol === NO_SYMBOL) return false;
      const code = codes[contexts[first * SYMBOLS + second]! * SYMBOLS + symbol]!;
      const place = word + (bit >>> 4);
      const stored = (words[place]! | (words[place + 1]! << 16)) >>> (bit & 15);
      const length = lengthOf(code);
      if ((stored ^ code) << (32 - length) !== 0) return false;
      bit += length;
      first = second;
      second = symbol;
    }
    return true;
  }

  /** Writes the name that begins at bit `shift` of `words[word]` as text, line feed included, to `out[at]`; returns the place behind. */
  decode(words: Uint16Array, word: number, shift: number, out: Uint8Array, at: number): number {
    // Rubbish may have no end.
    const last = Math.min(out.length, at + MAX_TEXT);
    let place = at;
    let bit = shift;
    let context = END;
    for (let symbol = -1; symbol !== END && place < last; ) {
      const set = this.#contexts[context]! * SYMBOLS;
      const next = bitsAt(words, word, bit);
      symbol = END;
      for (let likely = set; likely < set + SYMBOLS; likely++) {
        const code = this.#codes[set + this.#likely[likely]!]!;
        const length = lengthOf(code);
        if ((next ^ code) << (32 - length) !== 0) continue;
        symbol = this.#likely[likely]!;
        bit += length;
        break;
      }
      out[place++] = ALPHABET.charCodeAt(symbol);
      context = (context % SYMBOLS) * SYMBOLS + symbol;
    }
    return place;
  }
}

/** Bits of a code as `CodeTables` has it. */
function lengthOf(code: number): number {
  return 31 - Math.clz32(code);
}

/** 32 bits from bit `shift` of `words[word]` on, the first one lowest, as a signed number; only the lowest 17 are sure. */
export function bitsAt(words: Uint16Array, word: number, shift: number): number {
  const place = word + (shift >>> 4);
  return (words[place]! | (words[place + 1]! << 16)) >>> (shift & 15);
}

/** The lowest `length` (at most 16) bits in reversed order. */
function reversed(code: number, length: number): number {
  let bits = ((code & 0x5555) << 1) | ((code >>> 1) & 0x5555);
  bits = ((bits & 0x3333) << 2) | ((bits >>> 2) & 0x3333);
  bits = ((bits & 0x0f0f) << 4) | ((bits >>> 4) & 0x0f0f);
  bits = ((bits & 0x00ff) << 8) | (bits >>> 8);
  return bits >>> (16 - length);
}

/** Bits that are written one after the other, the first one lowest. */
export class BitWriter {
  #words = new Uint32Array(1024);
  #word = 0;
  #shift = 0;

  /** Goes on at the next multiple of 16 bits, and tells which. */
  align(): number {
    const half = (this.#shift + 15) >>> 4;
    this.#word += half >>> 1;
    this.#shift = (half & 1) * 16;
    return this.#word * 2 + (half & 1);
  }

  /** Appends the lowest `count` bits (0 … 32) of `value`, which has no others. */
  add(value: number, count: number): void {
    if (this.#word + 2 > this.#words.length) {
      const grown = new Uint32Array(this.#words.length * 2);
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[this.#word]! |= value << this.#shift;
    this.#words[this.#word + 1] = (value >>> 1) >>> (31 - this.#shift);
    this.#shift += count;
    if (this.#shift >= 32) {
      this.#shift -= 32;
      this.#word++;
    }
  }

  /** Appends the `length` bits of a name's code that begin at `words[from]`, and a zero where that makes their number odd. */
  addCode(words: Uint32Array, from: number, length: number): void {
    for (let word = from, left = length; left > 0; word++, left -= 32) {
      this.add(words[word]!, Math.min(left, 32));
    }
    this.#shift += this.#shift & 1;
    if (this.#shift === 32) {
      this.#shift = 0;
      this.#word++;
    }
  }

  /** The words written, and a zero behind them for readers of 32 bits. */
  words(): Uint32Array {
    const words = new Uint32Array(this.#word + 2);
    words.set(this.#words.subarray(0, this.#word + 1));
    return words;
  }
}
