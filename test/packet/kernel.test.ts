import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { inspectKernel } from "../../src/packet/kernel.ts";

function root(t: Tap, files: Readonly<Record<string, string>>): string {
  const directory = t.testdir({});
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), `${content}\n`);
  }
  return directory;
}
type Tap = Pick<typeof t, "testdir">;

const BRIDGE = {
  "proc/sys/net/bridge/bridge-nf-call-iptables": "1",
  "proc/sys/net/bridge/bridge-nf-call-ip6tables": "1",
};

t.test("says what is missing and how to mend it", async (t) => {
  t.same(inspectKernel(root(t, BRIDGE)), []);
  t.match(inspectKernel(root(t, {})), [/br_netfilter.*modprobe br_netfilter/]);
  t.match(inspectKernel(root(t, { ...BRIDGE, "proc/sys/net/bridge/bridge-nf-call-ip6tables": "0" })), [
    /net\.bridge\.bridge-nf-call-ip6tables is 0: IPv6.*`sysctl -w net\.bridge\.bridge-nf-call-ip6tables=1`/,
  ]);
});

t.test("modules may be built in, loadable or loaded", async (t) => {
  const release = { ...BRIDGE, "proc/sys/kernel/osrelease": "6.1.0-test" };
  const list = "lib/modules/6.1.0-test";
  const builtin = ["nfnetlink_queue", "nf_conntrack", "nf_conntrack_netlink", "xt_NFQUEUE", "xt_connmark"];
  const loadable = ["xt_set", "xt_REDIRECT", "ip_set_hash_ip", "ip_set_hash_net"];
  const files = {
    ...release,
    [`${list}/modules.builtin`]: builtin.map((name) => `kernel/net/netfilter/${name}.ko`).join("\n"),
    [`${list}/modules.dep`]: loadable
      .map((name) => `kernel/net/${name}.ko.xz: kernel/net/x_tables.ko.xz`)
      .join("\n"),
  };
  t.match(inspectKernel(root(t, files)), [/no module xt_hashlimit:/]);
  t.same(inspectKernel(root(t, { ...files, "sys/module/xt_hashlimit/refcnt": "1" })), []);
  t.same(inspectKernel(root(t, release)), [], "no list, no verdict");
});
