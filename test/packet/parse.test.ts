import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { formatAddress } from "../../src/address.ts";
import {
  FRAGMENT,
  isIcmpError,
  PARSE,
  type ParsedPacket,
  parsedPacket,
  parsePacket,
} from "../../src/packet/parse.ts";
import {
  authentication,
  concat,
  type Extension,
  extension,
  fragmentHeader,
  icmp,
  ipv4,
  ipv6,
  type Segment,
  sctp,
  tcp,
  udp,
} from "./build.ts";

function parse(bytes: Uint8Array): { result: number; packet: ParsedPacket; slab: Uint8Array } {
  // In the middle of a slab full of something else, as in a batch.
  const slab = concat(new Uint8Array(33).fill(0x45), bytes, new Uint8Array(64).fill(0x11));
  const packet = parsedPacket();
  const result = parsePacket(slab, 33, bytes.length, packet);
  return { result, packet, slab };
}

const v4 = fc.ipV4();
const v6 = fc
  .tuple(...Array.from({ length: 8 }, () => fc.nat(65535)))
  .map((groups) => formatAddress(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]))));
const port = fc.nat(65535);
const payload = fc.uint8Array({ maxLength: 40 });

interface Known {
  readonly segment: Segment;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly hasPorts: boolean;
  readonly flags?: number;
  readonly type?: number;
}
const transport: fc.Arbitrary<Known> = fc.oneof(
  fc.tuple(port, port, fc.nat(255), payload).map(([from, to, flags, body]) => ({
    segment: tcp(from, to, flags, body),
    sourcePort: from,
    destinationPort: to,
    hasPorts: true,
    flags,
  })),
  fc.tuple(port, port, payload, fc.constantFrom(17, 136)).map(([from, to, body, protocol]) => ({
    segment: udp(from, to, body, protocol),
    sourcePort: from,
    destinationPort: to,
    hasPorts: true,
  })),
  fc.tuple(port, port).map(([from, to]) => ({
    segment: sctp(from, to),
    sourcePort: from,
    destinationPort: to,
    hasPorts: true,
  })),
  fc.tuple(fc.constantFrom(1 as const, 58 as const), fc.nat(255), payload).map(([protocol, type, body]) => ({
    segment: icmp(protocol, type, 3, body),
    sourcePort: 0,
    destinationPort: 0,
    hasPorts: false,
    type,
  })),
  // GRE, ESP, OSPF: nothing to read behind the IP header.
  fc.tuple(fc.constantFrom(47, 50, 89), payload).map(([protocol, bytes]) => ({
    segment: { protocol, bytes },
    sourcePort: 0,
    destinationPort: 0,
    hasPorts: false,
  })),
);
const extensions: fc.Arbitrary<Extension[]> = fc.array(
  fc.oneof(
    fc
      .tuple(fc.constantFrom(0 as const, 43 as const, 60 as const), fc.nat(3))
      .map(([kind, units]) => extension(kind, units)),
    fc.nat(6).map((units) => authentication(units)),
    fc.constant(fragmentHeader(0, false)),
  ),
  { maxLength: 8 },
);

function checkTransport(packet: ParsedPacket, known: Known): void {
  assert.equal(packet.protocol, known.segment.protocol);
  assert.equal(packet.hasPorts, known.hasPorts);
  assert.equal(packet.sourcePort, known.sourcePort);
  assert.equal(packet.destinationPort, known.destinationPort);
  assert.equal(packet.tcpFlags, known.flags ?? 0);
  assert.equal(packet.icmpType, known.type ?? 0);
}

t.test("what was built is what is read", async (t) => {
  fc.assert(
    fc.property(v4, v4, transport, fc.nat(10), (source, destination, known, words) => {
      // Options: no-operations, then a timestamp of the length that fills up the rest.
      const options = new Uint8Array(words * 4).fill(1);
      if (words > 1) options.set([68, words * 4 - 3], 3);
      const { result, packet, slab } = parse(ipv4(source, destination, known.segment, { options }));
      assert.equal(result, PARSE.WHOLE);
      assert.equal(packet.version, 4);
      assert.equal(packet.addressLength, 4);
      assert.equal(packet.headerLength, 20 + words * 4);
      assert.equal(formatAddress(slab, packet.sourceOffset, 4), source);
      assert.equal(formatAddress(slab, packet.destinationOffset, 4), destination);
      assert.equal(packet.fragment, FRAGMENT.NONE);
      checkTransport(packet, known);
    }),
  );
  fc.assert(
    fc.property(v6, v6, transport, extensions, (source, destination, known, headers) => {
      const { result, packet, slab } = parse(ipv6(source, destination, known.segment, headers));
      assert.equal(result, PARSE.WHOLE);
      assert.equal(packet.version, 6);
      assert.equal(packet.addressLength, 16);
      assert.equal(
        packet.headerLength,
        headers.reduce((sum, { bytes }) => sum + bytes.length, 40),
      );
      assert.equal(formatAddress(slab, packet.sourceOffset, 16), source);
      assert.equal(formatAddress(slab, packet.destinationOffset, 16), destination);
      assert.equal(packet.fragment, FRAGMENT.NONE);
      checkTransport(packet, known);
    }),
  );
  t.pass("properties hold");
});

