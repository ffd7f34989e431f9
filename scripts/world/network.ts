/**
 * The addresses of the sealed world, and its two network namespaces joined by one link. Every world has the same
 * addresses, since each lives in namespaces of its own. Only documentation prefixes (RFC 5737, RFC 3849) play the
 * Internet.
 *
 *     containers -- docker0, br-net1 -- [host] up0 ---- in0 [internet] lo: servers
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { type ExecuteOptions, execute, type Output } from "./process.ts";

export const INTERNET = {
  /** Web servers on ports 80 and 8080, echo on port 7 (UDP and TCP); every other port is closed. */
  good: "203.0.113.10",
  other: "203.0.113.11",
  /** Serves like `good`; `evil.example` points at it, and the lab's feeds list the name. */
  evil: "203.0.113.66",
  /** Serves like `good`; for policies that deny an address. */
  denied: "203.0.113.77",
  /** Takes packets and never answers. */
  silent: "203.0.113.99",
  good6: "2001:db8:ffff::10",
  evil6: "2001:db8:ffff::66",
  denied6: "2001:db8:ffff::77",
  /** The resolver that the host uses. */
  resolver: "203.0.113.53",
  resolver6: "2001:db8:ffff::53",
  /** Another public resolver, the kind that a container asks by its address. */
  publicResolver: "198.51.100.88",
  /** The router's address on the link to the host. */
  router: "198.51.100.1",
} as const;

/**
 * Domains of tunnels (tunnels.ts), by what the way to their servers lets through and so by what iodine encodes names with;
 * `network`: the first three numbers of the addresses inside.
 */
export const IODINE = {
  base128: { domain: "t.base128.example", address: "203.0.113.201", way: "clean", network: "10.90.1" },
  base64: { domain: "t.base64.example", address: "203.0.113.202", way: "ascii", network: "10.90.2" },
  base64u: { domain: "t.base64u.example", address: "203.0.113.203", way: "plain", network: "10.90.3" },
  base32: { domain: "t.base32.example", address: "203.0.113.204", way: "fold", network: "10.90.4" },
} as const;
export const DNS2TCP = { domain: "t.dns2tcp.example", address: "203.0.113.205" } as const;

export const HOST = {
  uplink: "up0",
  address: "198.51.100.2",
  address6: "2001:db8:0:1::2",
  bridge: "docker0",
  bridgeAddress: "172.30.0.1",
  bridgeAddress6: "2001:db8:d0::1",
  bridgeSubnet: "172.30.0.0/24",
  bridgeSubnet6: "2001:db8:d0::/64",
  /** The user-defined network. */
  network: "net1",
  networkBridge: "br-net1",
  networkSubnet: "172.31.0.0/24",
  networkSubnet6: "2001:db8:d1::/64",
} as const;

const SERVERS = [
  INTERNET.good,
  INTERNET.other,
  INTERNET.evil,
  INTERNET.denied,
  INTERNET.resolver,
  INTERNET.publicResolver,
];
const SERVERS6 = [INTERNET.good6, INTERNET.evil6, INTERNET.denied6, INTERNET.resolver6];

/** A network namespace under /run/netns, by its name. */
export class Namespace {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }

  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /**
   * Arguments that make `nsenter` run a program in here. Not `ip netns exec`: that mounts a new /sys, which hides the
   * cgroups from dockerd.
   */
  enter(command: string, args: readonly string[]): string[] {
    return [`--net=${this.path}`, command, ...args];
  }

  run(command: string, args: readonly string[], options?: ExecuteOptions): Promise<Output> {
    return execute("nsenter", this.enter(command, args), options);
  }

  /** `ip` commands, one a line, in one process; comments and empty lines are skipped. */
  async ip(commands: string): Promise<void> {
    const input = commands.replaceAll(/#.*$/gm, "");
    await execute("ip", ["-n", this.name, "-batch", "-"], { input });
  }

  /**
   * Starts a program that lives until it is ended or the world is removed. Its output goes to the file `log`; it has a
   * process group of its own, so that Ctrl-C reaches it through the removal of the world only.
   */
  start(
    command: string,
    args: readonly string[],
    log: string,
    env: Readonly<Record<string, string>> = {},
  ): ChildProcess {
    const file = openSync(log, "a");
    try {
      const child = spawn("nsenter", this.enter(command, args), {
        stdio: ["ignore", file, file],
        detached: true,
        env: { ...process.env, ...env },
      });
      child.unref();
      return child;
    } finally {
      closeSync(file);
    }
  }
}

/** Makes both namespaces, the link between them, addresses and routes. */
export async function connectNamespaces(host: Namespace, internet: Namespace): Promise<void> {
  await execute("ip", ["netns", "add", host.name]);
  await execute("ip", ["netns", "add", internet.name]);
  for (const namespace of [host, internet]) {
    // No duplicate address detection, so that IPv6 addresses work at once; all keys belong to the namespace.
    await namespace.run("sysctl", [
      "-qw",
      "net.ipv6.conf.all.disable_ipv6=0",
      "net.ipv6.conf.default.disable_ipv6=0",
      "net.ipv6.conf.all.accept_dad=0",
      "net.ipv6.conf.default.accept_dad=0",
      "net.ipv6.conf.all.forwarding=1",
      "net.ipv4.ip_forward=1",
    ]);
  }
  await host.ip(`link add ${HOST.uplink} type veth peer name in0 netns ${internet.name}`);
  await internet.ip(`
    link set lo up
    link set in0 up
    addr add ${INTERNET.router}/24 dev in0
    addr add 2001:db8:0:1::1/64 dev in0 nodad
    ${SERVERS.map((address) => `addr add ${address}/32 dev lo`).join("\n")}
    ${SERVERS6.map((address) => `addr add ${address}/128 dev lo nodad`).join("\n")}
    route add ${HOST.bridgeSubnet} via ${HOST.address}
    route add ${HOST.networkSubnet} via ${HOST.address}
    route add ${HOST.bridgeSubnet6} via ${HOST.address6}
    route add ${HOST.networkSubnet6} via ${HOST.address6}
    route add blackhole 203.0.113.0/24
    route add blackhole 2001:db8:ffff::/64
  `);
  await host.ip(`
    link set lo up
    link set ${HOST.uplink} up
    addr add ${HOST.address}/24 dev ${HOST.uplink}
    addr add ${HOST.address6}/64 dev ${HOST.uplink} nodad
    route add default via ${INTERNET.router}
    route add default via 2001:db8:0:1::1
  `);
}
