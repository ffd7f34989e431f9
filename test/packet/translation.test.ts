import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { createFakeNative, type FakeNative } from "../../src/native/fake.ts";
import { translationOf } from "../../src/packet/translation.ts";
import type { Finding } from "../../src/policy/types.ts";

const V4 = { source: "172.30.0.2", sourcePort: 4000, destination: "198.51.100.77", port: 443 };
const V6 = { source: "2001:db8:d0::2", sourcePort: 4000, destination: "2001:db8:5::1", port: 443 };

function led(flow: typeof V4, protocol: string, native: FakeNative): string | null {
  const connection: NonNullable<Finding["connection"]> = { ...flow, protocol, names: [] };
  return translationOf(native, connection);
}

t.test("a flow that is led elsewhere, by address or port, and one that is not", async (t) => {
  const native = createFakeNative(new ManualClock());
  native.flows.push(
    { ...V4, protocol: 6, mark: 0, translated: { address: "203.0.113.9", port: 8443 } },
    { ...V4, protocol: 17, mark: 0, translated: { address: V4.destination, port: 444 } },
    { ...V6, protocol: 6, mark: 0, answered: true, translated: { address: "2001:db8:6::1", port: 443 } },
    { ...V6, protocol: 17, mark: 0 },
  );
  t.equal(led(V4, "tcp", native), "203.0.113.9:8443");
  t.equal(led(V4, "udp", native), "198.51.100.77:444");
  t.equal(led(V6, "tcp", native), "[2001:db8:6::1]:443");
  t.equal(led(V6, "udp", native), null, "to where it was to go");
  t.equal(led({ ...V4, sourcePort: 4001 }, "tcp", native), null, "it has ended");
  t.equal(led(V4, "icmp", native), null, "it has no ports");
  native.failNext("conntrackStates", new Error("not supported"));
  t.equal(led(V4, "tcp", native), null, "not known");
});
