import fc from "fast-check";
import t from "tap";
import { formatAddress, parseAddress, prefixContains } from "../../src/address.ts";
import {
  type AddressEntry,
  canonicalPrefix,
  PrefixMatcher,
  parseAddressEntry,
} from "../../src/policy/prefixes.ts";

function entry(text: string): AddressEntry {
  const parsed = parseAddressEntry(text);
  if (typeof parsed === "string") throw new Error(`${text} ${parsed}`);
  return parsed;
}
function find(list: readonly string[], address: string): string | null {
  const bytes = parseAddress(address);
  if (bytes === null) throw new Error(`${address} is no address`);
  return new PrefixMatcher(list.map(entry)).find(bytes)?.entry ?? null;
}

t.test("the longest prefix answers, in the operator's words", async (t) => {
  const list = ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/16", "10.1.0.1", "2001:db8::/32", "2001:DB8::1"];
  t.equal(find(list, "192.0.2.1"), "0.0.0.0/0");
  t.equal(find(list, "10.2.0.0"), "10.0.0.0/8");
  t.equal(find(list, "10.1.255.255"), "10.1.2.3/16");
  t.equal(find(list, "10.1.0.1"), "10.1.0.1");
  t.equal(find(list, "2001:db8::1"), "2001:DB8::1");
  t.equal(find(list, "2001:db8:1::"), "2001:db8::/32");
  t.equal(find(list, "2001:db9::"), null, "0.0.0.0/0 is IPv4 alone");
  t.equal(
    find(["10.0.0.0/8", "10.255.0.0/8"], "10.0.0.1"),
    "10.0.0.0/8",
    "the first written of two equal ones",
  );
  t.equal(find([], "10.0.0.1"), null);
  t.equal(find([], "::"), null);
});

t.test("prefixes of mapped addresses are IPv4", async (t) => {
  t.equal(find(["::ffff:203.0.113.0/120"], "203.0.113.9"), "::ffff:203.0.113.0/120");
  t.equal(find(["::ffff:203.0.113.7"], "203.0.113.7"), "::ffff:203.0.113.7");
  t.equal(canonicalPrefix(entry("::ffff:10.0.0.0/104")), "10.0.0.0/8");
  t.equal(canonicalPrefix(entry("::/0")), "::/0", "and ::/0 is IPv6 alone");
});

t.test("what is no prefix is refused with what is allowed", async (t) => {
  t.match(parseAddressEntry("example.com"), /no address/);
  t.match(parseAddressEntry("10.0.0.0/33"), /0 to 32/);
  t.match(parseAddressEntry("10.0.0.1-10.0.0.9"), /range/);
  t.match(parseAddressEntry("10.0.0.0/255.0.0.0"), /no address/);
  t.match(parseAddressEntry(""), /no address/);
});

// Few bits differ, so that addresses and prefixes meet.
const bytes = (length: number) =>
  fc
    .array(fc.constantFrom(0, 1, 128, 255), { minLength: length, maxLength: length })
    .map((list) => Uint8Array.from(list));
const address = fc.oneof(bytes(4), bytes(16));
const prefix = fc.tuple(address, fc.nat(128)).map(([base, length]) => {
  return `${formatAddress(base)}/${Math.min(length, base.length * 8)}`;
});

t.test("the matcher agrees with its slow twin", async () => {
  fc.assert(
    fc.property(
      fc.array(prefix, { maxLength: 12 }),
      fc.array(address, { minLength: 1, maxLength: 8 }),
      (list, addresses) => {
        const entries = list.map(entry);
        const matcher = new PrefixMatcher(entries);
        return addresses.every((bytes) => {
          const holding = entries.filter(
            (one) => one.bytes.length === bytes.length && prefixContains(one, bytes),
          );
          const slow = holding.sort((a, b) => b.length - a.length)[0];
          return (matcher.find(bytes)?.entry ?? null) === (slow?.entry ?? null);
        });
      },
    ),
    { numRuns: 2000 },
  );
});
