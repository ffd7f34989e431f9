import fc from "fast-check";
import t from "tap";
import { looksRotating, mayCover, mayLearn, placeOf } from "../../src/model/generalise.ts";
import { LearnedNames } from "../../src/model/names.ts";

t.test("no wildcard at or above a public suffix, or at the top of an internal zone", async (t) => {
  for (const parent of [
    "com",
    "co.uk",
    "github.io",
    "s3.amazonaws.com",
    "amazonaws.com",
    "ck",
    "local",
    "svc",
  ])
    t.equal(mayCover(parent), false, parent);
  for (const parent of ["example.com", "cdn.example.co.uk", "me.github.io", "default.svc.cluster.local"])
    t.equal(mayCover(parent), true, parent);
});

t.test("suffixes and names that carry data are never learned", async (t) => {
  for (const name of ["com", "github.io", "", `${"a".repeat(60)}.example.com`])
    t.equal(mayLearn(name), false, name);
  for (const name of ["db", "www.example.com", "db.shop.svc.cluster.local"])
    t.equal(mayLearn(name), true, name);
});

t.test("labels that something counts or draws", async (t) => {
  for (const label of ["shard-17", "a3f9c2d47b", "node12", "xkcdqwrtzpsdf"])
    t.equal(looksRotating(label), true, label);
  for (const label of ["www", "api", "metrics", "authentication"])
    t.equal(looksRotating(label), false, label);
});

t.test("whatever is learned, no entry covers a suffix, and every name taken is covered", async () => {
  const label = fc.constantFrom("a", "b", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "x");
  const base = fc.constantFrom(
    "example.com",
    "s3.amazonaws.com",
    "github.io",
    "cluster.local",
    "co.uk",
    "com",
  );
  const name = fc
    .tuple(fc.array(label, { minLength: 1, maxLength: 3 }), base)
    .map(([labels, end]) => [...labels, end].join("."));
  fc.assert(
    fc.property(fc.array(name, { maxLength: 120 }), (names) => {
      const learned = new LearnedNames([], []);
      for (const one of names) {
        const outcome = learned.observe(one, {
          kind: "name",
          model: "m",
          container: "c",
          name: one,
          time: 1,
        });
        if (outcome === "new" && learned.covering(one) === null) return false;
      }
      return [...learned.values()].every(
        (entry) => !entry.name.startsWith("*.") || placeOf(entry.name.slice(2)).domain !== null,
      );
    }),
  );
});
