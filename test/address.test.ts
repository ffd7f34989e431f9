import { isIPv4 } from "node:net";
import fc from "fast-check";
import t from "tap";
import {
  formatAddress,
  ipv4Key,
  ipv6Key,
  isMapped,
  parseAddress,
  parsePrefix,
  prefixContains,
} from "../src/address.ts";

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const ipv6 = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((list) => Uint8Array.from(list)),
);

t.test("text of addresses", async (t) => {
  const cases: readonly [string, string][] = [
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["::FFFF:c000:201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
    ["192.0.2.255", "192.0.2.255"],
  ];
  for (const [text, formatted] of cases) {
    const bytes = parseAddress(text);
    t.equal(bytes === null ? null : formatAddress(bytes), formatted, text);
  }
});

t.test("what is no address", async (t) => {
  const texts = [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "01.2.3.4",
    " 1.2.3.4",
    "1.2.3.4 ",
    "::1%lo",
    "[::1]",
    ":::",
  ];
  for (const text of [...texts, "1:2:3:4::5:6:7:8", "12345::", "::1.2.3", "1.2.3.4/32"]) {
    t.equal(parseAddress(text), null, text);
  }
});

t.test("bytes to text and back", async () => {
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6), fc.nat(3), (bytes, offset) => {
      const shifted = Uint8Array.from([...new Array<number>(offset).fill(1), ...bytes, 2]);
      const back = parseAddress(formatAddress(shifted, offset, bytes.length));
      return back !== null && Buffer.compare(back, bytes) === 0;
    }),
  );
});

t.test("IPv4 text is what Node takes for one", async () => {
  const near = fc.string({
    unit: fc.constantFrom("0", "1", "2", "5", "9", "25", ".", ".", ".0.", " "),
    maxLength: 12,
  });
  fc.assert(
    fc.property(near, (text) => (parseAddress(text)?.length === 4) === isIPv4(text)),
    { numRuns: 5000 },
  );
});

t.test("any text ends", async () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom("0", "1", "f", ":", "::", ".", "/", "255"), maxLength: 20 }),
  );
  fc.assert(
    fc.property(text, (input) => {
      const length = parseAddress(input)?.length ?? 4;
      parsePrefix(input);
      return length === 4 || length === 16;
    }),
  );
});

t.test("prefixes", async (t) => {
  t.same(
    parsePrefix("10.1.2.3/8"),
    { bytes: Uint8Array.of(10, 0, 0, 0), length: 8 },
    "host bits are cleared",
  );
  t.same(parsePrefix("10.1.2.3"), { bytes: Uint8Array.of(10, 1, 2, 3), length: 32 });
  t.same(parsePrefix("0.0.0.0/0"), { bytes: Uint8Array.of(0, 0, 0, 0), length: 0 });
  t.equal(parsePrefix("2001:db8::/29")?.length, 29);
  for (const text of [
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/08",
    "10.0.0/8",
    "10.0.0.0/8/8",
  ]) {
    t.equal(parsePrefix(text), null, text);
  }
});

t.test("a prefix contains what shares its bits", async () => {
  const bits = (bytes: Uint8Array): string =>
    Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
  fc.assert(
    fc.property(
      fc.oneof(fc.tuple(ipv4, ipv4), fc.tuple(ipv6, ipv6)),
      fc.nat(128),
      fc.nat(128),
      ([a, b], length, flip) => {
        const size = Math.min(length, a.length * 8);
        const prefix = parsePrefix(`${formatAddress(a)}/${size}`);
        // Half of the time an address that differs in one bit, so that both outcomes are met.
        const near = Uint8Array.from(a);
        const bit = flip % (a.length * 8);
        near[bit >> 3] = near[bit >> 3]! ^ (128 >> (bit & 7));
        const expect = (address: Uint8Array): boolean => bits(address).startsWith(bits(a).slice(0, size));
        return (
          prefix !== null &&
          prefixContains(prefix, near) === expect(near) &&
          prefixContains(prefix, b) === expect(b) &&
          prefixContains(prefix, a)
        );
      },
    ),
  );
});

t.test("keys are distinct", async (t) => {
  t.equal(ipv4Key(Uint8Array.of(0, 255, 1, 2, 3), 1), 0xff010203);
  t.equal(ipv6Key(Uint8Array.from({ length: 16 }, (_, index) => index)).length, 8);
  fc.assert(fc.property(ipv6, ipv6, (a, b) => (ipv6Key(a) === ipv6Key(b)) === (Buffer.compare(a, b) === 0)));
});

t.test("mapped addresses", async (t) => {
  t.ok(isMapped(parseAddress("::ffff:10.0.0.1") ?? new Uint8Array(16)));
  t.notOk(isMapped(parseAddress("::fffe:10.0.0.1") ?? new Uint8Array(16)));
});
