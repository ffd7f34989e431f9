/** Names that a detector leaves alone, each with all names below it. */
import { nameToWire, wireLength } from "../name.ts";

export class AllowedNames {
  /** Folded, in wire form. */
  readonly wires: readonly Uint8Array[];
  /** By their length: a name is told apart from nearly all others by that of its parents. */
  readonly #byLength = new Map<number, Uint8Array[]>();

  /** Presentation form. What is no name covers nothing. */
  constructor(names: readonly string[]) {
    this.wires = names.map(nameToWire).filter((wire) => wire !== null);
    for (const wire of this.wires) {
      const alike = this.#byLength.get(wire.length);
      if (alike === undefined) this.#byLength.set(wire.length, [wire]);
      else alike.push(wire);
    }
  }

  /** Whether the whole folded name at `offset` is one of them or below one; never by part of a label. */
  cover(bytes: Uint8Array, offset: number): boolean {
    if (this.wires.length === 0) return false;
    const end = offset + wireLength(bytes, offset);
    for (let at = offset; at < end; at += bytes[at]! + 1) {
      const alike = this.#byLength.get(end - at);
      if (alike?.some((wire) => wire.every((byte, index) => byte === bytes[at + index]))) return true;
      if (bytes[at] === 0) return false;
    }
    return false;
  }
}
