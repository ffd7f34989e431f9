/**
 * `npm run fuzz -- [--inputs N] [--seed N] [--target NAME]`: every parser of hostile input, a million inputs each. Repeatable:
 * the same seed gives the same inputs. Ends with status 1 at the first input that breaks an invariant.
 */
import { parseArgs } from "node:util";
import { fuzz } from "../test/fuzz/mutate.ts";
import { TARGETS } from "../test/fuzz/targets.ts";

const { values } = parseArgs({
  options: {
    inputs: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    target: { type: "string" },
  },
});
for (const target of TARGETS) {
  if (values.target !== undefined && values.target !== target.name) continue;
  const began = performance.now();
  fuzz(target, Number(values.inputs), Number(values.seed));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  process.stdout.write(`${target.name.padEnd(16)} ${values.inputs} inputs, ${seconds} s\n`);
}
