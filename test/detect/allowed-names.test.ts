import fc from "fast-check";
import t from "tap";
import { AllowedNames } from "../../src/detect/allowed-names.ts";
import { nameToWire } from "../../src/name.ts";

const label = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 2 });
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));

t.test("covers what ends in an allowed name at a label, as plain text says", async () => {
  fc.assert(
    fc.property(fc.array(name, { maxLength: 4 }), name, fc.nat(5), (allowed, asked, offset) => {
      const bytes = Uint8Array.from([...new Uint8Array(offset).fill(1), ...nameToWire(asked)!]);
      const expected = allowed.some((one) => `.${asked}`.endsWith(`.${one}`));
      return new AllowedNames(allowed).cover(bytes, offset) === expected;
    }),
    { numRuns: 2000 },
  );
});

t.test("upper case, names that are none, bytes that are no whole name", async (t) => {
  const names = new AllowedNames(["Example.ORG", "a..b", "x".repeat(64)]);
  t.equal(names.wires.length, 1);
  t.ok(names.cover(nameToWire("www.example.org")!, 0));
  t.notOk(names.cover(Uint8Array.of(7, 101), 0));
  t.notOk(names.cover(new Uint8Array(), 0));
});
