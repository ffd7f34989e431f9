/** The rule set on real tables: installed, kept and removed, in a namespace of its own. */
import t from "tap";
import { namespaceRefusal } from "./network.ts";
import { FILE_LIMIT, PacketWorld, until } from "./world.ts";

t.setTimeout(FILE_LIMIT);
const refusal = namespaceRefusal();
const skip = refusal === null ? {} : { skip: refusal };

t.test("on real tables", skip, async (t) => {
  const world = new PacketWorld("tables", "open");
  t.teardown(() => world.remove());
  const exec = (line: string): string => {
    const [command = "", ...args] = line.split(" ");
    return world.network.exec(command, ...args);
  };
  // What others have there: in IPv4 a Docker-like nat table and a filter rule, in IPv6 nothing at all.
  exec("iptables -t nat -N DOCKER");
  exec("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
  exec("iptables -A INPUT -i lo -j ACCEPT");
  exec("ipset create foreign hash:ip");
  exec("ipset add foreign 192.0.2.1");
  const snapshot = (): string =>
    [exec("iptables-save"), exec("ip6tables-save"), exec("ipset save foreign"), exec("ipset list -n")]
      .join("\n")
      .replace(/^#.*$/gm, "")
      .replace(/\[\d+:\d+\]/g, "");
  const before = snapshot();
  await world.start();
  const installed = snapshot();

  await t.test("installs what others' rules do not notice, once", async (t) => {
    t.ok(await world.host.call("check"));
    t.equal(
      installed.match(/-A PREROUTING .*-j TM-PRE/g)?.length,
      2,
      "once per family, though two patterns cover the bridge",
    );
    t.match(installed, /-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER/);
    await world.host.call("install", []);
    t.equal(snapshot(), installed, "again changes nothing");
    await world.host.call("install", ["eth7"]);
    t.match(snapshot(), /-A PREROUTING -i eth7 -m comment --comment tidesman -j TM-DNS/);
    await world.host.call("install", []);
    t.equal(snapshot(), installed, "an interface that left takes its jumps along");
  });

  await t.test("notices and repairs, and says who", async (t) => {
    const tampered = (count: number): Promise<unknown> =>
      until(
        `${count} repairs`,
        async () => (await world.state()).tampered.length,
        (length) => length >= count,
      );
    await world.host.call("watch");
    // The monitor listens when there is a netfilter socket (12) with groups in the namespace.
    await until(
      "the monitor to listen",
      async () => exec("cat /proc/net/netlink"),
      (sockets) => sockets.split("\n").some((line) => /^\S+ +12 +\d+ +(?!0{8})[0-9a-f]{8} /.test(line)),
    );
    const harms = [
      ["iptables -t mangle -F", /was changed|is gone/],
      [
        "iptables -t nat -D PREROUTING -i tmbr+ -m comment --comment tidesman -j TM-DNS",
        /PREROUTING -i tmbr\+.*is gone/,
      ],
      ["ip6tables -t mangle -I TM-PRE 1 -j RETURN", /chain `TM-PRE` of table `mangle` was changed/],
      ["iptables -D TM-IN 1", /chain `TM-IN` of table `filter` was changed/],
      ["nft flush ruleset", /is gone/],
    ] as const;
    for (const [index, [harm, detail]] of harms.entries()) {
      exec(harm);
      await tampered(index + 1);
      const said = (await world.state()).tampered[index] ?? "";
      t.match(said, detail, harm);
      t.match(
        said,
        new RegExp(`changed by .*${harm.startsWith("nft") ? "nft" : "ip6?tables"}.* \\(pid \\d+\\)`),
      );
      t.notMatch(said, /tables-res/, "it was not us");
      t.ok(await world.host.call("check"));
    }
    // Our own changes, and others' that are none of our business, are not told. The last harm marks their end.
    await world.host.call("install", ["eth7"]);
    await world.host.call("install", []);
    exec("iptables -A FORWARD -i lo -j ACCEPT");
    exec("ipset flush tm-known4");
    exec("iptables -t mangle -F TM-QUEUE");
    await tampered(harms.length + 1);
    const { tampered: all, warnings } = await world.state();
    t.equal(all.length, harms.length + 1);
    t.same(warnings, []);
    await world.host.call("unwatch");
  });

  await t.test("leaves without a trace", async (t) => {
    // The ruleset was flushed above, so what others had is put back as it was.
    exec("iptables -t filter -F");
    exec("iptables -t nat -N DOCKER");
    exec("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
    exec("iptables -A INPUT -i lo -j ACCEPT");
    await world.host.call("remove", {});
    t.equal(snapshot(), before);
    t.notOk(await world.host.call("check"));
    await world.host.call("remove", {});
    t.equal(snapshot(), before, "twice is as good");
  });
});
