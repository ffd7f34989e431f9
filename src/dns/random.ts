/** Randomness that nobody outside can guess, drawn in stock. */
import { randomFillSync } from "node:crypto";

const stock = new Uint16Array(4096);
let next = stock.length;

/** A random 16-bit number: an id, or a choice among fewer. */
export function randomWord(): number {
  if (next === stock.length) {
    randomFillSync(stock);
    next = 0;
  }
  return stock[next++]!;
}

/** A random 32-bit seed for hashes. */
export function randomSeed(): number {
  return (randomWord() << 16) | randomWord();
}
