/**
 * A static dictionary that shortens names to about half: every code is one byte and stands for a piece of one to eight
 * characters, so that a stored name is compared or read piece by piece, with no state before it (the idea of FSST:
 * Boncz, Neumann and Leis, "FSST: Fast Random Access String Compression", VLDB 2020). A name ends in a line feed, which
 * may be part of a piece (`.com\n` is one code). The dictionary is learned from a sample of the names it will hold; every
 * character that a name can have is itself a piece, so that any name can be coded, in at most as many bytes as it has.
 */

/** Bytes of one piece in its stored form: its length, then eight characters padded with zeros. */
export const PIECE_ROW = 9;
/** Ends a name. */
export const END = 10;
const MAX_PIECE = 8;
const MAX_PIECES = 256;
const ALPHABET = "\nabcdefghijklmnopqrstuvwxyz0123456789-_.";
const ROUNDS = 5;

/** Codes names as pieces, the longest that fits first. */
export class PieceCoder {
  /** The dictionary as stored: `PIECE_ROW` bytes for each code, in order. */
  readonly rows: Uint8Array;
  readonly #trie: Trie;

  /** `pieces`: as `learnPieces` gives them. */
  constructor(pieces: readonly string[]) {
    this.#trie = new Trie(pieces);
    this.rows = new Uint8Array(pieces.length * PIECE_ROW);
    for (const [code, piece] of pieces.entries()) {
      this.rows[code * PIECE_ROW] = piece.length;
      this.rows.set(Buffer.from(piece, "latin1"), code * PIECE_ROW + 1);
    }
  }

  /** Writes the codes of the name that begins at `text[start]`, its line feed included, to `out[at]`; returns the place behind. */
  encode(text: Uint8Array, start: number, out: Uint8Array, at: number): number {
    const trie = this.#trie;
    let place = at;
    for (let from = start; from < text.length; ) {
      from = trie.longest(text, from);
      out[place++] = trie.code;
      if (text[from - 1] === END) break;
    }
    return place;
  }
}

/**
 * Learns a dictionary from `sample`, names each ended by a line feed. In every round the sample is coded with the pieces
 * so far; those pieces, and all neighbours joined, compete by the characters they would cover. Pieces that end a name come
 * last, so that a reader finds the end of one by comparing codes. Deterministic.
 */
export function learnPieces(sample: Uint8Array): string[] {
  let pieces = [...ALPHABET];
  for (let round = 0; round < ROUNDS; round++) {
    const gain = new Map<string, number>();
    const trie = new Trie(pieces);
    let before = "";
    for (let at = 0; at < sample.length; ) {
      at = trie.longest(sample, at);
      const piece = pieces[trie.code]!;
      gain.set(piece, (gain.get(piece) ?? 0) + piece.length);
      const joined = before + piece;
      if (before !== "" && joined.length <= MAX_PIECE)
        gain.set(joined, (gain.get(joined) ?? 0) + joined.length);
      before = piece.endsWith("\n") ? "" : piece;
    }
    for (const char of ALPHABET) gain.delete(char);
    const best = [...gain].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    pieces = [...ALPHABET, ...best.slice(0, MAX_PIECES - ALPHABET.length).map(([piece]) => piece)];
  }
  return [
    ...pieces.filter((piece) => !piece.endsWith("\n")),
    ...pieces.filter((piece) => piece.endsWith("\n")),
  ];
}

/** Finds the longest piece at a place. */
class Trie {
  /** Code of the piece that `longest` found. */
  code = 0;
  /** Byte to its place in the alphabet plus one; 0 for bytes outside of it. */
  readonly #column = new Uint8Array(256);
  /** For each node, the child for every character (0: none); and the code plus one of the piece that ends there. */
  readonly #children: Uint16Array;
  readonly #codes: Uint16Array;
  readonly #width = ALPHABET.length + 1;

  constructor(pieces: readonly string[]) {
    const most = pieces.reduce((sum, piece) => sum + piece.length, 1);
    this.#children = new Uint16Array(most * this.#width);
    this.#codes = new Uint16Array(most);
    for (const [index, char] of [...ALPHABET].entries()) this.#column[char.charCodeAt(0)] = index + 1;
    let nodes = 1;
    for (const [code, piece] of pieces.entries()) {
      let node = 0;
      for (const char of piece) {
        const place = node * this.#width + this.#column[char.charCodeAt(0)]!;
        if (this.#children[place] === 0) this.#children[place] = nodes++;
        node = this.#children[place]!;
      }
      this.#codes[node] = code + 1;
    }
  }

  /** The place behind the longest piece at `text[from]`; sets `code`. Every character of `text` is in the alphabet. */
  longest(text: Uint8Array, from: number): number {
    const children = this.#children;
    const codes = this.#codes;
    const column = this.#column;
    const width = this.#width;
    let found = 0;
    let to = from + 1;
    let node = children[column[text[from]!]!]!;
    for (let at = from + 1; node !== 0; at++) {
      const code = codes[node]!;
      if (code > 0) {
        found = code;
        to = at;
      }
      if (at === text.length) break;
      node = children[node * width + column[text[at]!]!]!;
    }
    this.code = found - 1;
    return to;
  }
}
