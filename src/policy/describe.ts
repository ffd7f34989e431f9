/** A decision in words: the message of an audit, and the first line of `why`. Plain lower-case English, no full stop. */
import { formatAddress } from "../address.ts";
import { wireToName } from "../name.ts";
import type { AnswerEvent, ConnectionEvent, Decision, PolicyEvent, QueryEvent, Reason } from "./types.ts";

/** RR types that containers ask for; the others are `TYPE` and a number (RFC 3597). */
const RR_TYPES: Readonly<Record<number, string>> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  10: "NULL",
  12: "PTR",
  15: "MX",
  16: "TXT",
  25: "KEY",
  28: "AAAA",
  33: "SRV",
  35: "NAPTR",
  43: "DS",
  48: "DNSKEY",
  52: "TLSA",
  64: "SVCB",
  65: "HTTPS",
  255: "ANY",
  257: "CAA",
};
const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  58: "icmpv6",
  132: "sctp",
};

/**
 * What was decided about the event and why: `lookup of evil.example (A) is listed by feed urlhaus`. For a decision that
 * found nothing it says what spoke for the event.
 */
export function describe(decision: Decision, event: PolicyEvent): string {
  const subject =
    event.kind === "connection" ? `connection to ${target(event)}` : `lookup of ${question(event)}`;
  const [reason] = decision.reasons;
  if (reason?.kind === "error") {
    return `${subject} could not be judged and counts as denied: ${reason.message ?? "no reason given"}`;
  }
  if (decision.effect === null) return `${subject} ${clean(decision, event, reason)}`;
  if (reason?.subject !== undefined && event.kind === "answer") {
    const address = decision.attackType === "feedIP";
    return `${subject} ${address ? "is answered with" : "is an alias of"} ${reason.subject}, which ${finding(decision, reason, reason.subject)}`;
  }
  return `${subject} ${finding(decision, reason, event.kind === "connection" ? formatAddress(event.destination) : wireToName(event.name))}`;
}

/** `name`: what the reason is about, so that an entry that says the same is not repeated. */
function finding(decision: Decision, reason: Reason | undefined, name: string): string {
  const entry = reason?.entry ?? "";
  switch (decision.attackType) {
    case "explicitlyDeniedDNS":
      return `is in denied names (${entry})`;
    case "explicitlyDeniedIP":
      return `is in denied addresses (${entry})`;
    case "explicitlyDeniedOutboundPort":
      return `uses a denied port (${entry})`;
    case "feedDNS":
    case "feedIP":
      return `is listed by feed ${reason?.feed ?? ""}${entry === "" || entry === name ? "" : ` (${entry})`}`;
    case "unexpectedDNS":
      return "is not in the model of its image";
    case "unexpectedOutboundPort":
      return "uses a port that is not in the model of its image";
    case "unresolvedDestination":
      return "goes to an address that the container never resolved";
    default:
      return `was found to be ${decision.attackType ?? "nothing"}`;
  }
}

function clean(decision: Decision, event: PolicyEvent, reason: Reason | undefined): string {
  const { profile } = event;
  if (decision.rule === null) return "is not judged: no rule governs the container";
  if (reason?.kind === "allowed") return `is allowed by ${reason.list ?? "a list"} (${reason.entry ?? ""})`;
  if (reason?.kind === "model") {
    const learned = event.kind === "connection" ? "uses a port that is in" : "is in";
    return `${learned} the model of its image (${reason.entry ?? ""})`;
  }
  if (reason !== undefined) return "was told of when it was asked";
  if (decision.learn) return "is learned by the model of its image";
  const effect = event.kind === "connection" ? profile.networkEffect : profile.dnsEffect;
  const section = event.kind === "connection" ? "network" : "dns";
  if (effect === "disable") return `is not judged: ${section}.effect is disable`;
  return "is allowed: nothing speaks against it";
}

/** `evil.example (A)`. */
function question(event: QueryEvent | AnswerEvent): string {
  return `${wireToName(event.name)} (${RR_TYPES[event.type] ?? `TYPE${event.type}`})`;
}

/** `203.0.113.66:443/tcp`, `[2001:db8::1]:53/udp`, `203.0.113.66/icmp`. */
function target(event: ConnectionEvent): string {
  const address = formatAddress(event.destination);
  const protocol = PROTOCOLS[event.protocol] ?? String(event.protocol);
  if (event.protocol !== 6 && event.protocol !== 17 && event.protocol !== 132)
    return `${address}/${protocol}`;
  return `${event.destination.length === 16 ? `[${address}]` : address}:${event.port}/${protocol}`;
}
