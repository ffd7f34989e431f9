import fc from "fast-check";
import t from "tap";
import { parsePrefix, prefixContains } from "../../src/address.ts";
import { parsePolicy } from "../../src/policy/parse.ts";

type Entry = string | number;

/** Remarks about entries, as `field: kind`. */
function remarks(section: string, allowed: readonly Entry[], denied: readonly Entry[]): ReadonlySet<string> {
  const lists = JSON.stringify({ allowed, denied, ...(section === "dns" ? { force: true } : {}) });
  const body = section === "dns" ? `dns: ${lists}` : `network: { ${section}: ${lists} }`;
  const { notices } = parsePolicy(`version: 1\nrules:\n  - name: r\n    ${body}\n`, "p");
  const kinds = [/is (covered) by/, /is (never allowed)/, /is (denied although)/, /(overlaps)/];
  const found = notices.flatMap(({ field, message }) => {
    const kind = kinds.map((pattern) => pattern.exec(message)?.[1]).find((text) => text !== undefined);
    return kind === undefined ? [] : [`${/(allowed|denied)\[\d+\]$/.exec(field)?.[0]} ${kind}`];
  });
  return new Set(found);
}

/** What the slow twin expects, by comparing every entry with every other. */
function expected(
  allowed: readonly Entry[],
  denied: readonly Entry[],
  covers: (outer: string, inner: string) => boolean,
  crosses: (a: string, b: string) => boolean = () => false,
): ReadonlySet<string> {
  const found = new Set<string>();
  const compare = (
    list: string,
    items: readonly Entry[],
    others: readonly Entry[],
    kind: string,
    meets = covers,
  ): void => {
    items.forEach((item, index) => {
      const met = others.some(
        (other) => String(other) !== String(item) && meets(String(other), String(item)),
      );
      if (met) found.add(`${list}[${index}] ${kind}`);
    });
  };
  compare("allowed", allowed, allowed, "covered");
  compare("denied", denied, denied, "covered");
  compare("allowed", allowed, denied, "never allowed");
  compare("denied", denied, allowed, "denied although");
  compare("allowed", allowed, denied, "overlaps", crosses);
  return found;
}

function agree(section: string, entry: fc.Arbitrary<Entry>, ...[covers, crosses]: [Covers, Covers?]): void {
  const list = fc.uniqueArray(entry, { maxLength: 5, selector: String });
  fc.assert(
    fc.property(list, list, (allowed, others) => {
      // The same entry in both lists is refused, so it is left out of one.
      const denied = others.filter((other) => !allowed.map(String).includes(String(other)));
      const found = remarks(section, allowed, denied);
      t.same([...found].sort(), [...expected(allowed, denied, covers, crosses)].sort());
    }),
    { numRuns: 150 },
  );
}
type Covers = (outer: string, inner: string) => boolean;

t.test("remarks on names agree with a comparison of all with all", async () => {
  const name = fc
    .array(fc.constantFrom("a", "b", "ab"), { minLength: 1, maxLength: 3 })
    .map((labels) => `${labels.join(".")}.example`);
  const entry = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.tuple(fc.constantFrom("", "*.", "."), name).map(([prefix, base]) => prefix + base),
    },
    { weight: 1, arbitrary: fc.constant("*") },
  );
  // A pattern covers another when it covers a few names that tell all kinds apart.
  const names = (pattern: string): readonly string[] => {
    const base = pattern === "*" ? "" : pattern.replace(/^\*?\./, "");
    const below = [`q.${base}`, `r.q.${base}`];
    if (pattern === "*") return ["example", "zz"];
    return pattern.startsWith("*.") ? below : pattern.startsWith(".") ? [base, ...below] : [base];
  };
  const holds = (pattern: string, text: string): boolean => {
    if (pattern === "*") return true;
    if (pattern.startsWith("*.")) return text.endsWith(pattern.slice(1));
    if (pattern.startsWith(".")) return text.endsWith(pattern) || text === pattern.slice(1);
    return text === pattern;
  };
  agree("dns", entry, (outer, inner) => names(inner).every((text) => holds(outer, text)));
});

t.test("remarks on addresses agree with a comparison of all with all", async () => {
  const entry = fc.constantFrom(
    ...[
      "10.0.0.0/8",
      "10.1.0.0/16",
      "10.1.2.0/24",
      "10.1.2.3/32",
      "10.128.0.0/9",
      "0.0.0.0/0",
      "192.0.2.0/24",
    ],
    ...["::/0", "2001:db8::/32", "2001:db8::/48", "2001:db8::1/128", "2001:db8:1::/48"],
  );
  agree("outboundAddresses", entry, (outer, inner) => {
    const [a, b] = [parsePrefix(outer), parsePrefix(inner)];
    if (a === null || b === null || a.bytes.length !== b.bytes.length) return false;
    return a.length <= b.length && prefixContains(a, b.bytes);
  });
});

t.test("remarks on ports agree with a comparison of all with all", async () => {
  const port = fc.integer({ min: 1, max: 12 });
  const entry = fc
    .tuple(port, port)
    .map(([a, b]): Entry => (a === b ? a : `${Math.min(a, b)}-${Math.max(a, b)}`));
  const range = (text: string): readonly number[] => {
    const [first = 0, last = first] = text.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  };
  const covers: Covers = (outer, inner) => range(inner).every((value) => range(outer).includes(value));
  agree("outboundPorts", entry, covers, (a, b) => {
    return range(a).some((value) => range(b).includes(value)) && !covers(a, b) && !covers(b, a);
  });
});
