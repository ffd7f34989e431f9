/** Names that look like those containers ask for, and queries for them. */
import { nameToWire } from "../../src/name.ts";

const HEADER = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const TYPE_A_CLASS_IN = [0, 1, 0, 1];

export function nameOf(index: number): string {
  return `host${index}.service${index % 97}.bench.example`;
}

/** A recursive query for the A records of the name, with id 0. */
export function queryFor(index: number): Uint8Array {
  const wire = nameToWire(nameOf(index)) ?? new Uint8Array();
  return Uint8Array.from([...HEADER, ...wire, ...TYPE_A_CLASS_IN]);
}
