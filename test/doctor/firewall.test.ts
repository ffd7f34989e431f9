import t from "tap";
import { loadConfig } from "../../src/config.ts";
import { firewall } from "../../src/doctor/checks/firewall.ts";
import { hear, levels, savedRules } from "./fake-host.ts";

const closed = { config: loadConfig("failMode: closed", "tidesman.yaml", "h1") };
const gone = { "iptables-save": "", "ip6tables-save": "" };

t.test("rules in place, gone, not whole", async (t) => {
  t.match(await hear(firewall), [
    /^ok: iptables \(nft\): our rules are in place, in mangle, nat, filter/,
    /^ok: ip6/,
  ]);
  t.match(await hear(firewall, { commands: gone }), [
    /^problem: iptables: .*mangle, nat, filter/,
    /^problem: ip6/,
  ]);
  const less = savedRules(4).replace(/^-A TM-DNS .*dport 53.*\n/m, "");
  t.match(await hear(firewall, { commands: { "iptables-save": less } }), [
    /^problem: .* not whole in nat/,
    /^ok/,
  ]);
});

t.test("while the daemon is away: nothing, or what a killed one left", async (t) => {
  t.match(await hear(firewall, { status: null, commands: gone }), [/^ok: .*no rules of ours/, /^ok/]);
  t.match(await hear(firewall, { status: null }), [/^warning: .*left; traffic passes/, /^warning/]);
  t.match(await hear(firewall, { status: null, patient: closed }), [
    /^problem: .*drop every new/,
    /^problem/,
  ]);
});

t.test("others' rules ahead of ours: told where they can decide", async (t) => {
  const heard = await hear(firewall, {
    commands: {
      "iptables-save": savedRules(4, {
        mangle: ["-i eth9 -j RETURN", "-j MARK --set-xmark 0x4000/0x4000", "-j LOG"],
        nat: [
          "-p udp --dport 53 -j DNAT --to 192.0.2.1",
          "-p tcp --dport 80 -j DNAT --to 192.0.2.1",
          "-j DOCKER",
        ],
      }),
    },
  });
  t.strictSame(levels(heard), ["ok", "warning", "warning", "ok"]);
  t.match(heard[1], /-i eth9 -j RETURN` stands before ours in mangle/);
  t.match(heard[2], /--dport 53 -j DNAT.*before ours in nat/);
});

t.test("others that write to our mark bits", async (t) => {
  const saved = (rule: string) => ({ commands: { "iptables-save": savedRules(4, { mangle: [rule] }) } });
  for (const rule of ["-j MARK --set-xmark 0x10000/0x10000", "-j CONNMARK --set-xmark 0x1/0xffffffff"])
    t.match((await hear(firewall, saved(rule)))[1], /writes to mark bits 0x30000/, rule);
  for (const rule of ["-j MARK --set-xmark 0x4000/0x4000", "-j CONNMARK --set-xmark 0x1/0xffff"])
    t.strictSame(levels(await hear(firewall, saved(rule))), ["ok", "ok"], rule);
});

t.test("no iptables, no IPv6, no rights", async (t) => {
  const version = "iptables v1.8.9 (nf_tables)";
  const run = (commands: Readonly<Record<string, number>>) => ({
    run: async (command: string) => ({ status: commands[command] ?? 0, stdout: version, stderr: "denied" }),
  });
  t.match(await hear(firewall, { host: run({ iptables: 127, "ip6tables-save": 1 }) }), [
    /^problem: there is no `iptables`/,
    /^unknown: `ip6tables-save` tells nothing: denied/,
  ]);
  t.match((await hear(firewall, { host: run({ ip6tables: 127 }) }))[1], /^warning: there is no `ip6tables`/);
  t.equal((await hear(firewall, { files: { "/proc/net/if_inet6": null } })).length, 1, "nothing of IPv6");
});

t.test("two backends at once", async (t) => {
  t.match(await hear(firewall, { files: { "/proc/net/ip_tables_names": "nat\nfilter\n" } }), [
    /^warning: `iptables` is nft, and legacy tables are in use beside it \(nat, filter\)/,
    /^ok/,
    /^ok/,
  ]);
  const legacy = {
    "iptables --version": "iptables v1.8.9 (legacy)",
    "iptables-nft-save": "-A INPUT -j DROP\n",
  };
  t.match(await hear(firewall, { commands: legacy }), [/^warning: `iptables` is legacy/, /^ok/, /^ok/]);
});
