import fc from "fast-check";
import t from "tap";
import { PortMatcher, type PortRange, parsePortEntry } from "../../src/policy/ports.ts";

function entry(value: number | string): PortRange {
  const parsed = parsePortEntry(value);
  if (typeof parsed === "string") throw new Error(`${value} ${parsed}`);
  return parsed;
}

t.test("ports and ranges", async (t) => {
  t.same(parsePortEntry(443), { entry: "443", first: 443, last: 443 });
  t.same(parsePortEntry("443"), { entry: "443", first: 443, last: 443 });
  t.same(parsePortEntry("8000-8100"), { entry: "8000-8100", first: 8000, last: 8100 });
  t.same(parsePortEntry("1 - 65535"), { entry: "1 - 65535", first: 1, last: 65535 });
});

t.test("what is none is refused with what is allowed", async (t) => {
  const cases: readonly [number | string, RegExp][] = [
    [0, /out of range/],
    [65536, /out of range/],
    ["0-5", /out of range/],
    ["9-1", /reversed; write it as "1-9"/],
    [-1, /no port/],
    [1.5, /no port/],
    ["", /no port/],
    ["http", /no port/],
    ["1-", /no port/],
    ["1-2-3", /no port/],
    [Number.NaN, /no port/],
  ];
  for (const [value, why] of cases) t.match(parsePortEntry(value), why, String(value));
});

t.test("the narrowest entry answers", async (t) => {
  const matcher = new PortMatcher([entry("1-65535"), entry("8000-8100"), entry(8080)]);
  t.equal(matcher.find(1)?.entry, "1-65535");
  t.equal(matcher.find(65535)?.entry, "1-65535");
  t.equal(matcher.find(8000)?.entry, "8000-8100");
  t.equal(matcher.find(8080)?.entry, "8080");
  t.equal(matcher.find(8101)?.entry, "1-65535");
  t.equal(matcher.find(0), null, "port 0 is never in a list");
  t.equal(new PortMatcher([]).find(80), null);
});

t.test("the matcher agrees with its slow twin", async () => {
  const port = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 65520, max: 65535 }));
  const range = fc.tuple(port, port).map(([a, b]) => (a === b ? a : `${Math.min(a, b)}-${Math.max(a, b)}`));
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 8 }),
      fc.array(port, { minLength: 1, maxLength: 10 }),
      (list, ports) => {
        const entries = list.map(entry);
        const matcher = new PortMatcher(entries);
        return ports.every((value) => {
          const slow = entries
            .filter(({ first, last }) => first <= value && value <= last)
            .sort((a, b) => a.last - a.first - (b.last - b.first))[0];
          return (matcher.find(value)?.entry ?? null) === (slow?.entry ?? null);
        });
      },
    ),
    { numRuns: 300 },
  );
});
