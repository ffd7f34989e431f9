/** What the end-to-end tests share: a sealed world for a whole test file, and the appliance's log when something failed. */
import type { Test } from "tap";
import { Appliance, type ApplianceOptions } from "../../scripts/world/appliance.ts";
import { raiseWorld, type World, worldRefusal } from "../../scripts/world/world.ts";

/** Milliseconds for a whole file. Generous: the machine may be shared; every wait inside has its own deadline. */
const FILE_LIMIT = 400_000;

/** Runs `body` in a world of its own, or skips the file and says why there can be none. */
export async function inLab(t: Test, body: (world: World) => Promise<void>): Promise<void> {
  t.setTimeout(FILE_LIMIT);
  const refusal = await worldRefusal();
  if (refusal !== null) {
    t.plan(0, `the lab ${refusal}`);
    return;
  }
  const world = await raiseWorld();
  t.teardown(() => world.remove());
  await body(world);
}

/** Starts the appliance for the rest of `t`; it ends with it, and its log is shown when `t` failed. */
export async function startAppliance(
  t: Test,
  world: World,
  name: string,
  options: ApplianceOptions,
): Promise<Appliance> {
  const appliance = await Appliance.start(world, name, options);
  t.teardown(async () => {
    if (!t.passing()) t.comment(`log of the appliance:\n${appliance.logText().slice(-4000)}`);
    await appliance.stop();
  });
  return appliance;
}
