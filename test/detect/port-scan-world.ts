/** A container that scans, the host that watches it, and an Internet with services, closed ports, silence and denied hosts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Link } from "../../src/native/types.ts";
import { Child } from "../packet/child.ts";
import { containerBehind } from "../packet/doubles.ts";
import { Network } from "../packet/network.ts";
import { CONFIG, until } from "../packet/world.ts";
import type { ScanState } from "./port-scan-host.ts";

const at = (base: number, size: number) => (index: number) =>
  `203.0.${base}.${1 + (Math.floor(index) % size)}`;
/** Hosts with web servers, hosts that refuse, hosts that never answer, and hosts that policy denies. */
export const SERVED = at(113, 200);
export const CLOSED = at(114, 200);
export const SILENT = at(115, 200);
export const DENIED_PREFIX = "203.0.116.";
const SERVICES = [22, 80, 443, 6881, 6882, 6883];
const HOST6 = "2001:db8:ffff::10";

export interface Trial {
  readonly name: string;
  readonly command: readonly string[];
  /** Attack type that has to be found; null: nothing may be. */
  readonly expected: "horizontalPortScan" | "verticalPortScan" | null;
}

const nmap = (name: string, expected: Trial["expected"], line: string): Trial => ({
  name: `nmap ${name}`,
  command: ["nmap", "-n", "-Pn", "--max-retries", "0", ...line.split(" ")],
  expected,
});
const hping = (name: string, expected: Trial["expected"], line: string): Trial => ({
  name: `hping3 ${name}`,
  command: ["hping3", "-q", "-n", ...line.split(" ")],
  expected,
});

export const SCANS: readonly Trial[] = [
  nmap("-sT, 100 ports of a host", "verticalPortScan", `-sT -F ${SERVED(0)}`),
  nmap("-sS, 100 ports of a host", "verticalPortScan", `-sS -F ${SERVED(0)}`),
  nmap("-sS, a host that is silent", "verticalPortScan", `-sS -F ${SILENT(0)}`),
  nmap("-sS, a host that policy denies", "verticalPortScan", `-sS -F ${DENIED_PREFIX}1`),
  nmap("-sU, 100 ports of a host", "verticalPortScan", `-sU -F --min-rate 50 ${CLOSED(0)}`),
  nmap("-sF", "verticalPortScan", `-sF -F ${CLOSED(0)}`),
  nmap("-sN", "verticalPortScan", `-sN -F ${SILENT(0)}`),
  nmap("-sX", "verticalPortScan", `-sX -F ${CLOSED(0)}`),
  nmap("-6 -sS", "verticalPortScan", `-6 -sS -F ${HOST6}`),
  nmap("-sS -D, with decoys", "verticalPortScan", `-sS -F -D 172.30.0.77,172.30.0.78,ME ${CLOSED(0)}`),
  nmap("-T1, probes 0.4 s apart", "verticalPortScan", `-sS -T1 --scan-delay 400ms -p 1-40 ${CLOSED(0)}`),
  nmap("-sS, one port of 64 hosts", "horizontalPortScan", "-sS --randomize-hosts -p 445 203.0.114.0/26"),
  nmap(
    "-sT, three ports of 64 hosts",
    "horizontalPortScan",
    "-sT --randomize-hosts -p 23,445,3389 203.0.114.64/26",
  ),
  nmap(
    "-sU, one port of 64 hosts",
    "horizontalPortScan",
    "-sU --randomize-hosts --min-rate 50 -p 161 203.0.115.0/26",
  ),
  nmap("-sS, silent hosts", "horizontalPortScan", "-sS --randomize-hosts -p 22 203.0.115.0/26"),
  hping("-S, rising ports", "verticalPortScan", `-S -p ++1 -i u20000 -c 60 ${CLOSED(0)}`),
  hping("--udp, rising ports", "verticalPortScan", `--udp -p ++1 -i u20000 -c 60 ${SILENT(0)}`),
  hping("-S, random hosts", "horizontalPortScan", "-S -p 22 -I eth0 -i u20000 -c 60 --rand-dest 203.0.115.x"),
];

