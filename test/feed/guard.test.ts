import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { formatAddress, NEVER_INTERNET, parsePrefix, prefixContains } from "../../src/address.ts";
import { TidesmanError } from "../../src/errors.ts";
import { guardNames, subtractInternal } from "../../src/feed/guard.ts";
import { isPublicSuffix } from "../../src/feed/list/names.ts";
import { ADDRESS_ROW, parseAddresses, parseDomains } from "../../src/feed/parse.ts";
import { parsePopular } from "../../src/feed/popular.ts";

const SHIPPED = readFileSync(resolve(import.meta.dirname, "../../feeds/popular.txt"));

function lines(entries: Uint8Array): string[] {
  return Buffer.from(entries).toString("latin1").split("\n").slice(0, -1);
}

function names(...entries: string[]): Uint8Array {
  return Buffer.from(entries.map((entry) => `${entry}\n`).join(""));
}

function prefixes(rows: Uint8Array): string[] {
  const found: string[] = [];
  for (let at = 0; at < rows.length; at += ADDRESS_ROW) {
    found.push(`${formatAddress(rows, at + 2, rows[at] === 4 ? 4 : 16)}/${rows[at + 1]}`);
  }
  return found;
}

function addresses(...text: string[]): Uint8Array {
  return parseAddresses(Buffer.from(text.join("\n"))).entries;
}

const POPULAR = new Set(["example.com", "www.shop.example", "cloud.example"]);

for (const [entry, taken, why] of [
  ["example.com", false, "the popular name itself"],
  [".example.com", false, "the popular name with everything below it"],
  [".shop.example", false, "what stands above a popular name, for everything below"],
  ["shop.example", true, "what stands above a popular name, for itself alone"],
  ["www.shop.example", false, "a popular name below another"],
  ["evil.cloud.example", true, "a name below a popular one"],
  [".evil.cloud.example", true, "a tree below a popular name"],
  ["notexample.com", true, "a name that only ends like a popular one"],
  [".com.example", true, "labels in another order"],
] as const) {
  t.test(`${entry}: ${why}`, async (t) => {
    const guarded = guardNames(names("a.test", entry, ".b.test"), POPULAR);
    t.strictSame(lines(guarded.entries), taken ? ["a.test", entry, ".b.test"] : ["a.test", ".b.test"]);
    t.equal(guarded.count, taken ? 3 : 2);
    t.equal(guarded.removed, taken ? 0 : 1);
    t.strictSame(guarded.samples, taken ? [] : [entry]);
  });
}

t.test("names are judged as an obvious twin does", async () => {
  const name = fc
    .array(fc.constantFrom("a", "b", "c"), { minLength: 2, maxLength: 4 })
    .map((l) => l.join("."));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), name)),
      fc.array(name).map((all) => new Set(all)),
      (entries, popular) => {
        const kept = entries
          .filter(([below, entry]) =>
            [...popular].every((known) => known !== entry && !(below && known.endsWith(`.${entry}`))),
          )
          .map(([below, entry]) => (below ? `.${entry}` : entry));
        const guarded = guardNames(
          names(...entries.map(([below, entry]) => (below ? `.${entry}` : entry))),
          popular,
        );
        return (
          lines(guarded.entries).join() === kept.join() &&
          guarded.count === kept.length &&
          guarded.removed === entries.length - kept.length
        );
      },
    ),
  );
});

t.test("samples are the first few", async (t) => {
  const popular = new Set(Array.from({ length: 9 }, (_, index) => `n${index}.test`));
  t.strictSame(guardNames(names(...popular), popular).samples, [
    "n0.test",
    "n1.test",
    "n2.test",
    "n3.test",
    "n4.test",
  ]);
});

t.test("public suffixes are refused before any guard", async (t) => {
  const { entries } = parseDomains(Buffer.from("github.io\nco.uk\nevil.github.io\nshop.co.uk\n"), "suffix");
  t.strictSame(lines(entries), [".evil.github.io", ".shop.co.uk"]);
});

