import fc from "fast-check";
import t from "tap";
import type { ModelSnapshot } from "../../src/model/model.ts";
import { openModel } from "../../src/model/view.ts";
import { nameToWire } from "../../src/name.ts";

function snapshot(names: string[], more: Partial<ModelSnapshot> = {}): ModelSnapshot {
  return {
    key: "sha256:aa",
    state: "active",
    learning: false,
    names,
    outboundPorts: [],
    listeningPorts: [],
    ...more,
  };
}

function wire(name: string): Uint8Array {
  const bytes = nameToWire(name);
  if (bytes === null) throw new Error(`no name: ${name}`);
  return bytes;
}

/** The name in the middle of other bytes, and where it is. */
function inPacket(name: string): [Uint8Array, number] {
  const bytes = new Uint8Array(300).fill(0xc0);
  bytes.set(wire(name), 12);
  return [bytes, 12];
}

t.test("exact entries and parents", async (t) => {
  const view = openModel(
    snapshot(["a.example", "*.below.example", "*.deep.below.example", "x.below.example"]),
  );
  const covering = (name: string): string | null => view.name(...inPacket(name));
  t.equal(covering("a.example"), "a.example");
  t.equal(covering("b.a.example"), null);
  t.equal(covering("example"), null);
  t.equal(covering("."), null);
  t.equal(covering("below.example"), null, "`*.parent` is what is below the parent");
  t.equal(covering("y.below.example"), "*.below.example");
  t.equal(covering("x.below.example"), "x.below.example", "the exact entry first");
  t.equal(covering("y.deep.below.example"), "*.deep.below.example", "then the longest parent");
  t.equal(covering("deep.below.example"), "*.below.example");
});

t.test("ports, by protocol", async (t) => {
  const view = openModel(snapshot([], { outboundPorts: [{ protocol: 6, port: 443 }] }));
  t.equal(view.outboundPort(6, 443), true);
  t.equal(view.outboundPort(17, 443), false);
  t.equal(view.outboundPort(6, 444), false);
});

t.test("bytes that are no name are covered by nothing", async (t) => {
  const view = openModel(snapshot(["a.example"]));
  for (const bytes of [[], [1], [64, 0], [0xc0, 12], new Array<number>(400).fill(1)]) {
    t.equal(view.name(Uint8Array.from(bytes), 0), null);
  }
  t.equal(view.name(wire("a.example"), 100), null);
});

t.test("names of 8-bit labels or with an asterisk", async (t) => {
  const view = openModel(snapshot(["\\255\\000\\046.example", "\\042.com"]));
  for (const name of ["\\255\\000\\046.example", "*.com"]) t.not(view.name(...inPacket(name)), null, name);
  t.equal(view.name(...inPacket("evil.com")), null, "an asterisk that was looked up is no pattern");
});

t.test("a deleted entry is gone", async (t) => {
  const view = openModel(snapshot(["old.example", "new.example"], { state: "learning", learning: true }));
  view.replace(snapshot(["new.example"]));
  t.match(view, { state: "active", learning: false });
  t.equal(view.name(wire("old.example"), 0), null);
  t.equal(view.name(wire("new.example"), 0), "new.example");
});

t.test("against a list of patterns, over any sequence of snapshots", async () => {
  const label = fc.constantFrom("a", "b", "cc");
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join("."));
  const entry = fc.oneof(
    name,
    name.map((parent) => `*.${parent}`),
  );
  const entries = fc.uniqueArray(entry, { maxLength: 60 });
  fc.assert(
    fc.property(
      fc.array(entries, { minLength: 1, maxLength: 4 }),
      fc.array(name, { maxLength: 40 }),
      (lists, asked) => {
        const view = openModel(snapshot([]));
        for (const list of lists) {
          view.replace(snapshot(list));
          for (const question of asked) {
            const parents = list
              .filter((known) => known.startsWith("*.") && question.endsWith(known.slice(1)))
              .sort((a, b) => b.length - a.length);
            const expected = list.includes(question) ? question : (parents[0] ?? null);
            const found = view.name(...inPacket(question));
            if (found !== expected)
              throw new Error(`${question}: ${found} instead of ${expected} by ${list}`);
          }
        }
      },
    ),
  );
});
