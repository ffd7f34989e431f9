/** Well-formed inputs, one of each kind that matters, for the mutator to start from. */
import { nameToWire } from "../../src/name.ts";

const encoder = new TextEncoder();
const text = (lines: string): Uint8Array => encoder.encode(lines);
const bytes = (...parts: readonly (readonly number[] | Uint8Array)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => Array.from(part)));
const wire = (name: string): Uint8Array => nameToWire(name) ?? new Uint8Array();

const header = (flags: number, counts: readonly [number, number, number, number]): number[] => [
  0x12,
  0x34,
  flags >> 8,
  flags & 255,
  ...counts.flatMap((count) => [count >> 8, count & 255]),
];
const question = (name: string, type: number): Uint8Array => bytes(wire(name), [type >> 8, type & 255, 0, 1]);
const record = (
  owner: readonly number[] | Uint8Array,
  type: number,
  data: readonly number[] | Uint8Array,
): Uint8Array =>
  bytes(owner, [type >> 8, type & 255, 0, 1, 0, 0, 1, 44, data.length >> 8, data.length & 255], data);
const OPT = [0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0];
const OPT_ECS = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100];
/** A pointer to the name of the question. */
const ASKED = [0xc0, 12];

export const QUERIES: readonly Uint8Array[] = [
  bytes(header(0x0100, [1, 0, 0, 0]), question("www.example.com", 1)),
  bytes(header(0x0100, [1, 0, 0, 1]), question("www.example.com", 28), OPT),
  bytes(header(0x0110, [1, 0, 0, 1]), question("_sip._tcp.example.com", 33), OPT_ECS),
  bytes(header(0x0100, [1, 0, 0, 0]), question(".", 2)),
  bytes(header(0x2800, [1, 0, 0, 0]), question("example.com", 6)),
  bytes(
    header(0x0100, [1, 0, 0, 0]),
    question(`${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.example`, 16),
  ),
  bytes([0, 33], header(0x0100, [1, 0, 0, 0]), question("www.example.com", 1)),
];

const asked = question("www.example.com", 1);
const SOA = bytes(
  wire("ns.example.com"),
  wire("admin.example.com"),
  [0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 7, 8, 0, 9, 58, 128, 0, 0, 1, 44],
);

export const REPLIES: readonly Uint8Array[] = [
  bytes(header(0x8180, [1, 1, 0, 0]), asked, record(ASKED, 1, [203, 0, 113, 10])),
  bytes(
    header(0x8180, [1, 2, 0, 0]),
    asked,
    record(ASKED, 5, wire("alias.example.net")),
    record(wire("alias.example.net"), 1, [203, 0, 113, 10]),
  ),
  bytes(
    header(0x8180, [1, 2, 0, 1]),
    asked,
    record(ASKED, 5, [1, 97, 0xc0, 16]),
    record([1, 97, 0xc0, 16], 28, new Uint8Array(16).fill(1)),
    OPT,
  ),
  bytes(header(0x8183, [1, 0, 1, 0]), asked, record([0xc0, 16], 6, SOA)),
  bytes(header(0x8180, [1, 1, 0, 0]), asked, record(ASKED, 65, [0, 1, 0, 0, 4, 0, 4, 203, 0, 113, 66])),
  bytes(header(0x8180, [1, 1, 0, 0]), asked, record(ASKED, 39, wire("example.org"))),
];

const ipv4 = (protocol: number, payload: readonly number[]): Uint8Array => {
  const total = 20 + payload.length;
  return bytes(
    [0x45, 0, total >> 8, total & 255, 0, 1, 0x40, 0, 64, protocol, 0, 0, 172, 17, 0, 2, 203, 0, 113, 66],
    payload,
  );
};
const ipv6 = (next: number, payload: readonly number[]): Uint8Array =>
  bytes(
    [0x60, 0, 0, 0, payload.length >> 8, payload.length & 255, next, 64],
    wireAddress(1),
    wireAddress(2),
    payload,
  );
