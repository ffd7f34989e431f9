/** The registry and the blocker on a real dockerd. */
import { fileURLToPath } from "node:url";
import t from "tap";
import { startEngine, unable } from "./engine-world.ts";

// Half a minute on a machine that is idle; every wait inside has a deadline of its own.
t.setTimeout(280_000);
await t.test("on a real engine", { skip: unable() }, async (t) => {
  const engine = await startEngine(t);
  const script = fileURLToPath(new URL("./inside-engine.ts", import.meta.url));
  const env = { ...process.env, TAP: "1", TAP_TIMEOUT: "270", TIDESMAN_TEST_ENGINE: JSON.stringify(engine) };
  const enter = [`--net=/run/netns/${engine.namespace}`, process.execPath, ...process.execArgv, script];
  await t.spawn("nsenter", enter, { env }, "inside its network namespace");
});
