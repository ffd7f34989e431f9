/** What every Native must do. Run on the fake and, inside a network namespace, on the kernel. */
import type { Test } from "tap";
import { udpArenaConformance } from "./conformance-datagrams.ts";
import { packetQueueConformance } from "./conformance-packets.ts";
import { requestConformance } from "./conformance-requests.ts";
import type { World } from "./world.ts";

/** Adds the suite to `t`; the tests run one after the other and leave `world` as they found it. */
export function conformance(t: Test, world: World): void {
  t.test("packet queue", async (t) => packetQueueConformance(t, world));
  t.test("UDP arena", async (t) => udpArenaConformance(t, world));
  t.test("requests", async (t) => requestConformance(t, world));
}
