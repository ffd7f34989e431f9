/** Run by native.test.ts inside a network namespace. */
import t from "tap";
import { packetQueueConformance, requestConformance, udpArenaConformance } from "./conformance.ts";
import { KernelWorld } from "./kernel-world.ts";

const world = await KernelWorld.make();
t.teardown(() => world.close());
t.test("packet queue", async (t) => packetQueueConformance(t, world));
t.test("UDP arena", async (t) => udpArenaConformance(t, world));
t.test("requests", async (t) => requestConformance(t, world));
