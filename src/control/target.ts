/** What `why` is asked about: `NAME`, or `ADDRESS[:PORT[/PROTOCOL]]` with an IPv6 address in brackets when a port follows. */
import { isIPv6 } from "node:net";
import { formatAddress, parseDestination } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { nameToWire, wireToName } from "../name.ts";

export type WhyTarget =
  | { readonly kind: "name"; readonly name: string }
  | {
      readonly kind: "connection";
      /** Canonical presentation form; of an IPv4-mapped address that of the IPv4 address. */
      readonly address: string;
      /** 443 when `assumed`. */
      readonly port: number;
      readonly protocol: "tcp" | "udp" | "sctp" | "icmp" | "icmpv6";
      /** No port was given. */
      readonly assumed: boolean;
    };

const PROTOCOLS = ["tcp", "udp", "sctp", "icmp", "icmpv6"] as const;
const FORM = "a name, or ADDRESS[:PORT[/PROTOCOL]] as in 203.0.113.1:443/tcp or [2001:db8::1]:53/udp";

/** Throws TM_USAGE when it is neither. Names are folded to lower case and A-labels. */
export function parseTarget(text: string): WhyTarget {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  const alone = parseDestination(bare);
  if (alone !== null) {
    return { kind: "connection", address: formatAddress(alone), port: 443, protocol: "tcp", assumed: true };
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]/]+)):(\d{1,5})(?:\/([a-z0-9]+))?$/i.exec(text);
  if (match !== null) return connection(text, match);
  // No name is made of numbers: it is an address with a mistake in it.
  const wire = /[\s:/[\]]|^[\d.]+$/.test(text) ? null : nameToWire(text);
  if (wire === null || wire.length === 1)
    throw new TidesmanError("TM_USAGE", `\`${text}\` is no target; give ${FORM}`);
  return { kind: "name", name: wireToName(wire) };
}

function connection(text: string, match: RegExpExecArray): WhyTarget {
  const [, bracketed, plain, portText, protocolText = "tcp"] = match;
  const host = bracketed ?? plain ?? "";
  const bytes = parseDestination(host);
  if (bytes === null || isIPv6(host) !== (bracketed !== undefined)) {
    const hint =
      bytes === null ? `\`${host}\` is no address; ask for the name alone, without a port` : `give ${FORM}`;
    throw new TidesmanError("TM_USAGE", `\`${text}\` is no target: ${hint}`);
  }
  const port = Number(portText);
  const protocol = PROTOCOLS.find((known) => known === protocolText.toLowerCase());
  if (protocol === undefined) {
    throw new TidesmanError(
      "TM_USAGE",
      `protocol \`${protocolText}\` in \`${text}\` is not known; one of ${PROTOCOLS.join(", ")}`,
    );
  }
  if (port > 65535) throw new TidesmanError("TM_USAGE", `port \`${port}\` in \`${text}\` is above 65535`);
  return { kind: "connection", address: formatAddress(bytes), port, protocol, assumed: false };
}
