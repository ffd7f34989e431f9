/**
 * Exemptions: what an operator lets one container reach for a time, whatever its rule, the feeds or its model say.
 *
 * They come before the denied list, unlike the allowed list of a rule. A rule is written for many containers and kept for
 * years, so a denial in it has to hold against a broad allow beside it. An exemption is one act of one person, for one
 * container, that ends by itself: who gives one has seen the denial and means it. Only a container that is blocked is not
 * helped by one, since of that nothing is decided at all.
 *
 * A name stands for all it leads to. Where it is asked for, or met in a chain of aliases, what lies behind it passes too: the
 * hops after it, the addresses, and connections to an address that the container resolved from it, on any port. An address
 * stands for itself, on one port or on all of them.
 *
 * What would have been found stays in the reasons, behind the exemption.
 */
import { formatAddress, parseDestination } from "../address.ts";
import { nameToWire } from "../name.ts";
import { canonicalPattern, NameMatcher, type NamePattern, parseNamePattern } from "./domains.ts";
import type { Address, AnswerEvent, ConnectionEvent, PolicyEvent, Reason, WireName } from "./types.ts";

/** Plain data. */
export interface Exemption {
  /** In the form that `parseExempt` gives. */
  readonly entry: string;
  /** When it ends, milliseconds since the epoch: told, and enforced by whoever holds the list. */
  readonly until: number;
}

export type ExemptTarget =
  | { readonly kind: "name"; readonly entry: string; readonly pattern: NamePattern }
  | {
      readonly kind: "address";
      readonly entry: string;
      readonly address: Address;
      /** Null: all of them. */
      readonly port: number | null;
      /** IP protocol number; null: all of them. */
      readonly protocol: number | null;
    };

const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** A name pattern, or ADDRESS[:PORT[/PROTOCOL]] with an IPv6 address in brackets before a port; or why it is neither. */
export function parseExempt(text: string): ExemptTarget | string {
  const alone = parseDestination(text.replace(/^\[(.*)\]$/, "$1"));
  if (alone !== null) {
    return { kind: "address", entry: formatAddress(alone), address: alone, port: null, protocol: null };
  }
  const [, bracketed, plain, portText = "", protocolText] =
    /^(?:\[([^\]]+)\]|([^:[\]/]+)):(\d{1,5})(?:\/([a-z]+))?$/i.exec(text) ?? [];
  const address = parseDestination(bracketed ?? plain ?? "");
  if (address !== null) {
    const port = Number(portText);
    const protocol = protocolText === undefined ? null : PROTOCOLS[protocolText.toLowerCase()];
    if (port < 1 || port > 65535) return "has no port; 1 to 65535 are allowed";
    if (protocol === undefined) return "has a protocol without ports; tcp, udp and sctp are allowed";
    const place = address.length === 16 ? `[${formatAddress(address)}]` : formatAddress(address);
    const suffix = protocol === null ? "" : `/${protocolText?.toLowerCase()}`;
    return { kind: "address", entry: `${place}:${port}${suffix}`, address, port, protocol };
  }
  if (parseDestination(text.replace(/\/\d+$/, "")) !== null)
    return "is a prefix; single addresses are allowed";
  const pattern = parseNamePattern(text);
  if (typeof pattern === "string") return pattern;
  const entry = canonicalPattern(pattern);
  return { kind: "name", entry, pattern: { ...pattern, entry } };
}

/** What an exemption makes of an event. */
export interface Exempted {
  readonly reason: Reason;
  /** What of the event is covered by none and has to be judged by itself; null: nothing. */
  readonly rest: PolicyEvent | null;
}

type ExemptAddress = Extract<ExemptTarget, { kind: "address" }>;

/** Those of one container, compiled; immutable. Whoever holds it makes another when one ends. */
export class Exemptions {
  readonly #names: NameMatcher;
  readonly #addresses: readonly ExemptAddress[];
  /** By entry. */
  readonly #reasons = new Map<string, Reason>();

  /** Throws for an entry that `parseExempt` refuses. */
  constructor(exemptions: readonly Exemption[]) {
    const patterns: NamePattern[] = [];
    const addresses: ExemptAddress[] = [];
    for (const { entry, until } of exemptions) {
      const target = parseExempt(entry);
      if (typeof target === "string") throw new TypeError(`\`${entry}\` ${target}`);
      if (target.kind === "name") patterns.push(target.pattern);
      else addresses.push(target);
      const message = `until ${new Date(until).toISOString()}`;
      const reason: Reason = { kind: "operator", entry: target.entry, message };
      this.#reasons.set(target.entry, Object.freeze(reason));
    }
    this.#names = new NameMatcher(patterns);
    this.#addresses = addresses;
  }

  /** Why the folded wire name is exempt; null: it is not. */
  name(wire: WireName): Reason | null {
    const match = this.#names.find(wire);
    const reason = match === null ? undefined : this.#reasons.get(match.entry);
    return match === null || reason === undefined ? null : { ...reason, match: match.match };
  }

  /** What is exempt of the event; null: nothing is. */
  of(event: PolicyEvent): Exempted | null {
    if (event.kind === "connection") return this.#connection(event);
    const asked = this.name(event.name);
    if (asked !== null) return { reason: asked, rest: null };
    return event.kind === "answer" ? this.#answer(event) : null;
  }

  #answer(event: AnswerEvent): Exempted | null {
    for (const [index, hop] of event.hops.entries()) {
      const reason = this.name(hop);
      if (reason === null) continue;
      // What comes before it in the chain was not exempted.
      return { reason, rest: { ...event, hops: event.hops.slice(0, index), addresses: [] } };
    }
    // A port says nothing here: who may connect to an address may also learn it.
    const found = event.addresses.flatMap((address) => this.#address(address) ?? []);
    const [reason] = found;
    if (reason === undefined) return null;
    const addresses = event.addresses.filter((address) => this.#address(address) === null);
    return { reason, rest: { ...event, addresses } };
  }

  #connection({ names, destination, port, protocol }: ConnectionEvent): Exempted | null {
    for (const name of names) {
      const wire = nameToWire(name);
      const reason = wire === null ? null : this.name(wire);
      if (reason !== null) return { reason: { ...reason, subject: name }, rest: null };
    }
    const reason = this.#address(
      destination,
      (one) =>
        (one.port === null || one.port === port) && (one.protocol === null || one.protocol === protocol),
    );
    return reason === null ? null : { reason, rest: null };
  }

  #address(address: Address, fits: (one: ExemptAddress) => boolean = () => true): Reason | null {
    const found = this.#addresses.find((one) => sameAddress(one.address, address) && fits(one));
    const reason = found === undefined ? undefined : this.#reasons.get(found.entry);
    return reason === undefined ? null : { ...reason, match: "address" };
  }
}

function sameAddress(a: Address, b: Address): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
