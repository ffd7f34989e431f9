/**
 * Network namespaces for the netfilter tests: a host with a bridge of containers, and an Internet behind it.
 *
 *   c1 .2 ─┐
 *   c2 .3 ─┼─ tmbr0 (host, 172.30.0.1/24, 2001:db8:d0::1/64) ─ up0 198.51.100.2 ── 198.51.100.1 (net)
 *   c3 .4 ─┘                                                     203.0.113.10, .66, 2001:db8:ffff::10, ::66
 */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";

export const GOOD = "203.0.113.10";
export const BAD = "203.0.113.66";
export const GOOD6 = "2001:db8:ffff::10";
export const BAD6 = "2001:db8:ffff::66";
export const BRIDGE = "tmbr0";

/** Pings, each a second at most, until a new link must be ready. */
const MEETING_TRIES = 30;

/** Whether such namespaces can be made here; the reason when not. */
export function namespaceRefusal(): string | null {
  if (process.getuid?.() !== 0) return "needs root for network namespaces and netfilter";
  const probe = `tm-packet-probe-${process.pid}`;
  try {
    ip("netns", "add", probe);
    ip("netns", "exec", probe, "iptables-save", "-t", "mangle");
    ip("netns", "exec", probe, "ipset", "list", "-n");
    return null;
  } catch (error) {
    return `network namespaces, iptables and ipset do not all work here: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    rmSyncNamespace(probe);
  }
}

function rmSyncNamespace(name: string): void {
  try {
    execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
  } catch {
    // Not there.
    rmSync(`/run/netns/${name}`, { force: true });
  }
}

function ip(...args: readonly string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export class Network {
  readonly host: string;
  readonly internet: string;
  readonly #prefix: string;
  readonly #containers: string[] = [];

  readonly #atExit = (): void => this.remove();

  constructor(name: string) {
    // A test that is stopped half-way has no teardown.
    process.on("exit", this.#atExit);
    this.#prefix = `tm-packet-${process.pid}-${name}`;
    this.host = `${this.#prefix}-host`;
    this.internet = `${this.#prefix}-net`;
    try {
      this.#build();
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  #build(): void {
    for (const name of [this.host, this.internet]) {
      ip("netns", "add", name);
      ip("-n", name, "link", "set", "lo", "up");
    }
    this.exec(
      "sysctl",
      "-qw",
      "net.ipv4.ip_forward=1",
      "net.ipv6.conf.all.forwarding=1",
      "net.bridge.bridge-nf-call-iptables=1",
      "net.bridge.bridge-nf-call-ip6tables=1",
    );
    ip(
      "link",
      "add",
      "up0",
      "netns",
      this.host,
      "type",
      "veth",
      "peer",
      "name",
      "in0",
      "netns",
      this.internet,
    );
    ip("-n", this.internet, "addr", "add", "198.51.100.1/24", "dev", "in0");
    ip("-n", this.internet, "addr", "add", "2001:db8:0:1::1/64", "dev", "in0", "nodad");
    ip("-n", this.host, "addr", "add", "198.51.100.2/24", "dev", "up0");
    ip("-n", this.host, "addr", "add", "2001:db8:0:1::2/64", "dev", "up0", "nodad");
    // An address of its own, as Docker gives its bridges: else it would change with the ports, under its neighbours.
    ip("-n", this.host, "link", "add", BRIDGE, "address", "02:42:ac:1e:00:01", "type", "bridge");
    ip("-n", this.host, "addr", "add", "172.30.0.1/24", "dev", BRIDGE);
    ip("-n", this.host, "addr", "add", "2001:db8:d0::1/64", "dev", BRIDGE, "nodad");
    for (const [namespace, device] of [
      [this.internet, "in0"],
      [this.host, "up0"],
      [this.host, BRIDGE],
    ] as const) {
      ip("-n", namespace, "link", "set", device, "up");
    }
    for (const address of [GOOD, BAD]) ip("-n", this.internet, "addr", "add", `${address}/32`, "dev", "lo");
    for (const address of [GOOD6, BAD6]) {
      ip("-n", this.internet, "addr", "add", `${address}/128`, "dev", "lo", "nodad");
    }
    ip("-n", this.internet, "route", "add", "172.30.0.0/24", "via", "198.51.100.2");
    ip("-n", this.internet, "route", "add", "2001:db8:d0::/64", "via", "2001:db8:0:1::2");
    ip("-n", this.host, "route", "add", "203.0.113.0/24", "via", "198.51.100.1");
    ip("-n", this.host, "route", "add", "2001:db8:ffff::/64", "via", "2001:db8:0:1::1");
    for (const address of ["198.51.100.1", "2001:db8:0:1::1"]) this.#meet(address);
  }

  /**
   * Waits until `address` answers the host. The kernel makes a new link ready in its own time, and drops what is sent
   * over it after three neighbour solicitations without an answer (RFC 4861, section 7.3.3): a test that sends a
   * datagram once would lose it to that.
   */
  #meet(address: string): void {
    for (let tries = 1; ; tries++) {
      try {
        this.exec("busybox", "ping", "-c", "1", "-W", "1", address);
        return;
      } catch (error) {
        if (tries === MEETING_TRIES) throw error;
      }
    }
  }

  /** A container's namespace; its addresses end in `number`. Returns the namespace. */
  container(number: number): string {
    const name = `${this.#prefix}-c${number}`;
    const veth = `veth${number}`;
    ip("netns", "add", name);
    this.#containers.push(name);
    ip("-n", name, "link", "set", "lo", "up");
    ip("link", "add", veth, "netns", this.host, "type", "veth", "peer", "name", "eth0", "netns", name);
    ip("-n", this.host, "link", "set", veth, "master", BRIDGE, "up");
    ip("-n", name, "addr", "add", `172.30.0.${number}/24`, "dev", "eth0");
    ip("-n", name, "addr", "add", `2001:db8:d0::${number}/64`, "dev", "eth0", "nodad");
    ip("-n", name, "link", "set", "eth0", "up");
    ip("-n", name, "route", "add", "default", "via", "172.30.0.1");
    ip("-n", name, "route", "add", "default", "via", "2001:db8:d0::1");
    for (const address of [`172.30.0.${number}`, `2001:db8:d0::${number}`]) this.#meet(address);
    return name;
  }

  /** `ip -n` in a namespace. */
  ip(namespace: string, ...args: readonly string[]): string {
    return ip("-n", namespace, ...args);
  }

  /** Runs a command in the host's namespace, and returns what it printed. */
  exec(command: string, ...args: readonly string[]): string {
    return this.execIn(this.host, command, ...args);
  }

  execIn(namespace: string, command: string, ...args: readonly string[]): string {
    return execFileSync("nsenter", [`--net=/run/netns/${namespace}`, command, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  remove(): void {
    process.off("exit", this.#atExit);
    for (const name of [...this.#containers, this.internet, this.host]) rmSyncNamespace(name);
  }
}