t.test("fragments", async (t) => {
  const segment = udp(1000, 2000);
  const first = parse(ipv4("10.0.0.1", "203.0.113.1", segment, { moreFragments: true }));
  t.match(
    { ...first.packet, result: first.result },
    { result: PARSE.WHOLE, fragment: FRAGMENT.FIRST, destinationPort: 2000 },
  );
  for (const moreFragments of [true, false]) {
    const later = parse(ipv4("10.0.0.1", "203.0.113.1", segment, { moreFragments, fragmentOffset: 185 }));
    t.match(
      { ...later.packet, result: later.result },
      { result: PARSE.WHOLE, fragment: FRAGMENT.LATER, protocol: 17, hasPorts: false, destinationPort: 0 },
      "a later fragment has no ports, whatever its bytes look like",
    );
  }
  const first6 = parse(ipv6("2001:db8::1", "2001:db8::2", segment, [extension(0), fragmentHeader(0, true)]));
  t.match({ ...first6.packet }, { fragment: FRAGMENT.FIRST, destinationPort: 2000 });
  const later6 = parse(ipv6("2001:db8::1", "2001:db8::2", segment, [fragmentHeader(185, false)]));
  t.match(
    { ...later6.packet, result: later6.result },
    { result: PARSE.WHOLE, fragment: FRAGMENT.LATER, protocol: 17, hasPorts: false },
  );
});

t.test("ICMP errors carry the packet they are about", async (t) => {
  const about = ipv4("172.17.0.2", "203.0.113.1", udp(4000, 53));
  const error = parse(ipv4("172.17.0.2", "203.0.113.9", icmp(1, 3, 3, about)));
  const { embedded } = error.packet;
  t.match(embedded, { version: 4, protocol: 17, sourcePort: 4000, destinationPort: 53 });
  t.equal(formatAddress(error.slab, embedded.destinationOffset, 4), "203.0.113.1");

  const about6 = ipv6("2001:db8::2", "2001:db8::1", tcp(4000, 443));
  const error6 = parse(ipv6("2001:db8::2", "2001:db8::9", icmp(58, 1, 4, about6)));
  t.match(error6.packet.embedded, { version: 6, protocol: 6, sourcePort: 4000, destinationPort: 443 });
  t.equal(formatAddress(error6.slab, error6.packet.embedded.sourceOffset, 16), "2001:db8::2");

  t.equal(
    parse(ipv4("172.17.0.2", "203.0.113.9", icmp(1, 8, 0, about))).packet.embedded.version,
    0,
    "an echo has none",
  );
  for (let cut = 0; cut < 20; cut++) {
    const cutShort = parse(ipv4("172.17.0.2", "203.0.113.9", icmp(1, 3, 3, about.subarray(0, cut))));
    t.equal(cutShort.packet.embedded.version, 0, `nor has one of which ${cut} bytes are there`);
  }
  t.ok(isIcmpError(58, 4));
  t.notOk(isIcmpError(58, 128));
});

