/** What models hold, and what is bound to its addresses yet, as what happened. */
import { parseAddress } from "../address.ts";
import type { ModelDetail } from "../model/store.ts";
import { nameToWire } from "../name.ts";
import type { Happening } from "./judge.ts";

/**
 * Stands for an Internet destination that nobody kept: only its port is known. Reserved for documentation (RFC 5737), under a
 * name that cannot exist (RFC 6761), so that no list but one of everything speaks of it.
 */
const SOMEWHERE = Uint8Array.of(192, 0, 2, 1);
const SOME_NAME = "somewhere.invalid";
const TYPE_A = 1;

/** The second counts what says too little to be judged: wildcards of which no names are known. */
export function learnedOf({ entries }: ModelDetail): readonly [happenings: Happening[], unjudged: number] {
  const happenings: Happening[] = [];
  let unjudged = 0;
  for (const { name, members = [] } of entries.names) {
    const isWildcard = name.startsWith("*.");
    if (isWildcard && members.length === 0) unjudged++;
    for (const one of isWildcard ? members : [name]) {
      const wire = nameToWire(one);
      if (wire !== null) happenings.push({ kind: "lookup", name: wire, type: TYPE_A, answer: null });
    }
  }
  for (const { protocol, port } of entries.outboundPorts) {
    const names = [SOME_NAME];
    happenings.push({ kind: "connection", protocol, port, destination: SOMEWHERE, internet: true, names });
  }
  for (const { subnet, protocol, port } of entries.internalDestinations) {
    const destination = parseAddress(subnet.replace(/\/.*/, ""));
    if (destination !== null)
      happenings.push({ kind: "connection", protocol, port, destination, internet: false, names: [] });
  }
  for (const { protocol, port } of entries.listeningPorts)
    happenings.push({ kind: "listening", protocol, port, address: new Uint8Array(4) });
  return [happenings, unjudged];
}

/** A name that was looked up, with where it led; the chain between them was not kept. Null for what is no name. */
export function resolvedAs(name: string, addresses: readonly string[]): Happening | null {
  const wire = nameToWire(name);
  if (wire === null) return null;
  const found = addresses.flatMap((text) => parseAddress(text) ?? []);
  return { kind: "lookup", name: wire, type: TYPE_A, answer: { rcode: 0, hops: [], addresses: found } };
}
