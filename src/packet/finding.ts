/** Findings about connections, as the audit tells them. */
import { formatAddress } from "../address.ts";
import type { Resident } from "../container/table.ts";
import { describe } from "../policy/describe.ts";
import type { ConnectionEvent, Decision, Effect, Finding } from "../policy/types.ts";
import { type ParsedPacket, PROTOCOL } from "./parse.ts";

/** What a finding is made of besides the decision; `bytes` is what `packet` was parsed from. */
export interface FindingSubject {
  readonly time: number;
  readonly resident: Resident;
  readonly packet: ParsedPacket;
  readonly bytes: Uint8Array;
}

/** `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, or the number as text. */
export function protocolName(protocol: number): string {
  switch (protocol) {
    case PROTOCOL.TCP:
      return "tcp";
    case PROTOCOL.UDP:
      return "udp";
    case PROTOCOL.ICMP:
      return "icmp";
    case PROTOCOL.ICMPV6:
      return "icmpv6";
    case PROTOCOL.SCTP:
      return "sctp";
    default:
      return String(protocol);
  }
}

/** Destination port, or the ICMP type, as `ConnectionEvent.port` has it. */
export function portOf(packet: ParsedPacket): number {
  return packet.hasPorts ? packet.destinationPort : packet.icmpType;
}

/** The finding of a decision about a new connection; `found` is what the decision names, known not to be null. */
export function connectionFinding(
  subject: FindingSubject,
  event: ConnectionEvent,
  decision: Decision,
  found: Pick<Finding, "effect" | "attackType">,
): Finding {
  const { packet, bytes } = subject;
  return {
    time: subject.time,
    type: "connection",
    attackType: found.attackType,
    effect: found.effect,
    container: subject.resident.container.id,
    rule: decision.rule,
    message: describe(decision, event) + describeEmbedded(packet, bytes),
    dns: null,
    connection: connectionOf(packet, bytes, event.names),
    reasons: decision.reasons,
    revision: decision.revision,
    count: 1,
  };
}

/** ` (an ICMP error about udp 172.17.0.2:4000 to 203.0.113.1:53)`, or nothing. */
function describeEmbedded({ embedded }: ParsedPacket, bytes: Uint8Array): string {
  if (embedded.version === 0) return "";
  const length = embedded.version === 4 ? 4 : 16;
  const end = (offset: number, port: number): string => {
    const address = formatAddress(bytes, offset, length);
    if (port === 0) return address;
    return `${length === 16 ? `[${address}]` : address}:${port}`;
  };
  const source = end(embedded.sourceOffset, embedded.sourcePort);
  const destination = end(embedded.destinationOffset, embedded.destinationPort);
  return ` (an ICMP error about ${protocolName(embedded.protocol)} ${source} to ${destination})`;
}

/** A packet under a source address that is none of its container's. */
export function spoofedSourceFinding(
  subject: FindingSubject,
  effect: Exclude<Effect, "disable">,
  revision: number,
): Finding {
  const { packet, bytes, resident } = subject;
  const { container } = resident;
  const source = formatAddress(bytes, packet.sourceOffset, packet.addressLength);
  const own = container.networks
    .flatMap((network) => network.addresses)
    .filter((address) => address.includes(":") === (packet.version === 6));
  const whose =
    own.length === 0 ? "which has no address of that family" : `whose address is ${own.join(", ")}`;
  return {
    time: subject.time,
    type: "connection",
    attackType: "spoofedSource",
    effect,
    container: container.id,
    rule: resident.profile?.rule ?? null,
    message: `packet with source ${source} came from the interface of \`${container.name}\`, ${whose}`,
    dns: null,
    connection: connectionOf(packet, bytes, []),
    reasons: own.length === 0 ? [{ kind: "detection" }] : [{ kind: "detection", subject: own.join(", ") }],
    revision,
    count: 1,
  };
}

function connectionOf(
  packet: ParsedPacket,
  bytes: Uint8Array,
  names: readonly string[],
): NonNullable<Finding["connection"]> {
  return {
    protocol: protocolName(packet.protocol),
    source: formatAddress(bytes, packet.sourceOffset, packet.addressLength),
    sourcePort: packet.sourcePort,
    destination: formatAddress(bytes, packet.destinationOffset, packet.addressLength),
    port: portOf(packet),
    names,
  };
}