t.test("tricks", async (t) => {
  const whole = ipv4("10.0.0.1", "203.0.113.1", tcp(1, 2));
  const changed = (at: number, value: number, of = whole): number => {
    const copy = of.slice();
    copy[at] = value;
    return parse(copy).result;
  };
  t.equal(parse(new Uint8Array()).result, PARSE.TRUNCATED, "nothing at all");
  t.equal(changed(0, 0x55), PARSE.MALFORMED, "version 5");
  t.equal(changed(0, 0x44), PARSE.MALFORMED, "a header of sixteen bytes");
  t.equal(changed(0, 0x4f), PARSE.MALFORMED, "a header longer than the packet");
  t.equal(changed(3, 39), PARSE.MALFORMED, "a TCP header cut short by the total length");
  t.equal(changed(3, 0), PARSE.WHOLE, "a total length of 0 is a large GSO packet");
  t.equal(parse(whole.subarray(0, 39)).result, PARSE.TRUNCATED, "captured too little");
  t.equal(parse(ipv4("10.0.0.1", "203.0.113.1", tcp(1, 2), { moreFragments: true })).result, PARSE.WHOLE);
  t.equal(
    parse(
      ipv4(
        "10.0.0.1",
        "203.0.113.1",
        { protocol: 6, bytes: tcp(1, 2).bytes.subarray(0, 8) },
        { moreFragments: true },
      ),
    ).result,
    PARSE.MALFORMED,
    "a first fragment so small that the flags are in the next (RFC 1858)",
  );

  for (const kind of [131, 137]) {
    const options = Uint8Array.from([kind, 7, 4, 198, 51, 100, 1, 0]);
    t.equal(parse(ipv4("10.0.0.1", "203.0.113.1", tcp(1, 2), { options })).result, PARSE.SOURCE_ROUTED);
  }
  for (const bad of [
    [68, 0, 0, 0],
    [68, 1, 0, 0],
    [68, 9, 0, 0],
    [1, 1, 1, 68],
  ]) {
    const options = Uint8Array.from(bad);
    t.equal(parse(ipv4("10.0.0.1", "203.0.113.1", tcp(1, 2), { options })).result, PARSE.MALFORMED);
  }

  const routing = extension(43, 2);
  routing.bytes[3] = 1;
  t.equal(parse(ipv6("2001:db8::1", "2001:db8::2", tcp(1, 2), [routing])).result, PARSE.SOURCE_ROUTED);
  routing.bytes[3] = 0;
  t.equal(
    parse(ipv6("2001:db8::1", "2001:db8::2", tcp(1, 2), [routing])).result,
    PARSE.WHOLE,
    "it has arrived",
  );
  const many = Array.from({ length: 9 }, () => extension(60));
  t.equal(
    parse(ipv6("2001:db8::1", "2001:db8::2", tcp(1, 2), many)).result,
    PARSE.MALFORMED,
    "nine extension headers",
  );
  const long = extension(60);
  long.bytes[1] = 255;
  t.not(
    parse(ipv6("2001:db8::1", "2001:db8::2", tcp(1, 2), [long])).result,
    PARSE.WHOLE,
    "one that ends nowhere",
  );
  const behind = ipv6("2001:db8::1", "2001:db8::2", tcp(1, 2), [extension(60, 60)]);
  t.equal(parse(behind.subarray(0, 512)).result, PARSE.TRUNCATED, "ports behind what is captured");
});

t.test("no input makes it throw, or read outside the packet", async (t) => {
  const built = fc.oneof(
    fc
      .tuple(v4, v4, transport)
      .map(([source, destination, known]) => ipv4(source, destination, known.segment)),
    fc
      .tuple(v6, v6, transport, extensions)
      .map(([source, destination, known, headers]) => ipv6(source, destination, known.segment, headers)),
  );
  const mutated = fc
    .tuple(built, fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 6 }), fc.nat(160))
    .map(([bytes, changes, length]) => {
      const copy = bytes.slice(0, length);
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
      return copy;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 120 })), (bytes) => {
      const results = [0, 255, 6].map((around) => {
        const slab = concat(new Uint8Array(50).fill(around), bytes, new Uint8Array(300).fill(around));
        const packet = parsedPacket();
        const result = parsePacket(slab, 50, bytes.length, packet);
        if (packet.version !== 0) {
          for (const offset of [packet.sourceOffset, packet.destinationOffset]) {
            assert.ok(offset >= 50 && offset + packet.addressLength <= 50 + bytes.length);
          }
        }
        if (packet.embedded.version !== 0) {
          const length = packet.embedded.version === 4 ? 4 : 16;
          assert.ok(packet.embedded.destinationOffset + length <= 50 + bytes.length);
        }
        return { result, ...packet, embedded: { ...packet.embedded } };
      });
      assert.deepEqual(results[1], results[0], "what stands around a packet changes nothing");
      assert.deepEqual(results[2], results[0]);
    }),
    { numRuns: 3000 },
  );
  t.pass("properties hold");
});
