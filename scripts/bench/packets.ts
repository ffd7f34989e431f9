/**
 * New UDP flows through the real rules and the real queue, beside the same flows with no rules: how many arrive, and what
 * a verdict costs. Three namespaces: a container behind a bridge, the host, a server.
 */

import { run } from "../../src/run.ts";
import { type Child, inNamespace, Namespace } from "./processes.ts";

export interface FlowResult {
  readonly sent: number;
  readonly delivered: number;
  /** New flows sent per second. */
  readonly rate: number;
}

export interface PacketRates {
  readonly bare: FlowResult;
  readonly guarded: FlowResult;
  readonly verdicts: number;
  /** CPU time of the deciding process per verdict, µs. */
  readonly microseconds: number;
}

const SOCKETS = 200;
const HOSTS = 200;

export async function measurePackets(): Promise<PacketRates> {
  await using host = await Namespace.create("host");
  await using container = await Namespace.create("container");
  await using server = await Namespace.create("server");
  await connect(host, container, server);
  const bare = await flows(container, server);
  const guard = await host.node("guard.ts", ["veth0"], 0);
  const guarded = await flows(container, server);
  const report = await reportOf(guard);
  return { bare, guarded, ...report };
}

async function connect(host: Namespace, container: Namespace, server: Namespace): Promise<void> {
  await host.ip("link", "add", "br0", "type", "bridge");
  await host.ip("addr", "add", "172.29.0.1/24", "dev", "br0");
  await host.ip("link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", container.name);
  await host.ip("link", "set", "veth0", "master", "br0", "up");
  await host.ip("link", "set", "br0", "up");
  await host.ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", server.name);
  await host.ip("addr", "add", "198.51.100.2/24", "dev", "up0");
  await host.ip("link", "set", "up0", "up");
  await container.ip("addr", "add", "172.29.0.2/24", "dev", "eth0");
  await container.ip("link", "set", "eth0", "up");
  await container.ip("route", "add", "default", "via", "172.29.0.1");
  await server.ip("addr", "add", "198.51.100.1/24", "dev", "eth0");
  await server.ip("link", "set", "eth0", "up");
  await server.ip("route", "add", "local", "203.0.113.0/24", "dev", "lo");
  await server.ip("route", "add", "172.29.0.0/24", "via", "198.51.100.2");
  await host.ip("route", "add", "203.0.113.0/24", "via", "198.51.100.1");
  for (const setting of ["net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1"]) {
    await run("nsenter", [`--net=/run/netns/${host.name}`, "sysctl", "-qw", setting]);
  }
  // Connections are tracked in both runs, so that the comparison is about the queue and not about conntrack.
  const track = [
    "iptables",
    "-t",
    "mangle",
    "-A",
    "FORWARD",
    "-m",
    "conntrack",
    "--ctstate",
    "INVALID",
    "-j",
    "DROP",
  ];
  const [program = "", ...args] = inNamespace(host, track);
  await run(program, args);
}

async function flows(container: Namespace, server: Namespace): Promise<FlowResult> {
  const sink = await server.node("sink.ts", [9000], 1);
  const { sent, seconds } = JSON.parse(await container.output("flows.ts", [9000, SOCKETS, HOSTS], 1)) as {
    sent: number;
    seconds: number;
  };
  const { delivered } = (await reportOf(sink)) as unknown as { delivered: number };
  return { sent, delivered, rate: sent / seconds };
}

/** Closes the child's standard input; it answers with one JSON object and ends. */
async function reportOf(child: Child): Promise<{ verdicts: number; microseconds: number }> {
  let text = "";
  child.process.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const closed = new Promise<void>((resolve) => child.process.once("close", () => resolve()));
  child.process.stdin?.end();
  await closed;
  return JSON.parse(text) as { verdicts: number; microseconds: number };
}
