/**
 * The lab: a sealed world in network namespaces, for end-to-end tests, the demonstration and trying things out. A host with
 * its own dockerd, an Internet with real servers, containers, and nothing that leads outside. Several may exist at once.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Capture } from "./capture.ts";
import { Engine, type LabContainer } from "./engine.ts";
import { missingPrograms, startServers } from "./internet.ts";
import { connectNamespaces, HOST, INTERNET, Namespace } from "./network.ts";
import { execute } from "./process.ts";
import {
  claim,
  controlGroup,
  hostNamespace,
  internetNamespace,
  removeStale,
  removeWorld,
} from "./removal.ts";

const PROGRAMS = [
  "ip",
  "nsenter",
  "dockerd",
  "docker",
  "unbound",
  "busybox",
  "dig",
  "tcpdump",
  "iptables",
  "tar",
];

export interface World extends Disposable {
  readonly id: string;
  /** Files and logs; removed with the world. */
  readonly directory: string;
  readonly host: Namespace;
  readonly internet: Namespace;
  readonly engine: Engine;
  /** Captures on the Internet's end of the link: what is seen here has left the host. */
  captureInternet(): Promise<Capture>;
  /**
   * Captures on the host's end of a container's link: everything that it sends, also what netfilter drops. (A capture on the
   * bridge itself sees only what came through.)
   */
  captureContainer(container: LabContainer): Promise<Capture>;
  /** Removes everything. Also done when the process that raised it ends, however it ends. */
  remove(): void;
}

/** Why no world can be raised here; null when one can. */
export async function worldRefusal(): Promise<string | null> {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = await missingPrograms(PROGRAMS);
  if (missing.length > 0) return `needs ${missing.join(", ")} (scripts/setup installs them)`;
  return null;
}

/** `persistent`: outlives this process, until `scripts/lab down`. */
export async function raiseWorld(options: { readonly persistent?: boolean } = {}): Promise<World> {
  const refusal = await worldRefusal();
  if (refusal !== null) throw new Error(`the lab ${refusal}`);
  removeStale();
  const id = randomBytes(3).toString("hex");
  const persistent = options.persistent === true;
  const directory = claim(id, persistent);
  const forget = persistent ? () => undefined : removeAtExit(id);
  const remove = (): void => {
    forget();
    removeWorld(id);
  };
  try {
    return await build(id, directory, remove);
  } catch (error) {
    remove();
    throw error;
  }
}

async function build(id: string, directory: string, remove: () => void): Promise<World> {
  const host = new Namespace(hostNamespace(id));
  const internet = new Namespace(internetNamespace(id));
  await connectNamespaces(host, internet);
  await bridgeNetfilter(host);
  const engine = new Engine(host, directory, controlGroup(id));
  await Promise.all([startServers(internet, directory), engine.start()]);
  await Promise.all([engine.importImages(), engine.createNetwork()]);
  let captures = 0;
  const file = (): string => join(directory, `capture-${++captures}.pcap`);
  return {
    id,
    directory,
    host,
    internet,
    engine,
    captureInternet: () =>
      Capture.start(internet, "in0", file(), (length) =>
        host.run("busybox", ["ping", "-c", "1", "-W", "5", "-s", String(length), INTERNET.router]),
      ),
    captureContainer: async (container) => Capture.start(host, await hostDevice(host, container), file()),
    remove,
    [Symbol.dispose]: remove,
  };
}

/** Name of the host's end of the container's eth0. */
async function hostDevice(host: Namespace, container: LabContainer): Promise<string> {
  const inside = await execute("nsenter", [
    `--net=/proc/${container.pid}/ns/net`,
    "ip",
    "-j",
    "link",
    "show",
    "eth0",
  ]);
  const [{ link_index: peer }]: [{ link_index: number }] = JSON.parse(inside.stdout);
  const links: { ifindex: number; ifname: string }[] = JSON.parse(
    (await host.run("ip", ["-j", "link"])).stdout,
  );
  const found = links.find(({ ifindex }) => ifindex === peer);
  if (found === undefined) throw new Error(`${container.name} has no link to the host`);
  return found.ifname;
}

/** Traffic between containers of one bridge meets netfilter only with this; the switch is per namespace, the module is not. */
async function bridgeNetfilter(host: Namespace): Promise<void> {
  if (!existsSync("/proc/sys/net/bridge")) await execute("modprobe", ["br_netfilter"]);
  await host.run("sysctl", [
    "-qw",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.bridge.bridge-nf-call-ip6tables=1",
  ]);
}

/** Removes the world when this process ends by itself or by a signal that it can hear. Returns the undoing. */
function removeAtExit(id: string): () => void {
  const onExit = (): void => removeWorld(id);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const onSignal = (signal: NodeJS.Signals): void => {
    forget();
    removeWorld(id);
    process.kill(process.pid, signal);
  };
  const forget = (): void => {
    process.off("exit", onExit);
    for (const signal of signals) process.off(signal, onSignal);
  };
  process.on("exit", onExit);
  for (const signal of signals) process.on(signal, onSignal);
  return forget;
}

/** The facts of a world that a person or a script needs, as environment variables. */
export function describeWorld(world: World): Record<string, string> {
  return {
    TIDESMAN_LAB: world.id,
    TIDESMAN_LAB_DIRECTORY: world.directory,
    TIDESMAN_LAB_HOST: world.host.path,
    TIDESMAN_LAB_INTERNET: world.internet.path,
    TIDESMAN_LAB_RESOLVER: INTERNET.resolver,
    TIDESMAN_LAB_BRIDGE: HOST.bridgeAddress,
    DOCKER_HOST: `unix://${world.engine.socket}`,
    DOCKER_CONFIG: world.directory,
  };
}
