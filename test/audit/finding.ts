/** Findings for tests. */
import type { AuditContainer } from "../../src/audit/record.ts";
import type { Finding } from "../../src/policy/types.ts";

export const START = Date.UTC(2026, 10, 24, 2, 33, 39, 497);

export const web: AuditContainer = {
  id: "c0ffee00c0ffee00c0ffee00c0ffee00",
  name: "web",
  image: "docker.io/library/nginx:1.27",
  imageDigest: "sha256:1111",
  namespace: null,
  labels: { tier: "backend" },
};

/** A lookup of `name` that a feed listed. */
export function lookup(name: string, time = START, more: Partial<Finding> = {}): Finding {
  return {
    time,
    type: "dns",
    attackType: "feedDNS",
    effect: "prevent",
    container: web.id,
    rule: "payments",
    message: `lookup of ${name} (A) is listed by feed urlhaus`,
    dns: { name, type: "A", answers: [], rcode: null },
    connection: null,
    reasons: [{ kind: "feed", feed: "urlhaus", entry: name, match: "suffix" }],
    revision: 17,
    count: 1,
    ...more,
  };
}

/** A connection to a denied address. */
export function connection(destination: string, port: number, time = START): Finding {
  return {
    ...lookup("unused.example", time),
    type: "connection",
    attackType: "explicitlyDeniedIP",
    message: `connection to ${destination} port ${port} is denied`,
    dns: null,
    connection: { protocol: "tcp", source: "172.17.0.2", sourcePort: 40000, destination, port, names: [] },
    reasons: [
      { kind: "denied", list: "network.outboundAddresses.denied", entry: destination, match: "address" },
    ],
  };
}
