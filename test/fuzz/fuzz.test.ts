/** A short run of every fuzz target; `npm run fuzz` is the long one. */
import t from "tap";
import { fuzz } from "./mutate.ts";
import { TARGETS } from "./targets.ts";

/** Inputs per target; YAML is read a thousand times slower than a packet. */
const inputsOf = (name: string): number => (name === "policy.yaml" ? 500 : 5_000);

for (const target of TARGETS) {
  t.test(`${target.name} survives`, async (t) => {
    t.doesNotThrow(() => fuzz(target, inputsOf(target.name), 1));
  });
}
