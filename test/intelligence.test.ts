import type { NetworkInterfaceInfo } from "node:os";
import t from "tap";
import { ownNetworks } from "../src/intelligence.ts";

const at = (cidr: string, scopeid?: number): NetworkInterfaceInfo => {
  const [address = ""] = cidr.split("/");
  const rest = { netmask: "", mac: "", internal: false, cidr, address };
  return address.includes(":")
    ? { ...rest, family: "IPv6", scopeid: scopeid ?? 0 }
    : { ...rest, family: "IPv4" };
};

t.test("no list names this host or the networks of its containers", async (t) => {
  const interfaces = {
    lo: [at("127.0.0.1/8")],
    eth0: [at("198.51.100.7/20"), at("fe80::1%eth0/64", 2)],
    docker0: [at("172.17.0.1/16"), at("2001:db8:1::1/64")],
    "br-0123456789ab": [at("203.0.113.1/26")],
    lab0: [at("192.0.2.1/28")],
    br0: [at("198.51.100.200/24")],
    gone: undefined,
  };
  t.strictSame(ownNetworks(interfaces, ["lab+"]), [
    "127.0.0.1",
    "198.51.100.7",
    "fe80::1",
    "172.17.0.1/16",
    "2001:db8:1::1/64",
    "203.0.113.1/26",
    "192.0.2.1/28",
    "198.51.100.200",
  ]);
});
