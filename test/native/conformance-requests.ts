/** What every Native must do when asked once: ipsets, connection tracking, links. */
import type { Test } from "tap";
import { formatAddress, parseAddress } from "../../src/address.ts";
import { FLOW, FLOW_STATE, LISTENER } from "../../src/native/types.ts";
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

  for (const family of FAMILIES) {
    t.test(`the state of IPv${family} flows is looked up`, async (t) => {
      const { native } = world;
      const { first, second } = ADDRESSES[family];
      const rows = new Uint8Array(100 * FLOW.STRIDE);
      const view = new DataView(rows.buffer);
      const source = parseAddress(first) ?? new Uint8Array();
      const destination = parseAddress(second) ?? new Uint8Array();
      for (let row = 0; row < rows.length; row += FLOW.STRIDE) {
        rows.set([family, 17, 77], row);
        view.setUint16(row + FLOW.SOURCE_PORT, world.flowSource(family));
        view.setUint16(row + FLOW.PORT, FLOW_PORT + row / FLOW.STRIDE);
        rows.set(source, row + FLOW.SOURCE);
        rows.set(destination, row + FLOW.DESTINATION);
      }
      const states = (): number[] => {
        native.conntrackStates(rows, 100);
        return Array.from({ length: 100 }, (_, index) => rows[index * FLOW.STRIDE + FLOW.STATE]!);
      };
      const others = Array.from({ length: 99 }, () => FLOW_STATE.GONE);
      await world.makeFlow(family, 0);
      t.strictSame(states(), [FLOW_STATE.UNANSWERED, ...others]);
      await world.answerFlow(family);
      t.strictSame(states(), [FLOW_STATE.ANSWERED, ...others]);
      const led = rows.subarray(FLOW.TRANSLATED, FLOW.TRANSLATED + destination.length);
      t.strictSame([...led], [...destination], "nothing translates it");
      t.equal(view.getUint16(FLOW.TRANSLATED_PORT), FLOW_PORT);
      native.conntrackDelete(first);
      t.strictSame(states(), [FLOW_STATE.GONE, ...others]);
      rows[FLOW.STATE] = 77;
      native.conntrackStates(rows, 0);
      t.equal(rows[FLOW.STATE], 77);
      t.throws(() => native.conntrackStates(rows, 101), { name: "RangeError" });
      rows[FLOW.FAMILY] = 5;
      t.throws(() => native.conntrackStates(rows, 1), { name: "RangeError" });
    });
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

  t.test("a link is taken down and brought up", async (t) => {
    const { native } = world;
    const index = world.spareLink();
    const isUp = (): boolean | undefined => native.links().find((link) => link.index === index)?.up;
    native.setLink(index, true);
    t.equal(isUp(), true);
    for (const wanted of [false, false, true]) {
      native.setLink(index, wanted);
      t.equal(isUp(), wanted);
    }
    t.throws(() => native.setLink(999_999, false), { code: "TM_NATIVE_SYSCALL", message: /ENODEV/ });
    t.throws(() => native.setLink(0, false), { name: "RangeError" });
  });

  for (const family of FAMILIES) {
    t.test(`IPv${family} sockets that wait for others are listed, connected ones are not`, async (t) => {
      const { native, namespace } = world;
      const rows = (): string[] => {
        const list = native.listeners(namespace);
        const found: string[] = [];
        for (let row = 0; row < list.length; row += LISTENER.STRIDE) {
          const start = list.byteOffset + (row + LISTENER.ADDRESS) * 4;
          const address = formatAddress(new Uint8Array(list.buffer, start, family === 4 ? 4 : 16));
          if (list[row + LISTENER.FAMILY] !== family || address !== ADDRESSES[family].first) continue;
          t.ok(list[row + LISTENER.INODE]! > 0);
          t.equal(list[row + LISTENER.UID], process.getuid?.());
          found.push(`${list[row + LISTENER.PROTOCOL]}:${list[row + LISTENER.PORT]}`);
        }
        return found;
      };
      const before = rows();
      const tcp = await world.listen(family, "tcp");
      const udp = await world.listen(family, "udp");
      const connected = await world.listen(family, "connected");
      const news = rows().filter((row) => !before.includes(row));
      t.strictSame(news.sort(), [`17:${udp.port}`, `6:${tcp.port}`]);
      t.strictSame(native.listeners(namespace), native.listeners(namespace), "in the same order");
      for (const socket of [tcp, udp, connected]) socket.close();
      await until("they are gone", () => rows().every((row) => before.includes(row)));
      t.throws(() => native.listeners(""), { name: "RangeError" });
    });
  }

  t.test("a descriptor that has something to read is told of", async (t) => {
    const { native } = world;
    const file = world.readable();
    let told = 0;
    const unsubscribe = native.watchReadable(file.descriptor, () => {
      told++;
      unsubscribe();
    });
    file.write();
    await until("the watcher was told", () => told > 0);
    unsubscribe();
    file.write();
    t.equal(told, 1);
    file.close();
    t.throws(() => native.watchReadable(-1, () => undefined), { name: "RangeError" });
  });

  t.test("a network namespace that is not there is said so", async (t) => {
    const gone = { code: "TM_NATIVE_SYSCALL", message: /`\/run\/netns\/tm-none`/, cause: { code: "ENOENT" } };
    t.throws(() => world.native.links("/run/netns/tm-none"), gone);
    t.throws(() => world.native.resetConnections("/run/netns/tm-none"), gone);
    t.throws(() => world.native.listeners("/run/netns/tm-none"), gone);
  });
}
