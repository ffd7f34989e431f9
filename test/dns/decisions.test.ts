import fc from "fast-check";
import t from "tap";
import { Decisions, Situation } from "../../src/dns/decisions.ts";

function situation(values: readonly number[]): Situation {
  const made = new Situation();
  const [
    entry = 0,
    entryGeneration = 0,
    residentSlot = 0,
    residentGeneration = 0,
    revision = 0,
    profile = 0,
    bindingEpoch = 0,
  ] = values;
  return Object.assign(made, {
    entry,
    entryGeneration,
    residentSlot,
    residentGeneration,
    revision,
    profile,
    bindingEpoch,
  });
}

t.test("says clean only of what was said to be clean, in all of its parts, and in time", async () => {
  const values = fc.tuple(...Array.from({ length: 7 }, () => fc.nat(2)));
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ values, until: fc.integer({ min: 1, max: 20 }), now: fc.nat(20), set: fc.boolean() }),
        { maxLength: 60 },
      ),
      (steps) => {
        const decisions = new Decisions();
        const said = new Map<string, number>();
        for (const { values, until, now, set } of steps) {
          const asked = situation(values);
          if (set) {
            decisions.setClean(asked, until);
            // The epoch is replaced, the rest is what a cell is known by.
            for (let epoch = 0; epoch <= 2; epoch++) said.delete([...values.slice(0, 6), epoch].join());
            said.set(values.join(), until);
          } else if (decisions.isClean(asked, now) && (said.get(values.join()) ?? 0) <= now) return false;
        }
        return true;
      },
    ),
    { numRuns: 60 },
  );
});

t.test("finds what it was told, until its time is over, and knows it after", async (t) => {
  const decisions = new Decisions();
  for (let generation = 1; generation <= 1000; generation++)
    decisions.setClean(situation([generation, generation, 1, 1, 1, 0, 0]), 100);
  let found = 0;
  for (let generation = 1; generation <= 1000; generation++) {
    if (decisions.isClean(situation([generation, generation, 1, 1, 1, 0, 0]), 99)) found++;
  }
  t.equal(found, 1000, "a thousand do not crowd each other out");
  const one = situation([5, 5, 1, 1, 1, 0, 0]);
  t.notOk(decisions.isClean(one, 100));
  t.ok(decisions.isKnown(one));
  t.notOk(decisions.isClean(situation([5, 5, 1, 1, 1, 0, 1]), 99), "a binding was evicted");
  t.ok(decisions.isKnown(situation([5, 5, 1, 1, 1, 0, 1])));
  t.notOk(decisions.isKnown(situation([5, 5, 1, 2, 1, 0, 0])), "another life of the container");
});
