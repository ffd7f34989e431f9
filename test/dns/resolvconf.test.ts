import t from "tap";
import { nameserversOf, parseUpstream, upstreamsOf } from "../../src/dns/resolvconf.ts";
import { dnsConfig } from "./world.ts";

const from = (files: Readonly<Record<string, string>>) => (path: string) => {
  const text = files[path];
  if (text === undefined) throw Object.assign(new Error("no such file"), { code: "ENOENT" });
  return text;
};
const RESOLVED = "/run/systemd/resolve/resolv.conf";
const addresses = (files: Readonly<Record<string, string>>, change = {}): string[] =>
  upstreamsOf(dnsConfig(change), from(files)).map(({ address, port }) => `${address} ${port}`);

t.test("configured upstreams come first and alone", async (t) => {
  const upstreams = [
    "192.0.2.1",
    "192.0.2.2:5353",
    "[2001:db8::1]:53",
    "2001:db8::2",
    "fe80::1%eth0",
    "[fe80::1%eth0]:54",
  ];
  t.same(addresses({}, { upstreams }), [
    "192.0.2.1 53",
    "192.0.2.2 5353",
    "2001:db8::1 53",
    "2001:db8::2 53",
    "fe80::1%eth0 53",
    "fe80::1%eth0 54",
  ]);
  for (const bad of ["", "dns.example", "192.0.2.1:0", "192.0.2.1:99999", "[192.0.2.1", "192.0.2.1:53:1"]) {
    t.throws(() => parseUpstream(bad), { code: "TM_CONFIG" }, bad);
  }
});

t.test("resolv.conf as the C library reads it", async (t) => {
  const text =
    "# c\nnameserver 192.0.2.1\n nameserver 192.0.2.9\nnameserver\t2001:db8::1 # two\nsearch example\nnameserver nonsense\nnameserver fe80::1%eth0\n;nameserver 192.0.2.8\nnameserver 192.0.2.1\n";
  t.same(nameserversOf(text), ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "192.0.2.1"]);
  t.same(addresses({ "/etc/resolv.conf": text }), ["192.0.2.1 53", "2001:db8::1 53", "fe80::1%eth0 53"]);
});

t.test("the stub of systemd-resolved is replaced by what stands behind it", async (t) => {
  const stub = { "/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0\n" };
  t.same(addresses({ ...stub, [RESOLVED]: "nameserver 192.0.2.1\nnameserver 192.0.2.2\n" }), [
    "192.0.2.1 53",
    "192.0.2.2 53",
  ]);
  t.same(addresses(stub), ["127.0.0.53 53"], "or asked itself");
  t.same(addresses({ ...stub, [RESOLVED]: "# none\n" }), ["127.0.0.53 53"]);
});

t.test("a resolver on loopback is the host's own, unless it is us", async (t) => {
  t.same(addresses({ "/etc/resolv.conf": "nameserver 127.0.0.1\n" }), ["127.0.0.1 53"]);
  t.throws(() => addresses({ "/etc/resolv.conf": "nameserver 127.0.0.1\n" }, { port: 53 }), {
    code: "TM_CONFIG",
  });
  t.same(addresses({ "/etc/resolv.conf": "# nothing\n" }), ["127.0.0.1 53"], "the C library's default");
  t.throws(() => addresses({ "/etc/resolv.conf": "# nothing\n" }, { port: 53 }), {
    code: "TM_CONFIG",
    message: /set `dns.upstreams`/,
  });
  t.throws(() => addresses({}), { code: "TM_CONFIG", message: /ENOENT/ });
});
