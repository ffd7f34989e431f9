/** A whole world for a netfilter test: the namespaces of network.ts with the processes that live in them. */
import type { NetworkConfig } from "../../src/config.ts";
import type { Link } from "../../src/native/types.ts";
import type { PacketStats } from "../../src/packet/queue.ts";
import type { Finding } from "../../src/policy/types.ts";
import { Child } from "./child.ts";
import { containerBehind } from "./doubles.ts";
import { BAD, BAD6, BRIDGE, GOOD, GOOD6, Network } from "./network.ts";
import type { Seen } from "./peer.ts";

export interface HostState {
  readonly findings: readonly Finding[];
  readonly tampered: readonly string[];
  readonly warnings: readonly string[];
  readonly unknown: readonly (readonly [number, string])[];
  readonly decided: Readonly<Record<string, number>>;
  readonly stats: PacketStats;
}

export const CONFIG: NetworkConfig = {
  queue: 5303,
  queueLength: 4096,
  markMask: 0x30000,
  interfaces: [BRIDGE, "tmbr+"],
  connectionRate: 500,
  connectionBurst: 1000,
  holdTime: 5000,
  holdLimit: 64,
  internal: [],
};

/** Milliseconds for a test file: generous, for a machine that is shared; every wait inside has its own deadline. */
export const FILE_LIMIT = 300_000;
/** Milliseconds: for what happens at once, and for what must never happen. */
export const SOON = 5000;
export const NEVER = 400;

export class PacketWorld {
  readonly network: Network;
  host: Child;
  #internet: Child | undefined;
  readonly #failMode: "open" | "closed";
  readonly #config: NetworkConfig;
  readonly #peers: Child[] = [];

  constructor(name: string, failMode: "open" | "closed", config: Partial<NetworkConfig> = {}) {
    this.network = new Network(name);
    this.#failMode = failMode;
    this.#config = { ...CONFIG, ...config };
    this.host = new Child(this.network.host, "./host.ts");
  }

  /** Starts the servers of the Internet. */
  async serve(): Promise<void> {
    const internet = new Child(this.network.internet, "./peer.ts");
    this.#internet = internet;
    for (const [address, banner] of [
      [GOOD, "good:"],
      [BAD, "bad:"],
      [GOOD6, "good:"],
      [BAD6, "bad:"],
    ]) {
      for (const port of [80, 53]) await internet.call("listen", address, port, banner);
    }
  }

  start(lookupRate?: number): Promise<void> {
    return this.host.call("start", {
      failMode: this.#failMode,
      config: this.#config,
      denied: [BAD, BAD6],
      lookupRate,
    });
  }

  /** A new host process after the old one has ended. */
  async restart(): Promise<void> {
    await this.host.end();
    this.host = new Child(this.network.host, "./host.ts");
    await this.start();
  }

  container(number: number): Child {
    const peer = new Child(this.network.container(number), "./peer.ts");
    this.#peers.push(peer);
    return peer;
  }

  /** Tells the host who container `number` is. */
  async introduce(...numbers: readonly number[]): Promise<void> {
    const links = await this.host.call<readonly Link[]>("links");
    for (const number of numbers) {
      await this.host.call("add", containerBehind(number, links));
    }
    await this.host.call(
      "setKnown",
      numbers.flatMap((number) => [`172.30.0.${number}`, `2001:db8:d0::${number}`]),
    );
  }

  state(): Promise<HostState> {
    return this.host.call<HostState>("state");
  }

  seen(): Promise<readonly Seen[]> {
    if (this.#internet === undefined) throw new Error("call serve first");
    return this.#internet.call<readonly Seen[]>("seen");
  }

  async remove(): Promise<void> {
    await Promise.all([this.host, this.#internet, ...this.#peers].map((child) => child?.end()));
    this.network.remove();
  }
}

/** Waits until `probe` gives something that `holds`, and returns it; throws with `what` when it takes too long. */
export async function until<Value>(
  what: string,
  probe: () => Promise<Value>,
  holds: (value: Value) => boolean,
  limit = 10_000,
): Promise<Value> {
  const end = performance.now() + limit;
  for (;;) {
    const value = await probe();
    if (holds(value)) return value;
    if (performance.now() > end) throw new Error(`${what}: still ${JSON.stringify(value)} after ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
