/** Run by native.test.ts inside a network namespace. */
import t from "tap";
import { conformance } from "./conformance.ts";
import { KernelWorld } from "./kernel-world.ts";

const world = await KernelWorld.make();
t.teardown(() => world.close());
conformance(t, world);
