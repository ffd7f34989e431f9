/** The end of the rule set in closed mode, on real tables. */
import t from "tap";
import { GOOD, namespaceRefusal } from "./network.ts";
import { FILE_LIMIT, PacketWorld } from "./world.ts";

t.setTimeout(FILE_LIMIT);
const refusal = namespaceRefusal();
const skip = refusal === null ? {} : { skip: refusal };

t.test("closed mode stays until it is uninstalled", skip, async (t) => {
  const world = new PacketWorld("stays", "closed");
  t.teardown(() => world.remove());
  await world.serve();
  const c1 = world.container(2);
  const save = (): string =>
    `${world.network.exec("iptables-save")}${world.network.exec("ip6tables-save")}${world.network.exec("ipset", "list", "-n")}`;
  const before = save();
  await world.start();
  await world.introduce(2);
  await world.host.call("remove", {});
  await world.host.call("closeHandler");
  t.match(save(), /TM-PRE/);
  t.equal(await c1.call("connect", GOOD, 80, 400), "silent");
  await world.host.call("remove", { uninstall: true });
  t.equal(save(), before);
  t.match(await c1.call("connect", GOOD, 80, 5000), /^open/);
});
