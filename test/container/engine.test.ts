/** The registry and the blocker on a real dockerd. */
import { fileURLToPath } from "node:url";
import t from "tap";
import { startEngine, unable } from "./engine-world.ts";

t.setTimeout(110_000);
await t.test("on a real engine", { skip: unable() }, async (t) => {
  const engine = await startEngine(t);
  const script = fileURLToPath(new URL("./inside-engine.ts", import.meta.url));
  // Above the 30 seconds that a test has by itself, for machines that are busy.
  const env = { ...process.env, TAP: "1", TAP_TIMEOUT: "100", TIDESMAN_TEST_ENGINE: JSON.stringify(engine) };
  const enter = [`--net=/run/netns/${engine.namespace}`, process.execPath, ...process.execArgv, script];
  await t.spawn("nsenter", enter, { env }, "inside its network namespace");
});