/** At nmap's own pace, a probe every 15 seconds; some seven minutes each. */
export const SLOW_SCANS: readonly Trial[] = [
  nmap("-T1, at its own pace", "verticalPortScan", `-sS -T1 -p 1-28 ${CLOSED(0)}`),
];

const program = fileURLToPath(new URL("./port-scan-benign.ts", import.meta.url));
export const BENIGN: readonly Trial[] = [
  "crawler",
  "load test",
  "dead backend",
  "health checks",
  "peer to peer",
  "statistics",
].map((name) => ({ name, command: [process.execPath, program, name], expected: null }));

export class ScanWorld {
  readonly #network: Network;
  readonly #host: Child;
  readonly #internet: Child;
  readonly #container: string;

  constructor(name: string) {
    this.#network = new Network(name);
    const { host, internet } = this.#network;
    const net = (...args: readonly string[]): string => this.#network.ip(internet, ...args);
    for (const prefix of ["113", "114"]) net("addr", "add", `203.0.${prefix}.0/24`, "dev", "lo");
    net("route", "add", "blackhole", "203.0.115.0/24");
    this.#network.ip(host, "route", "add", "203.0.112.0/21", "via", "198.51.100.1");
    // Every refusal is told, at the rate of a whole network of hosts.
    this.#network.execIn(
      internet,
      "sysctl",
      "-qw",
      "net.ipv4.icmp_ratelimit=0",
      "net.ipv4.icmp_msgs_per_sec=100000",
    );
    this.#host = new Child(host, "../detect/port-scan-host.ts");
    this.#internet = new Child(internet, "./peer.ts");
    this.#container = this.#network.container(2);
  }

  async start(): Promise<void> {
    // Bound to all addresses, and refused by rule where hosts are to have none.
    for (const port of SERVICES) await this.#internet.call("listen", "0.0.0.0", port, "hello:");
    await this.#internet.call("listen", HOST6, 80, "hello:");
    const { internet } = this.#network;
    for (const [protocol, answer] of [
      ["tcp", "tcp-reset"],
      ["udp", "icmp-port-unreachable"],
    ] as const) {
      const rule = `-A INPUT -d 203.0.114.0/24 -p ${protocol} -j REJECT --reject-with ${answer}`;
      this.#network.execIn(internet, "iptables", ...rule.split(" "));
    }
    await this.#host.call("start", { config: CONFIG, denied: DENIED_PREFIX });
    const links = await this.#host.call<readonly Link[]>("links");
    await this.#host.call("add", containerBehind(2, links));
  }

  /** Runs one program in the container to its end, and waits until all its flows have ended. */
  async run({ command, expected }: Trial): Promise<ScanState> {
    await this.#host.call("begin");
    const child = spawn("nsenter", [`--net=/run/netns/${this.#container}`, ...command], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let complaint = "";
    child.stderr.on("data", (data) => {
      complaint += String(data);
    });
    const [code] = await once(child, "exit");
    if (expected === null && code !== 0) throw new Error(`\`${command.join(" ")}\` failed: ${complaint}`);
    const state = (): Promise<ScanState> => this.#host.call<ScanState>("scanState");
    const done = ({ waiting, detections }: ScanState): boolean =>
      waiting === 0 || (expected !== null && detections.some(({ kind }) => kind === expected));
    const after = await until(`${command.join(" ")} is over`, state, done, 30_000);
    if (after.packets === 0) throw new Error(`\`${command.join(" ")}\` sent nothing: ${complaint}`);
    return after;
  }

  async remove(): Promise<void> {
    await Promise.all([this.#host.end(), this.#internet.end()]);
    this.#network.remove();
  }
}

/** Why the tools cannot run here, or null. */
export async function toolRefusal(): Promise<string | null> {
  for (const tool of ["nmap", "hping3"]) {
    const child = spawn(tool, ["--version"], { stdio: "ignore" });
    const found = await new Promise<boolean>((resolve) => {
      child.once("error", () => resolve(false));
      child.once("exit", () => resolve(true));
    });
    if (!found) return `needs ${tool}`;
  }
  return null;
}
