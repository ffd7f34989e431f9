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

const SERIAL_DIGITS = 12;

/** A query for a name that nobody asked for before: its first label is `serial`. */
export function freshQuery(serial: number): Uint8Array {
  const query = Uint8Array.from([...HEADER, ...serialName(), ...TYPE_A_CLASS_IN]);
  setSerial(query, 0, serial);
  return query;
}

/** Gives the fresh query at `bytes[at]` another serial number. */
export function setSerial(bytes: Uint8Array, at: number, serial: number): void {
  let rest = serial;
  for (let index = at + HEADER.length + SERIAL_DIGITS; index > at + HEADER.length; index--) {
    bytes[index] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

function serialName(): Uint8Array {
  return nameToWire(`${"0".repeat(SERIAL_DIGITS)}.service.bench.example`) ?? new Uint8Array();
}
