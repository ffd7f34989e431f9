import fc from "fast-check";
import t from "tap";
import { nameToWire, wireToName } from "../../src/name.ts";
import {
  canonicalPattern,
  NameMatcher,
  type NamePattern,
  parseNamePattern,
} from "../../src/policy/domains.ts";

function pattern(text: string): NamePattern {
  const parsed = parseNamePattern(text);
  if (typeof parsed === "string") throw new Error(`${text} ${parsed}`);
  return parsed;
}
function wire(text: string): Uint8Array {
  const bytes = nameToWire(text);
  if (bytes === null) throw new Error(`${text} is no name`);
  return bytes;
}
function find(patterns: readonly string[], name: string): string | null {
  const match = new NameMatcher(patterns.map(pattern)).find(wire(name));
  return match === null ? null : `${match.entry} ${match.match}`;
}

t.test("the kinds of patterns", async (t) => {
  const cases: readonly [string, string, string | null][] = [
    ["example.com", "example.com", "exact"],
    ["example.com", "EXAMPLE.com", "exact"],
    ["example.com", "a.example.com", null],
    ["example.com", "com", null],
    ["*.example.com", "example.com", null],
    ["*.example.com", "a.example.com", "suffix"],
    ["*.example.com", "c.b.a.example.com", "suffix"],
    ["*.example.com", "aexample.com", null],
    [".example.com", "example.com", "suffix"],
    [".example.com", "b.a.example.com", "suffix"],
    [".example.com", "example.com.evil.example", null],
    ["Example.COM", "example.com", "exact"],
    ["*.bücher.example", "a.xn--bcher-kva.example", "suffix"],
    ["*", "anything.at.all", "suffix"],
    ["*", ".", "suffix"],
    ["com", "com", "exact"],
    ["com", "example.com", null],
  ];
  for (const [entry, name, match] of cases) {
    t.equal(find([entry], name), match === null ? null : `${entry} ${match}`, `${entry} and ${name}`);
  }
});

t.test("the most specific pattern answers, in the operator's words", async (t) => {
  const list = ["*", "*.example.com", ".B.example.com", "x.b.example.com", ".x.b.example.com"];
  t.equal(find(list, "x.b.example.com"), "x.b.example.com exact");
  t.equal(find(list, "y.x.b.example.com"), ".x.b.example.com suffix");
  t.equal(find(list, "b.example.com"), ".B.example.com suffix");
  t.equal(find(list, "example.com"), "* suffix");
  t.equal(
    find(["*.example.com", ".example.com"], "a.example.com"),
    "*.example.com suffix",
    "the first written",
  );
  t.equal(
    find([".example.com", "example.com"], "example.com"),
    "example.com exact",
    "a plain name before `.name`",
  );
});

t.test("an empty matcher finds nothing", async (t) => {
  t.equal(new NameMatcher([]).find(wire("example.com")), null);
  t.equal(new NameMatcher([]).find(Uint8Array.of(0)), null);
});

t.test("what is no pattern is refused with what is allowed", async (t) => {
  const cases: readonly [string, RegExp][] = [
    ["", /empty/],
    [" a.example", /blanks/],
    ["http://a.example/", /URL/],
    ["a.example/x", /URL/],
    ["user@a.example", /URL/],
    ["a.example:53", /port/],
    ["192.0.2.1", /address/],
    ["2001:db8::1", /address/],
    ["256.0.2.1", /made of numbers/],
    ["*.1.2.3", /made of numbers/],
    ["a.*.example", /wildcard inside/],
    ["*a.example", /wildcard inside/],
    ["*.*.example", /wildcard inside/],
    ["*.", /no domain name/],
    [".", /no domain name/],
    ["..example", /no domain name/],
    ["a..example", /no domain name/],
    ["a b.example", /character/],
    ["a\\.b.example", /character/],
    ["a,b", /character/],
    [`${"a".repeat(64)}.example`, /no domain name/],
  ];
  for (const [entry, why] of cases) t.match(parseNamePattern(entry), why, entry);
  for (const entry of ["_dmarc.example", "a-.example", "xn--p1ai", "1.example", "example.com."]) {
    t.type(parseNamePattern(entry), "object", entry);
  }
});

// -- the slow twin: text, split at the dots

function covers(entry: string, name: string): boolean {
  if (entry === "*") return true;
  if (entry.startsWith("*.")) return name.endsWith(entry.slice(1));
  if (entry.startsWith(".")) return name === entry.slice(1) || name.endsWith(entry);
  return name === entry;
}
/** Longest base first, then a plain name, then order of writing. */
function slowFind(list: readonly string[], name: string): string | null {
  const base = (entry: string): string => (entry === "*" ? "" : entry.replace(/^\*?\./, ""));
  const found = list.filter((entry) => covers(entry, name));
  const rank = (entry: string): number => base(entry).length * 2 + (entry === name ? 1 : 0);
  return found.sort((a, b) => rank(b) - rank(a))[0] ?? null;
}
// Few labels, so that names and patterns meet.
const label = fc.constantFrom("a", "b", "ab", "x-1", "com");
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join("."));
const entry = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.tuple(fc.constantFrom("", "*.", "."), name).map(([prefix, base]) => prefix + base),
  },
  { weight: 1, arbitrary: fc.constant("*") },
);

t.test("the matcher agrees with its slow twin", async () => {
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 12 }),
      fc.array(name, { minLength: 1, maxLength: 8 }),
      (list, names) => {
        const matcher = new NameMatcher(list.map(pattern));
        return names.every((text) => {
          const bytes = Uint8Array.from([9, 9, ...wire(text), 5]);
          return (matcher.find(bytes, 2)?.entry ?? null) === slowFind(list, text);
        });
      },
    ),
    { numRuns: 2000 },
  );
});

t.test("8-bit labels, and names at the limits, are walked", async () => {
  const labels = fc.array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 127 });
  const matcher = new NameMatcher([pattern(".example"), pattern("*.a.b")]);
  fc.assert(
    fc.property(labels, (parts) => {
      const bytes = Uint8Array.from([
        ...parts.flatMap((part) => [part.length, ...part]),
        7,
        ...Buffer.from("example"),
        0,
      ]);
      return matcher.find(bytes)?.entry === ".example";
    }),
  );
});

t.test("two spellings of one pattern are equal", async (t) => {
  t.equal(canonicalPattern(pattern("*.BÜCHER.example.")), "*.xn--bcher-kva.example");
  t.equal(canonicalPattern(pattern(".A.b")), ".a.b");
  t.equal(canonicalPattern(pattern("*")), "*");
  t.equal(wireToName(pattern("*.a.b").wire), "a.b");
});
