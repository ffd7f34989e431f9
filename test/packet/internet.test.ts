import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { parseAddress, parsePrefix, prefixContains } from "../../src/address.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { address } from "./build.ts";

function internal(prefixes: InternalPrefixes, text: string): boolean {
  const bytes = address(text);
  return prefixes.contains(bytes, 0, bytes.length);
}

t.test("what is Internet and what is not", async (t) => {
  const prefixes = new InternalPrefixes([
    "198.51.100.2",
    "2001:db8::2",
    "203.0.113.128/25",
    "2001:db8:d0::1/64",
    "::ffff:203.0.113.64/122",
  ]);
  for (const text of [
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "127.0.0.11",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.251",
    "239.255.255.250",
    "255.255.255.255",
    "::1",
    "::",
    "fd00::1",
    "fe80::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "198.51.100.2",
    "2001:db8::2",
    "203.0.113.200",
    "203.0.113.127",
    "2001:db8:d0::ffff",
  ]) {
    t.ok(internal(prefixes, text), text);
  }
  for (const text of [
    "8.8.8.8",
    "203.0.113.1",
    "198.51.100.3",
    "172.15.255.255",
    "172.32.0.0",
    "100.128.0.0",
    "223.255.255.255",
    "2001:db8::3",
    "2001:db8:d1::1",
    "2606:4700::1111",
    "::ffff:203.0.113.1",
    "1.0.0.0",
    "240.0.0.1",
  ]) {
    t.notOk(internal(prefixes, text), text);
  }
  t.throws(() => new InternalPrefixes(["10.0.0.0/33"]), { code: "TM_CONFIG", message: /`10.0.0.0\/33`/ });
});

t.test("agrees with looking at every prefix", async (t) => {
  const octets = fc.tuple(
    fc.constantFrom(9, 10, 11, 203),
    fc.nat(255),
    fc.constantFrom(0, 128, 255),
    fc.nat(255),
  );
  const prefix = fc
    .tuple(octets, fc.integer({ min: 1, max: 32 }))
    .map(([parts, length]) => `${parts.join(".")}/${length}`);
  fc.assert(
    fc.property(
      fc.array(prefix, { maxLength: 12 }),
      fc.array(octets, { minLength: 1, maxLength: 20 }),
      (texts, probes) => {
        const prefixes = new InternalPrefixes(texts);
        const slow = ["0.0.0.0/8", "10.0.0.0/8", ...texts].map((text) => parsePrefix(text)!);
        for (const probe of probes) {
          const bytes = parseAddress(probe.join("."))!;
          assert.equal(
            prefixes.contains(bytes, 0, 4),
            slow.some((one) => prefixContains(one, bytes)),
          );
        }
      },
    ),
  );
  t.pass("property holds");
});