t.test("networks that are not the Internet are cut out", async (t) => {
  const cut = (...text: string[]): string[] => prefixes(subtractInternal(addresses(...text), []).entries);
  t.strictSame(cut("10.0.0.0/8", "10.1.2.3", "127.0.0.1", "::1", "fe80::/10", "fd00::/16"), []);
  t.strictSame(cut("172.0.0.0/8"), ["172.0.0.0/12", "172.32.0.0/11", "172.64.0.0/10", "172.128.0.0/9"]);
  t.strictSame(
    cut("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"),
    ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"],
    "the documentation prefixes stay",
  );
  const own = subtractInternal(addresses("203.0.113.0/30", "8.8.8.8", "2001:db8::7"), [
    "203.0.113.1",
    "2001:db8::/64",
  ]);
  t.strictSame(prefixes(own.entries), ["203.0.113.0/32", "203.0.113.2/31", "8.8.8.8/32"]);
  t.equal(own.count, 3);
  t.equal(own.removed, 2);
  t.strictSame(own.samples, ["203.0.113.0/30", "2001:db8::7"]);
});

t.test("what is no prefix is an error of the configuration", async (t) => {
  for (const text of ["docker0", "10.0.0.1-10.0.0.9", "10.0.0.0/33", ""]) {
    t.throws(() => subtractInternal(new Uint8Array(0), [text]), TidesmanError, text);
  }
});

t.test("every address is judged as one by one", async () => {
  const ipv4 = fc.tuple(
    fc.constantFrom(10, 11, 172, 192, 203),
    fc.nat(255),
    fc.nat(255),
    fc.nat(255),
    fc.integer({ min: 8, max: 32 }),
  );
  const text = ipv4.map(([a, b, c, d, length]) => `${a}.${b}.${c}.${d}/${length}`);
  const ipv6 = fc
    .tuple(
      fc.constantFrom("fc00", "fe80", "2001"),
      fc.nat(0xffff),
      fc.nat(0xffff),
      fc.integer({ min: 16, max: 128 }),
    )
    .map(([a, b, c, length]) => `${a}:${b.toString(16)}::${c.toString(16)}/${length}`);
  const some = fc.oneof(text, ipv6);
  fc.assert(
    fc.property(
      fc.array(some, { minLength: 1, maxLength: 8 }),
      fc.array(some, { maxLength: 4 }),
      fc.array(some, { minLength: 20, maxLength: 40 }),
      (list, internal, probes) => {
        const covers = (all: readonly string[], bytes: Uint8Array): boolean =>
          all
            .map((one) => parsePrefix(one)!)
            .some((one) => one.bytes.length === bytes.length && prefixContains(one, bytes));
        const left = prefixes(subtractInternal(addresses(...list), internal).entries);
        // The edges of what was given are where mistakes are.
        for (const probe of [...probes, ...list, ...internal].map(
          (one) => parsePrefix(one.replace(/\/.*/, ""))!,
        )) {
          const expected =
            covers(list, probe.bytes) && !covers([...NEVER_INTERNET, ...internal], probe.bytes);
          if (covers(left, probe.bytes) !== expected) return false;
        }
        return true;
      },
    ),
  );
});

t.test("popular lists are read with and without ranks", async (t) => {
  const read = parsePopular(
    Buffer.from(
      "# a list\r\n1,Example.COM\r\n2,www.example.com # home\n\nb\u00fccher.example.\nco.uk\n3,\n*.x.test\na.test b.test\n",
    ),
  );
  t.strictSame([...read.names], ["example.com", "www.example.com", "xn--bcher-kva.example"]);
  t.equal(read.refused, 4);
  t.equal(read.samples[0], "line 6: co.uk: a public suffix");
});

t.test("the shipped list", async (t) => {
  const read = parsePopular(SHIPPED);
  t.strictSame(read.samples, []);
  const written = SHIPPED.toString("utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  t.strictSame([...read.names], written, "each line once, and as it is stored");
  t.ok(written.length >= 300);
  t.strictSame(written.filter(isPublicSuffix), []);
});
