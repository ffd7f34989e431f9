/** A decision in words: the message of an audit, and the first line of `why`. Plain lower-case English, no full stop. */
import { formatAddress } from "../address.ts";
import { wireToName } from "../name.ts";
import { typeName } from "../record-type.ts";
import type {
  Address,
  AnswerEvent,
  ConnectionEvent,
  Decision,
  ListeningEvent,
  PolicyEvent,
  QueryEvent,
  RawSocketEvent,
  Reason,
  SocketEvent,
} from "./types.ts";

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
export function describe(decision: Decision, event: PolicyEvent | SocketEvent): string {
  const subject = subjectOf(event);
  const [reason] = decision.reasons;
  if (reason?.kind === "error") {
    return `${subject} could not be judged and counts as denied: ${reason.message ?? "no reason given"}`;
  }
  if (decision.effect === null) return `${subject} ${clean(decision, event, reason)}`;
  if (reason?.subject !== undefined && decision.attackType === "dnsRebinding") {
    return `${subject} is a public name that leads to ${reason.subject}, an address inside`;
  }
  if (reason?.subject !== undefined && event.kind === "answer") {
    const address = decision.attackType === "feedIP";
    return `${subject} ${address ? "is answered with" : "is an alias of"} ${reason.subject}, which ${finding(decision, reason, reason.subject)}`;
  }
  return `${subject} ${finding(decision, reason, nameOf(event))}`;
}

function subjectOf(event: PolicyEvent | SocketEvent): string {
  switch (event.kind) {
    case "connection":
      return `connection to ${target(event)}`;
    case "listening":
      return `listener on ${listener(event)}`;
    case "rawSocket":
      return rawSocket(event);
    default:
      return `lookup of ${question(event)}`;
  }
}

/** What an entry would have to be to say no more than the subject does. */
function nameOf(event: PolicyEvent | SocketEvent): string {
  if (event.kind === "connection") return formatAddress(event.destination);
  return event.kind === "query" || event.kind === "answer" ? wireToName(event.name) : "";
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
    case "explicitlyDeniedListeningPort":
      return `uses a denied port (${entry})`;
    case "feedDNS":
    case "feedIP":
      return `is listed by feed ${reason?.feed ?? ""}${entry === "" || entry === name ? "" : ` (${entry})`}`;
    case "unexpectedDNS":
      return "is not in the model of its image";
    case "unexpectedOutboundPort":
    case "unexpectedListeningPort":
      return "uses a port that is not in the model of its image";
    case "unresolvedDestination":
      return "goes to an address that the container never resolved";
    case "encryptedDNS":
      return `goes around the DNS proxy: ${reason?.subject ?? ""}, ${reason?.message ?? ""}`;
    case "rawSocket":
      return "can read and forge packets";
    default:
      return `was found to be ${decision.attackType ?? "nothing"}`;
  }
}

function clean(decision: Decision, event: PolicyEvent | SocketEvent, reason: Reason | undefined): string {
  const { profile } = event;
  const aboutNetwork = event.kind !== "query" && event.kind !== "answer";
  if (decision.rule === null) return "is not judged: no rule governs the container";
  if (reason?.kind === "operator") {
    return `is allowed by an operator ${reason.message ?? "for a time"} (${reason.entry ?? ""})`;
  }
  if (reason?.kind === "allowed") return `is allowed by ${reason.list ?? "a list"} (${reason.entry ?? ""})`;
  if (reason?.kind === "model") {
    const learned = aboutNetwork ? "uses a port that is in" : "is in";
    return `${learned} the model of its image (${reason.entry ?? ""})`;
  }
  if (reason !== undefined) return "was told of when it was asked";
  if (decision.learn) return "is learned by the model of its image";
  if (event.kind === "rawSocket") return "is not judged: network.rawSockets is disable";
  const effect = aboutNetwork ? profile.networkEffect : profile.dnsEffect;
  const section = aboutNetwork ? "network" : "dns";
  if (effect === "disable") return `is not judged: ${section}.effect is disable`;
  return "is allowed: nothing speaks against it";
}

/** `evil.example (A)`. */
function question(event: QueryEvent | AnswerEvent): string {
  return `${wireToName(event.name)} (${typeName(event.type)})`;
}

/** `203.0.113.66:443/tcp`, `[2001:db8::1]:53/udp`, `203.0.113.66/icmp`. */
function target(event: ConnectionEvent): string {
  const protocol = PROTOCOLS[event.protocol] ?? String(event.protocol);
  if (event.protocol !== 6 && event.protocol !== 17 && event.protocol !== 132)
    return `${formatAddress(event.destination)}/${protocol}`;
  return `${place(event.destination, event.port)}/${protocol}`;
}

/** `0.0.0.0:8080/tcp`, `[::]:53/udp`, `127.0.0.1:9000/tcp (loopback only)`. */
function listener({ address, port, protocol }: ListeningEvent): string {
  const bound = `${place(address, port)}/${PROTOCOLS[protocol] ?? protocol}`;
  return isLoopback(address) ? `${bound} (loopback only)` : bound;
}

/** `packet socket of tcpdump (pid 4711)`. */
function rawSocket({ socket, pid, command }: RawSocketEvent): string {
  if (pid === 0) return `${socket} socket`;
  return `${socket} socket of ${command === "" ? "a process" : command} (pid ${pid})`;
}

/** 127.0.0.0/8, ::1, and the former in IPv6 (::ffff:127.0.0.0/104). */
export function isLoopback(address: Address): boolean {
  if (address.length === 4) return address[0] === 127;
  const zeros = address.subarray(0, 10).every((byte) => byte === 0);
  if (zeros && address[10] === 0xff && address[11] === 0xff) return address[12] === 127;
  return zeros && address.subarray(10, 15).every((byte) => byte === 0) && address[15] === 1;
}

function place(address: Address, port: number): string {
  const text = formatAddress(address);
  return `${address.length === 16 ? `[${text}]` : text}:${port}`;
}
