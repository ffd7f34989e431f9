/**
 * A host in memory for tests of the proxy: containers, a policy, upstreams, on the fake network and a clock that stands
 * still. Only TCP is real (on loopback).
 */
import { createServer } from "node:net";
import { formatAddress, parseAddress } from "../../src/address.ts";
import { ManualClock } from "../../src/clock.ts";
import { type DnsConfig, loadConfig } from "../../src/config.ts";
import { ContainerTable, type Resident } from "../../src/container/table.ts";
import type { Container } from "../../src/container/types.ts";
import { type DnsServer, startDns } from "../../src/dns/server.ts";
import type { UpstreamAddress } from "../../src/dns/upstream-server.ts";
import { wireToName } from "../../src/name.ts";
import { createFakeNative, type FakeNative } from "../../src/native/fake.ts";
import { Exemptions } from "../../src/policy/exemption.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type { PolicyFile } from "../../src/policy/schema.ts";
import type { FeedHit, FeedIndex, Finding, ModelView, Observation, Policy } from "../../src/policy/types.ts";
import { type QueryParts, query } from "./wire.ts";

export const BRIDGE = 7;
export const BRIDGE_ADDRESS = "172.17.0.1";

/** The default of tidesman.yaml, with what a test wants otherwise. */
export type ConfigChange = Partial<Omit<DnsConfig, "cache" | "tcp">> & {
  cache?: Partial<DnsConfig["cache"]>;
  tcp?: Partial<DnsConfig["tcp"]>;
};

export function dnsConfig(change: ConfigChange = {}): DnsConfig {
  const { dns } = loadConfig(null, "tidesman.yaml", "host");
  return {
    ...dns,
    rate: 1_000_000,
    ...change,
    cache: { ...dns.cache, size: 1 << 20, ...change.cache },
    tcp: { ...dns.tcp, ...change.tcp },
  };
}

/** A feed of names (each covers what is below it) and addresses. */
export function feedOf(feed: string, entries: readonly string[]): FeedIndex {
  const listed = new Set(entries);
  const hit = (entry: string, match: FeedHit["match"]): readonly FeedHit[] => [{ feed, entry, match }];
  return {
    domain(bytes, offset) {
      const labels = wireToName(bytes, offset).toLowerCase().split(".");
      for (let index = 0; index < labels.length; index++) {
        const entry = labels.slice(index).join(".");
        if (listed.has(entry)) return hit(entry, index === 0 ? "exact" : "suffix");
      }
      return [];
    },
    address(bytes, offset, length) {
      const entry = formatAddress(bytes, offset, length);
      return listed.has(entry) ? hit(entry, "address") : [];
    },
  };
}

export function model(key: string, learning: boolean, names: readonly string[] = []): ModelView {
  const known = new Set(names);
  return {
    key,
    state: learning ? "learning" : "active",
    learning,
    name(bytes, offset) {
      const name = wireToName(bytes, offset);
      return known.has(name) ? name : null;
    },
    outboundPort: () => false,
    listeningPort: () => false,
  };
}

export interface WorldOptions {
  readonly config?: ConfigChange;
  readonly upstreams?: readonly UpstreamAddress[];
  readonly policy?: PolicyFile;
  readonly feed?: readonly string[];
  readonly containers?: readonly string[];
}

export const UPSTREAM: UpstreamAddress = { address: "192.0.2.53", port: 53 };
export const SECOND: UpstreamAddress = { address: "192.0.2.54", port: 53 };

/** A question that an upstream was sent, and how to answer it. */
export interface Asked {
  readonly upstream: string;
  readonly message: Buffer;
  answer(message: Buffer): void;
}

export class World {
  readonly clock = new ManualClock(1_000_000);
  readonly native: FakeNative = createFakeNative(this.clock);
  readonly table = new ContainerTable();
  readonly findings: Finding[] = [];
  readonly observations: Observation[] = [];
  readonly unknown: string[] = [];
  readonly residents = new Map<string, Resident>();
  /** What upstreams were asked. */
  readonly asked: Asked[] = [];
  /** Plays the upstreams; by default they are silent. */
  onAsked: (asked: Asked) => void = () => undefined;
  models = new Map<string, ModelView>();
  dns!: DnsServer;
  config!: DnsConfig;
  policy!: Policy;
  feed: FeedIndex;
  readonly #exemptions = new Map<string, Exemptions>();
  #revision = 0;
  #port = 40_000;
  #inbox = new Map<number, Buffer[]>();

