import fc from "fast-check";
import t from "tap";
import { compareEntries, newlyHit } from "../../src/feed/changes.ts";
import { parseAddresses } from "../../src/feed/parse.ts";

function list(...entries: string[]): Uint8Array {
  return Buffer.from(entries.map((entry) => `${entry}\n`).join(""));
}

t.test("what came and went", async (t) => {
  t.strictSame(
    compareEntries(list("a.test", ".b.test", "c.test"), list("c.test", "b.test", "a.test"), "domain"),
    {
      added: 1,
      removed: 1,
      addedSamples: ["b.test"],
      removedSamples: [".b.test"],
    },
  );
  t.strictSame(compareEntries(list(), list("a.test", "a.test"), "url").added, 1, "equal entries count once");
  t.strictSame(compareEntries(list(), list(), "domain"), {
    added: 0,
    removed: 0,
    addedSamples: [],
    removedSamples: [],
  });
  const rows = (...text: string[]): Uint8Array => parseAddresses(Buffer.from(text.join("\n"))).entries;
  t.strictSame(
    compareEntries(
      rows("65.10.46.1", "203.0.113.0/24", "2001:db8::/32"),
      rows("97.10.46.1", "203.0.113.0/25", "2001:db8::/32", "2001:db8::4141"),
      "address",
    ),
    {
      added: 3,
      removed: 2,
      addedSamples: ["97.10.46.1", "203.0.113.0/25", "2001:db8::4141"],
      removedSamples: ["65.10.46.1", "203.0.113.0/24"],
    },
  );
});

t.test("samples are the first ten in the order of the list, whatever the seed", async (t) => {
  const after = Array.from({ length: 300 }, (_, index) => `n${index}.test`);
  for (const seed of [new Uint8Array(8), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]) {
    const { added, addedSamples } = compareEntries(list("n1.test"), list(...after), "domain", seed);
    t.equal(added, 299);
    t.strictSame(addedSamples, ["n0.test", ...after.slice(2, 11)]);
  }
});

t.test("lists are compared as sets are", async () => {
  const entries = fc.array(
    fc.integer({ min: 0, max: 60 }).map((value) => `${value % 2 ? "." : ""}n${value}.test`),
  );
  fc.assert(
    fc.property(entries, entries, fc.uint8Array({ minLength: 8, maxLength: 8 }), (before, after, seed) => {
      const { added, removed } = compareEntries(list(...before), list(...after), "domain", seed);
      return (
        added === new Set(after).difference(new Set(before)).size &&
        removed === new Set(before).difference(new Set(after)).size
      );
    }),
  );
});

for (const [name, before, after, entry] of [
  ["a.test", [], ["a.test"], "a.test"],
  ["a.test", [], [".a.test"], ".a.test"],
  ["www.a.test", [], [".a.test"], ".a.test"],
  ["www.a.test", [], ["a.test"], null],
  ["a.test", [], ["www.a.test", ".www.a.test"], null],
  ["www.a.test", [".a.test"], ["www.a.test"], null],
  ["www.a.test", ["www.a.test"], [".a.test"], null],
  ["www.a.test", ["a.test"], [".a.test"], ".a.test"],
  ["WWW.A.test", [], ["www.a.test"], "www.a.test"],
  ["x\\.a.test", [], [".a.test"], null],
  ["*.a.test", [], ["x.a.test"], "x.a.test"],
  ["*.a.test", [], [".y.x.a.test"], ".y.x.a.test"],
  ["*.a.test", [], ["a.test"], "a.test"],
  ["*.b.a.test", [], [".a.test"], ".a.test"],
  ["*.b.a.test", [], ["a.test", "x.a.test"], null],
  ["*.a.test", ["x.a.test"], ["x.a.test"], null],
  ["*.a.test", ["x.a.test"], ["x.a.test", "y.a.test"], "y.a.test"],
  ["*.a.test", [".x.a.test"], ["z.x.a.test"], null],
  ["*.a.test", [".a.test"], ["x.a.test"], null],
  ["*.a.test", ["x.a.test"], [".a.test"], ".a.test"],
  ["*.test", [], ["x.a.test"], "x.a.test"],
] as const) {
  const title = `${name} with [${before.join(" ")}], then [${after.join(" ")}]: ${entry ?? "not newly hit"}`;
  t.test(title, async (t) => {
    const learned = [{ model: "web", name }];
    t.strictSame(
      newlyHit(learned, list(...before), list("other.example", ...after), 10),
      entry === null ? [] : [{ model: "web", name, entry }],
    );
  });
}

t.test("hits come in the order of the models, up to the limit", async (t) => {
  const learned = ["c", "a", "b"].map((model) => ({ model, name: `${model}.a.test` }));
  t.strictSame(
    newlyHit(learned, list(), list(".a.test"), 2).map(({ model }) => model),
    ["c", "a"],
  );
});

t.test("exact names are hit as an obvious twin says", async () => {
  const name = fc
    .array(fc.constantFrom("a", "b"), { minLength: 2, maxLength: 4 })
    .map((labels) => labels.join("."));
  const entries = fc.array(fc.tuple(fc.constantFrom("", "."), name).map((parts) => parts.join("")));
  const hits = (all: readonly string[], one: string): boolean =>
    all.some((entry) => (entry.startsWith(".") ? `.${one}`.endsWith(entry) : one === entry));
  fc.assert(
    fc.property(fc.array(name), entries, entries, (learned, before, after) => {
      const expected = learned.filter((one) => hits(after, one) && !hits(before, one));
      const found = newlyHit(
        learned.map((one) => ({ model: "m", name: one })),
        list(...before),
        list(...after),
        100,
      );
      return (
        found.map((hit) => hit.name).join() === expected.join() &&
        found.every((hit) => after.includes(hit.entry) && hits([hit.entry], hit.name))
      );
    }),
  );
});