const wireAddress = (last: number): number[] => [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
const TCP = [0x9c, 0x40, 1, 187, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
const UDP = [0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];

export const PACKETS: readonly Uint8Array[] = [
  ipv4(6, TCP),
  ipv4(17, UDP),
  ipv4(1, [8, 0, 0, 0, 0, 1, 0, 1]),
  ipv4(1, [3, 1, 0, 0, 0, 0, 0, 0, ...ipv4(17, UDP)]),
  ipv4(132, TCP),
  ipv4(47, [0, 0, 8, 0]),
  ipv6(6, TCP),
  ipv6(17, UDP),
  ipv6(0, [44, 0, 5, 2, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 1, ...TCP]),
  ipv6(43, [6, 2, 4, 0, 0, 0, 0, 0, ...new Array<number>(16).fill(9), ...TCP]),
  ipv6(58, [128, 0, 0, 0, 0, 1, 0, 1]),
];

export const POLICIES: readonly Uint8Array[] = [
  text(`version: 1
rules:
  - name: payments
    scope: { images: ["registry.example/pay*"], labels: { tier: backend } }
    dns:
      effect: prevent
      allowed: [api.stripe.com, "*.internal.example"]
      denied: [".example.net"]
      deniedEffect: block
      intelligence: prevent
      suspicious: alert
    network:
      effect: alert
      outboundAddresses: { allowed: [10.0.0.0/8, "2001:db8::/32"], denied: [203.0.113.0/24], deniedEffect: prevent }
      outboundPorts: { allowed: [443, "8000-8100"], denied: [25], deniedEffect: prevent }
      listeningPorts: { allowed: [8080], denied: [4444], deniedEffect: alert }
      unresolved: disable
`),
  text(`version: 1
rules:
  - name: a
    scope: { containers: ["-db*", "*"], hosts: [h1], namespaces: [prod] }
    dns: { effect: alert, denied: [bücher.example, "*.example.org"] }
  - name: b
    network: { effect: block, outboundPorts: { denied: ["1-1024", 65535] } }
`),
  text("version: 1\nrules: []\n"),
];

export const DOMAIN_LISTS: readonly Uint8Array[] = [
  text(
    "# list\nevil.example\n*.bad.example\n.worse.example  # note\nUPPER.Example.\nbücher.example\n10.0.0.1\nhttp://x.example/y\n",
  ),
  text("\ufeffa.example\r\nb.example\r\n! comment\r\n"),
];

export const ADDRESS_LISTS: readonly Uint8Array[] = [
  text("203.0.113.0/24\n198.51.100.7 ; note\n2001:db8::/32\n# x\n010.0.0.1\n1.2.3.4/33\n"),
];

export const FORMATTED_LISTS: readonly Uint8Array[] = [
  text("127.0.0.1 localhost\n0.0.0.0 evil.example two.example # note\n0177.0.0.1 octal.example\n"),
  text("[Adblock Plus 2.0]\n! x\n||evil.example^\n@@||ok.evil.example^$important\n##.ad\n||192.0.2.0/24^\n"),
  text("address=/evil.example/two.example/0.0.0.0\nserver=/ok.example/#\nlocal=/x.example/\n"),
  text('server:\nlocal-zone: "evil.example" static\nlocal-data: "a.example A 0.0.0.0"\n'),
  text('zone "evil.example" { type master; file "x"; };\nzone "b.example" {\n type primary;\n};\n'),
  text("$TTL 30\n@ IN SOA a. b. (1 2\n 3 4 5)\n NS c.\nevil.example CNAME .\n*.evil.example 60 IN CNAME .\n"),
  text(
    "$ORIGIN rpz.example.\nok.example CNAME rpz-passthru.\n24.0.2.0.192.rpz-ip CNAME .\n48.zz.1.db8.2001.rpz-ip A 0.0.0.0\n",
  ),
  text("=alone.example\n*.wild.example\nads.*\nx.example @work\n"),
  text('# id,dateadded,url\n"1", "2026-01-01 00:00:00", "http://evil.example/", "online"\n'),
  text('"2026-01-01 00:00:00", "12", "192.0.2.1:443", "ip:port", "x"\n'),
  text('[{"ip_address":"192.0.2.1","port":443}]'),
  text('{"7":[{"ioc_value":"evil.example","ioc_type":"domain"}]}'),
  text('{"cidr":"192.0.2.0/24","sblid":"SBL1"}\n{"type":"metadata"}\n'),
  text('{"Event":{"Attribute":[{"type":"domain|ip","value":"evil.example|192.0.2.1","to_ids":true}]}}'),
  text(
    `{"type":"bundle","objects":[{"type":"indicator","pattern":"[domain-name:value = 'a.example' OR ipv4-addr:value IN ('192.0.2.1')]"}]}`,
  ),
  text("192.0.2.1-192.0.2.9\n2001:db8:: - 2001:db8::ff\n"),
];