  private constructor(options: WorldOptions) {
    this.feed = feedOf("urlhaus", options.feed ?? []);
    this.native.network.onSend = ({ from, to, bytes }) => {
      const upstream = options.upstreams ?? [UPSTREAM];
      if (upstream.some(({ address, port }) => address === to.address && port === to.port)) {
        const asked = {
          upstream: to.address,
          message: Buffer.from(bytes),
          answer: (message: Buffer) =>
            void this.native.network.receive({ from: to, to: from, bytes: message }),
        };
        this.asked.push(asked);
        this.onAsked(asked);
        return;
      }
      const inbox = this.#inbox.get(to.port) ?? [];
      inbox.push(Buffer.from(bytes));
      this.#inbox.set(to.port, inbox);
    };
  }

  static async start(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    for (const name of options.containers ?? ["c1", "c2"]) world.add(name);
    world.load(options.policy ?? { version: 1, rules: [{ name: "all", dns: { effect: "alert" } }] });
    for (let attempt = 0; ; attempt++) {
      world.config = dnsConfig({ port: await freePort(), ...options.config });
      try {
        world.dns = await startDns({
          native: world.native,
          clock: world.clock,
          config: world.config,
          upstreams: options.upstreams ?? [UPSTREAM],
          table: world.table,
          policy: () => world.policy,
          serves: (index) => index === BRIDGE,
          bridgeAddress: (address) => (formatAddress(address) === "127.0.0.1" ? BRIDGE : 0),
          unknown: (source) => world.unknown.push(source),
          report: (finding, resident) => {
            world.findings.push(finding);
            if (finding.effect === "block") resident.cut = true;
          },
          observe: (observation) => world.observations.push(observation),
        });
        return world;
      } catch (error) {
        if (attempt > 5) throw error;
      }
    }
  }

  /** A running container; `c1` has the address 172.17.0.11, and 127.0.1.1 for real TCP. */
  add(name: string, startedAt = 1): Resident {
    const number = Number(name.replace(/\D/g, ""));
    const container: Container = {
      id: name,
      name,
      image: `docker.io/library/${name}:latest`,
      imageDigest: `sha256:${name}`,
      namespace: null,
      labels: {},
      state: "running",
      pid: 1000 + number,
      startedAt,
      networkNamespace: "",
      networks: [
        {
          id: "n",
          name: "bridge",
          bridge: "docker0",
          vethIndex: 100 + number,
          veth: `veth${number}`,
          addresses: [addressOf(name), `fd00::${number}`, `127.0.1.${number}`],
        },
      ],
      networkMode: "bridge",
    };
    const resident = this.table.upsert(container);
    this.residents.set(name, resident);
    if (this.policy !== undefined) this.#assign();
    return resident;
  }

  remove(name: string): void {
    const resident = this.table.remove(name);
    if (resident !== undefined) this.dns.forget(resident);
  }

  load(file: PolicyFile): void {
    this.policy = compilePolicy(file, this.feed, { revision: ++this.#revision, host: "host" });
    this.#assign();
  }

  /** Lets the container reach these for a time; none: it has no exemptions any more. */
  exempt(name: string, entries: readonly string[]): void {
    const id = this.residents.get(name)?.container.id ?? "";
    const until = this.clock.now() + 3_600_000;
    if (entries.length === 0) this.#exemptions.delete(id);
    else this.#exemptions.set(id, new Exemptions(entries.map((entry) => ({ entry, until }))));
    this.#assign();
  }

  /** Sends a message as the container would; returns the replies that it has by now. */
  send(container: string, message: Uint8Array, from = addressOf(container), on = BRIDGE): Buffer[] {
    const port = this.#port++;
    this.native.network.receive({
      from: { address: from, port },
      to: { address: from.includes(":") ? "fd00::ff" : BRIDGE_ADDRESS, port: this.config.port },
      bytes: message,
      interface: on,
    });
    // The same array grows when a reply comes later.
    const inbox = this.#inbox.get(port) ?? [];
    this.#inbox.set(port, inbox);
    return inbox;
  }

  ask(container: string, name: string, type = 1, parts: QueryParts = {}): Buffer[] {
    return this.send(container, query(name, type, parts));
  }

  names(container: string, address: string): readonly string[] {
    const bytes = parseAddress(address) ?? new Uint8Array(4);
    const resident = this.residents.get(container);
    if (resident === undefined) throw new Error(`no container ${container}`);
    return this.dns.names(resident, bytes, 0, bytes.length);
  }

  close(): Promise<void> {
    return this.dns.close();
  }

  #assign(): void {
    this.table.assign((container) =>
      this.policy.profileFor(
        container,
        this.models.get(container.id) ?? null,
        this.#exemptions.get(container.id) ?? null,
      ),
    );
  }
}

export function addressOf(container: string): string {
  return `172.17.0.${10 + Number(container.replace(/\D/g, ""))}`;
}

/** A TCP port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new Error("no port"));
      });
    });
  });
}
