/** The rate guard on real netfilter. */
import t from "tap";
import { GOOD, GOOD6, namespaceRefusal } from "./network.ts";
import { FILE_LIMIT, PacketWorld, SOON } from "./world.ts";

t.setTimeout(FILE_LIMIT);
const refusal = namespaceRefusal();
const skip = refusal === null ? {} : { skip: refusal };

t.test("one container's flood does not disturb another, and is counted", skip, async (t) => {
  const world = new PacketWorld("flood", "open", { connectionRate: 20, connectionBurst: 40 });
  t.teardown(() => world.remove());
  await world.serve();
  const [c1, c2, c3] = [world.container(2), world.container(3), world.container(4)];
  await world.start(20);
  await world.introduce(2, 3);
  const before = (await world.state()).stats.packets;
  const flood = c1.call("flood", GOOD, 80, 3000);
  for (let round = 0; round < 5; round++) t.match(await c2.call("connect", GOOD, 80, SOON), /^open/);
  await flood;
  const queued = (await world.state()).stats.packets - before - 5;
  const floods = await world.host.call<{ address: string | null; packets: number }[]>("readFloods");
  t.match(floods, [{ address: "172.30.0.2" }]);
  t.ok(queued < 3000, `${queued} were queued`);
  t.equal(queued + floods[0]!.packets, 3000, "every datagram was either decided or counted as dropped");
  t.same(await world.host.call("readFloods"), [], "counted once");

  // Lookups have a budget of their own, which 3000 other connections have not touched.
  await c1.call("flood", GOOD, 53, 500);
  const lookups = await world.host.call<{ address: string | null; packets: number }[]>("readFloods");
  t.equal((await world.state()).stats.lookups + lookups[0]!.packets, 500);
  t.ok((await world.state()).stats.lookups >= 40);

  await c3.call("flood", GOOD6, 80, 500);
  const strays = await world.host.call<{ address: string | null; packets: number }[]>("readFloods");
  t.match(strays, [{ address: null }], "sources that nobody knows share one budget");
  t.ok(strays[0]!.packets > 0);
  t.match(await c2.call("connect", GOOD6, 80, SOON), /^open/);
});
