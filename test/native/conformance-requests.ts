/** What every Native must do when asked once: ipsets, connection tracking, links. */
import type { Test } from "tap";
import { ADDRESSES, FAMILIES, FLOW_PORT, until, type World } from "./world.ts";

export function requestConformance(t: Test, world: World): void {
  t.test("entries of ipsets are added, renewed and deleted", async (t) => {
    const { native } = world;
    world.createIpset("tm-ip4", { family: 4, type: "hash:ip" });
    world.createIpset("tm-net6", { family: 6, type: "hash:net", timeout: 0 });
    native.ipsetAdd("tm-ip4", "198.51.100.7");
    native.ipsetAdd("tm-ip4", "198.51.100.7");
    native.ipsetAdd("tm-ip4", "198.51.100.8");
    native.ipsetDelete("tm-ip4", "198.51.100.8");
    native.ipsetDelete("tm-ip4", "198.51.100.9");
    t.strictSame(world.ipsetEntries("tm-ip4"), ["198.51.100.7"]);
    native.ipsetAdd("tm-net6", "2001:db8::1/32");
    native.ipsetAdd("tm-net6", "2001:db8::1", 600);
    t.strictSame(world.ipsetEntries("tm-net6"), ["2001:db8::/32", "2001:db8::1"]);
    native.ipsetDelete("tm-net6", "2001:db8::/32");
    t.strictSame(world.ipsetEntries("tm-net6"), ["2001:db8::1"]);
  });

  t.test("what an ipset cannot take is refused by name", async (t) => {
    const { native } = world;
    const code = "TM_NATIVE_IPSET";
    t.throws(() => native.ipsetAdd("tm-none", "198.51.100.7"), { code, message: /`tm-none`.*ENOENT/ });
    t.throws(() => native.ipsetAdd("tm-ip4", "2001:db8::1"), { code, message: /IPSET_ERR_PROTOCOL/ });
    t.throws(() => native.ipsetAdd("tm-ip4", "198.51.100.7", 5), { code, message: /IPSET_ERR_TIMEOUT/ });
    t.throws(() => native.ipsetAdd("tm-net6", "::/0"), { code, message: /IPSET_ERR_INVALID_CIDR/ });
    t.throws(() => native.ipsetAdd("tm-net6", "example.com"), { code, message: /`example.com`.*EINVAL/ });
    t.throws(() => native.ipsetDelete("tm-none", "198.51.100.7"), { code, message: /ENOENT/ });
    t.throws(() => native.ipsetAdd("tm-net6", "2001:db8::1", -1), { name: "RangeError" });
  });

  for (const family of FAMILIES) {
    t.test(
      `IPv${family} connection tracking entries are marked in the mask alone, and deleted`,
      async (t) => {
        const { native } = world;
        const { first, second } = ADDRESSES[family];
        await world.makeFlow(family, 0xff0001);
        t.equal(native.conntrackMark(first, 0xffffffff, 0x30000), 1);
        t.equal(world.flowMark(family), 0xff0001);
        t.equal(native.conntrackMark(first, 0x20000, 0x30000), 1);
        t.equal(world.flowMark(family), 0xfe0001);
        t.equal(native.conntrackMark(second, 0, 0xffffffff), 0, "by source alone");
        t.equal(native.conntrackDelete(first, FLOW_PORT + 1), 0, "to another port");
        t.equal(native.conntrackDelete(second, FLOW_PORT), 0, "a port of what others opened");
        t.equal(native.conntrackDelete(first, FLOW_PORT), 1);
        t.equal(world.flowMark(family), undefined);
        await world.makeFlow(family, 0xff0001);
        t.equal(native.conntrackDelete(first), 1);
        t.equal(world.flowMark(family), undefined);
        await world.makeFlow(family, 0xff0001);
        t.equal(native.conntrackDelete(second), 1, "by destination too");
        t.equal(native.conntrackDelete(second), 0);
        t.throws(() => native.conntrackDelete("nobody"), { name: "RangeError" });
        t.throws(() => native.conntrackMark("", 0, 0), { name: "RangeError" });
        t.throws(() => native.conntrackMark(first, 0.5, 0), { name: "RangeError" });
      },
    );
  }

  t.test("links are listed, and their watchers told of a change", async (t) => {
    const { native } = world;
    let told = 0;
    const unsubscribe = native.watchLinks(() => told++);
    world.changeLinks();
    await until("the watcher was told", () => told > 0);
    unsubscribe();
    unsubscribe();
    const lo = native.links().find((link) => link.name === "lo");
    t.match(lo, { index: 1, peer: 0, master: 0, kind: "", up: true });
    t.ok(lo?.addresses.includes(`${ADDRESSES[4].first}/32`));
    t.ok(lo?.addresses.includes(`${ADDRESSES[6].first}/128`));
  });

  t.test("a network namespace that is not there is said so", async (t) => {
    const gone = { code: "TM_NATIVE_SYSCALL", message: /`\/run\/netns\/tm-none`/, cause: { code: "ENOENT" } };
    t.throws(() => world.native.links("/run/netns/tm-none"), gone);
    t.throws(() => world.native.resetConnections("/run/netns/tm-none"), gone);
  });
}
