import fc from "fast-check";
import t from "tap";
import { Bloom, hashBytes, RecentSet } from "../../src/detect/sketch.ts";

const hash = (number: number, seed = 0): number =>
  hashBytes(Buffer.from(`name${number}`), 0, 4 + `${number}`.length, seed);

t.test("what was added is found", async () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { maxLength: 500 }), (hashes) => {
      const bloom = new Bloom(1024);
      for (const each of hashes) bloom.add(each);
      return hashes.every((each) => bloom.has(each) && !bloom.add(each));
    }),
  );
});

t.test("what was not added is seldom found", async (t) => {
  const bloom = new Bloom(8192);
  for (let index = 0; index < 600; index++) bloom.add(hash(index));
  const wrong = Array.from({ length: 10_000 }, (_, index) => bloom.has(hash(1000 + index))).filter(
    Boolean,
  ).length;
  t.ok(wrong < 200, `${wrong} of 10,000`);
  bloom.clear();
  t.notOk(bloom.has(hash(1)));
  t.equal(bloom.bytes, 1024);
});

t.test("a seed makes other hashes", async (t) => {
  t.not(hash(1, 1), hash(1, 2));
});

t.test("the recent are remembered, the old forgotten, in a fixed size", async (t) => {
  const set = new RecentSet(256);
  let forgotten = 0;
  for (let index = 0; index < 10_000; index++) {
    set.add(hash(index));
    // Each of the two may be one of the hashes that count.
    if (set.add(hash(Math.max(0, index - 120)))) forgotten++;
  }
  t.equal(forgotten, 0, "of the last `capacity` nothing is");
  const fresh = Array.from({ length: 100 }, (_, index) => set.add(hash(index))).filter(Boolean).length;
  t.ok(fresh > 95, `${fresh}`);
  t.equal(set.bytes, 4 * 256);
});
