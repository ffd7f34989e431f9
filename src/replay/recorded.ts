/** Audits as what happened, so that it can be judged again. */
import { parseAddress } from "../address.ts";
import type { AuditConnection, AuditContainer, AuditRecord } from "../audit/record.ts";
import { nameToWire } from "../name.ts";
import type { Address } from "../policy/types.ts";
import { typeNumber } from "../record-type.ts";
import type { Happening } from "./judge.ts";

/** What no rule decided: about the guard itself, by the kernel, by an operator. */
const NOT_BY_RULE: ReadonlySet<AuditRecord["attackType"]> = new Set([
  "rulesetChanged",
  "staleFeed",
  "connectionFlood",
  "exempted",
]);

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 };
const RCODES: Readonly<Record<string, number>> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3 };
/** Any that is no success: which one no decision asks. */
const FAILED = 5;

/**
 * What the audit is about; null where no rule decided it, or too little of it was kept. `internet`: whether an address counts as
 * Internet now.
 */
export function happeningOf(record: AuditRecord, internet: (address: Address) => boolean): Happening | null {
  const { type, attackType, message, reasons } = record;
  if (record.container === null || NOT_BY_RULE.has(attackType)) return null;
  if (attackType === "malformedDNS") return { kind: "section", section: "dns", attackType, message };
  if (attackType === "spoofedSource") return { kind: "section", section: "network", attackType, message };
  if (attackType === "horizontalPortScan" || attackType === "verticalPortScan")
    return { kind: "detected", attackType, name: null, reasons, message };
  if (type === "rawSocket") return { kind: "rawSocket", message };
  if (type === "dns") return lookupOf(record);
  return record.connection === null ? null : trafficOf(type, record.connection, internet);
}

function lookupOf({ dns, attackType, message, reasons }: AuditRecord): Happening | null {
  const name = dns === null ? null : nameToWire(dns.name);
  if (dns === null || name === null) return null;
  if (attackType === "suspiciousDNS") {
    // What other parts said is said again.
    const said = reasons.filter(({ kind }) => kind === "detection");
    return { kind: "detected", attackType, name, reasons: said, message };
  }
  const addresses = dns.answers.flatMap((text) => parseAddress(text) ?? []);
  const hops = dns.answers.flatMap((text) => (parseAddress(text) === null ? (nameToWire(text) ?? []) : []));
  const rcode = dns.rcode === null ? null : (RCODES[dns.rcode] ?? FAILED);
  const answer = rcode === null ? null : { rcode, hops, addresses };
  return { kind: "lookup", name, type: typeNumber(dns.type) ?? 1, answer };
}

function trafficOf(
  type: AuditRecord["type"],
  { protocol: text, destination, port, names }: AuditConnection,
  internet: (address: Address) => boolean,
): Happening | null {
  const address = parseAddress(destination);
  const protocol = PROTOCOLS[text] ?? Number(text);
  if (address === null || !Number.isInteger(protocol)) return null;
  if (type === "listeningPort") return { kind: "listening", protocol, port, address };
  const to = { destination: address, internet: internet(address) };
  return { kind: "connection", protocol, port, names, ...to };
}

/** A container that an audit stands for, with its share of the count. */
export interface Share {
  readonly container: AuditContainer;
  readonly count: number;
  /** Its labels are those of another container of its image. */
  readonly guessed: boolean;
}

/** `known`: facts of a container that exists. */
export function sharesOf(
  { container, count, fold }: AuditRecord,
  known: (id: string) => AuditContainer | undefined,
): readonly Share[] {
  if (container === null) return [];
  if (fold === undefined || fold.containers.length === 0) return [{ container, count, guessed: false }];
  return fold.containers.map(({ id, name, count }) => {
    const facts = id === container.id ? container : known(id);
    return { container: facts ?? { ...container, id, name }, count, guessed: facts === undefined };
  });
}
