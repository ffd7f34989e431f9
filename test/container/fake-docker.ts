/**
 * A container engine for tests: speaks the Docker Engine API over HTTP on a real unix socket, keeps containers, networks
 * and their interfaces in memory (the interfaces in a fake `Native`), and misbehaves when told to.
 *
 * As dockerd does, it holds an inspect back while the container is being started, hands out the lowest free address of a
 * network (so addresses are used again at once), and lists containers from a copy that is always at hand.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";
import { createFakeNative, type FakeNative } from "../../src/native/fake.ts";
import type { Link } from "../../src/native/types.ts";

interface FakeEndpoint {
  network: FakeNetwork;
  ipv4: string;
  ipv6: string;
  hardwareAddress: string;
  hostIndex: number;
  innerIndex: number;
  /** False until the container's namespace exists: addresses are assigned before. */
  plugged: boolean;
}

export interface FakeContainer {
  readonly id: string;
  name: string;
  readonly image: string;
  readonly labels: Record<string, string>;
  readonly networkMode: string;
  readonly networks: Set<string>;
  status: "created" | "running" | "paused" | "exited";
  starting: boolean;
  pid: number;
  startedAt: number;
  sandbox: string;
  restartPolicy: { Name: string; MaximumRetryCount: number };
  readonly endpoints: Map<string, FakeEndpoint>;
}

export interface FakeNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly bridge: string;
  readonly bridgeIndex: number;
  /** `172.20.3`: a /24. */
  readonly prefix: string;
  readonly ipv6: boolean;
}

/** A container that runs, as a registry should know it. */
export interface Expected {
  readonly name: string;
  readonly state: string;
  readonly startedAt: number;
  readonly networks: readonly {
    readonly name: string;
    readonly bridge: string;
    readonly vethIndex: number;
    readonly addresses: readonly string[];
  }[];
}

interface Fault {
  readonly match: RegExp;
  times: number;
  readonly act: (response: ServerResponse) => Promise<boolean>;
}

export class FakeDocker {
  readonly native: FakeNative = createFakeNative();
  readonly socket: string;
  readonly namespaceDirectory: string;
  /** `GET /v1.41/containers/json?all=1`, … in order. */
  readonly requests: string[] = [];
  readonly containers = new Map<string, FakeContainer>();
  readonly networks = new Map<string, FakeNetwork>();
  readonly images = new Map<string, { Id: string; RepoTags: string[]; RepoDigests: string[] }>();
  version: Record<string, unknown> = { ApiVersion: "1.41", MinAPIVersion: "1.12" };
  /** Called when `POST kill` reaches a container; default: it dies. */
  onKill: (container: FakeContainer) => void = (container) => this.die(container.id);
  /** While true nothing is told, though everything happens. */
  muted = false;
  readonly #directory: string;
  #server: Server | null = null;
  readonly #connections = new Set<Socket>();
  readonly #streams = new Set<ServerResponse>();
  readonly #history: { time: bigint; line: string }[] = [];
  readonly #faults: Fault[] = [];
  /** Waited for between making an answer and sending it: it is old when it arrives. */
  late: (question: string) => Promise<void> = () => Promise.resolve();
  readonly #waiting = new Map<string, (() => void)[]>();
  #time = 1_795_503_185_000_000_000n;
  #serial = 0;
  #index = 100;

  /** `directory`: an empty one for the socket and the namespaces; short, since the path of a socket is limited. */
  constructor(directory: string) {
    this.#directory = directory;
    this.socket = join(directory, "docker.sock");
    this.namespaceDirectory = join(directory, "netns");
    mkdirSync(this.namespaceDirectory, { recursive: true });
    this.addNetwork("bridge", { bridge: "docker0" });
    this.addNetwork("host", { driver: "host" });
    this.addNetwork("none", { driver: "null" });
  }

  /** Listens on the socket; also again, after `close`. */
  listen(): Promise<void> {
    rmSync(this.socket, { force: true });
    const server = createServer((request, response) => {
      void this.#answer(request, response);
    });
    server.on("connection", (socket) => {
      this.#connections.add(socket);
      socket.on("close", () => this.#connections.delete(socket));
    });
    this.#server = server;
    return new Promise((resolve) => server.listen(this.socket, resolve));
  }

  /** As when dockerd ends: connections break, the socket file goes. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#connections) socket.destroy();
    this.#streams.clear();
    await closed;
    rmSync(this.socket, { force: true });
  }

  // ---------------------------------------------------------------------------------------------- misbehaviour

  /** Answers the next `times` requests that match with `status`. Matched against `GET /containers/json?…`. */
  fail(match: RegExp, status: number, times = 1): void {
    this.#faults.push({
      match,
      times,
      act: async (response) => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify({ message: `made to fail with ${status}` }));
        return true;
      },
    });
  }

  /** Lets the next `times` requests that match wait for `until`. */
  delay(match: RegExp, until: () => Promise<void>, times = 1): void {
    this.#faults.push({
      match,
      times,
      act: async () => {
        await until();
        return false;
      },
    });
  }

  /** Answers the next request that matches with `body` as it stands. */
  garble(match: RegExp, body: string): void {
    this.#faults.push({
      match,
      times: 1,
      act: async (response) => {
        response.end(body);
        return true;
      },
    });
  }

  /** Ends the event streams; `rest`: bytes written before. */
  breakEvents(rest = ""): void {
    for (const stream of this.#streams) {
      if (rest !== "") stream.write(rest);
      stream.end();
    }
    this.#streams.clear();
  }

  /** Has no past to tell any more: as a dockerd that was started again. */
  forgetEvents(): void {
    this.#history.length = 0;
  }

  get listeners(): number {
    return this.#streams.size;
  }

  // ---------------------------------------------------------------------------------------------- networks

  addNetwork(name: string, options: { bridge?: string; driver?: string; ipv6?: boolean } = {}): FakeNetwork {
    const id = this.#identifier();
    const driver = options.driver ?? "bridge";
    const network: FakeNetwork = {
      id,
      name,
      driver,
      bridge: driver === "bridge" ? (options.bridge ?? `br-${id.slice(0, 12)}`) : "",
      bridgeIndex: driver === "bridge" ? ++this.#index : 0,
      prefix: `172.20.${this.networks.size}`,
      ipv6: options.ipv6 ?? false,
    };
    this.networks.set(id, network);
    this.#plug();
    this.#emit("network", "create", id, { name, type: driver });
    return network;
  }

  removeNetwork(id: string): void {
    const network = this.networks.get(id);
    if (network === undefined) return;
    for (const { endpoints } of this.containers.values()) if (endpoints.has(id)) return;
    this.networks.delete(id);
    for (const { networks } of this.containers.values()) networks.delete(id);
    this.#plug();
    this.#emit("network", "destroy", id, { name: network.name, type: network.driver });
  }

  network(name: string): FakeNetwork {
    const network = [...this.networks.values()].find((each) => each.name === name);
    if (network === undefined) throw new Error(`no fake network \`${name}\``);
    return network;
  }

  // ---------------------------------------------------------------------------------------------- containers

  create(
    name: string,
    options: {
      image?: string;
      labels?: Record<string, string>;
      networkMode?: string;
      networks?: readonly string[];
    } = {},
  ): FakeContainer {
    const image = options.image ?? "nginx";
    if (!this.images.has(image)) {
      const hash = this.#identifier();
      this.images.set(image, {
        Id: `sha256:${hash}`,
        RepoTags: [`${image}:latest`],
        RepoDigests: [`${image}@sha256:${hash.split("").reverse().join("")}`],
      });
    }
    const mode = options.networkMode ?? "default";
    const joined = options.networks ?? (mode === "default" ? ["bridge"] : mode === "host" ? ["host"] : []);
    const container: FakeContainer = {
      id: this.#identifier(),
      name,
      image,
      labels: options.labels ?? {},
      networkMode: mode,
      networks: new Set(joined.map((each) => this.network(each).id)),
      status: "created",
      starting: false,
      pid: 0,
      startedAt: 0,
      sandbox: "",
      restartPolicy: { Name: "no", MaximumRetryCount: 0 },
      endpoints: new Map(),
    };
    this.containers.set(container.id, container);
    this.#emitContainer(container, "create");
    return container;
  }

  /** First half of a start: networks are joined, the namespace is there, inspect is held back. */
  join(id: string): void {
    const container = this.#get(id);
    if (container.status === "running" || container.status === "paused" || container.starting) return;
    container.starting = true;
    for (const networkId of container.networks) this.#attach(container, networkId);
    this.plug(id);
  }

  /** The namespace of a joining container appears; `join` does it unless `addresses` came first. */
  plug(id: string): void {
    const container = this.#get(id);
    if (container.networkMode === "host" || container.networkMode.startsWith("container:")) return;
    if (container.sandbox === "") {
      container.sandbox = join(this.namespaceDirectory, this.#identifier().slice(0, 12));
      writeFileSync(container.sandbox, "");
    }
    for (const endpoint of container.endpoints.values()) endpoint.plugged = true;
    this.#plug();
  }

  /** Second half: it runs. */
  run(id: string): void {
    const container = this.#get(id);
    if (!container.starting) return;
    container.starting = false;
    container.status = "running";
    container.pid = 1_000_000_000 + ++this.#serial;
    container.startedAt = 1_795_503_185_000 + this.#serial * 1_000;
    this.#emitContainer(container, "start");
    for (const resume of this.#waiting.get(id)?.splice(0) ?? []) resume();
  }

  start(id: string): void {
    this.join(id);
    this.run(id);
  }

  die(id: string): void {
    const container = this.#get(id);
    if (container.status !== "running" && container.status !== "paused") return;
    container.status = "exited";
    container.pid = 0;
    this.#emitContainer(container, "die", { exitCode: "137" });
    for (const networkId of [...container.endpoints.keys()]) this.#detach(container, networkId);
    rmSync(container.sandbox, { force: true });
    container.sandbox = "";
    this.#plug();
  }

  restart(id: string): void {
    this.die(id);
    this.start(id);
  }

  pause(id: string): void {
    const container = this.#get(id);
    if (container.status !== "running") return;
    container.status = "paused";
    this.#emitContainer(container, "pause");
  }

  unpause(id: string): void {
    const container = this.#get(id);
    if (container.status !== "paused") return;
    container.status = "running";
    this.#emitContainer(container, "unpause");
  }

  rename(id: string, name: string): void {
    const container = this.#get(id);
    const oldName = `/${container.name}`;
    container.name = name;
    this.#emitContainer(container, "rename", { oldName });
  }

  connect(id: string, networkId: string): void {
    const container = this.#get(id);
    if (container.networkMode !== "default" || container.starting || container.networks.has(networkId))
      return;
    container.networks.add(networkId);
    if (container.pid === 0) return;
    this.#attach(container, networkId);
    this.plug(id);
  }

  disconnect(id: string, networkId: string): void {
    const container = this.#get(id);
    if (container.starting || !container.networks.delete(networkId)) return;
    if (container.pid === 0) return;
    this.#detach(container, networkId);
    this.#plug();
  }

  remove(id: string): void {
    const container = this.#get(id);
    if (container.starting) this.run(id);
    this.die(id);
    this.containers.delete(id);
    this.#emitContainer(container, "destroy");
  }

  /** What a registry should know: containers that run, by id. */
  expected(): Map<string, Expected> {
    const expected = new Map<string, Expected>();
    for (const container of this.containers.values()) {
      if (container.pid === 0) continue;
      const networks = [...container.endpoints.values()]
        .filter(({ network }) => network.driver === "bridge")
        .map(({ network, hostIndex, ipv4, ipv6 }) => ({
          name: network.name,
          bridge: network.bridge,
          vethIndex: hostIndex,
          addresses: [ipv4, ...(ipv6 === "" ? [] : [ipv6]), linkLocal(hostIndex)],
        }));
      const { name, status: state, startedAt } = container;
      expected.set(container.id, { name, state, startedAt, networks });
    }
    return expected;
  }

  // ---------------------------------------------------------------------------------------------- interfaces

  #get(id: string): FakeContainer {
    const container = this.containers.get(id);
    if (container === undefined) throw new Error(`no fake container \`${id}\``);
    return container;
  }

  #attach(container: FakeContainer, networkId: string): void {
    const network = this.networks.get(networkId);
    if (network === undefined) return;
    const taken = new Set<string>();
    for (const { endpoints } of this.containers.values()) {
      const endpoint = endpoints.get(networkId);
      if (endpoint !== undefined) taken.add(endpoint.ipv4);
    }
    let host = 2;
    while (taken.has(`${network.prefix}.${host}`)) host++;
    const bridged = network.driver === "bridge";
    container.endpoints.set(networkId, {
      network,
      ipv4: bridged ? `${network.prefix}.${host}` : "",
      ipv6: bridged && network.ipv6 ? `2001:db8:${network.prefix.split(".")[2]}::${host.toString(16)}` : "",
      hardwareAddress: bridged ? `02:42:ac:14:${hex(Number(network.prefix.split(".")[2]))}:${hex(host)}` : "",
      hostIndex: bridged ? ++this.#index : 0,
      innerIndex: bridged ? ++this.#index : 0,
      plugged: false,
    });
    this.#emit("network", "connect", networkId, {
      container: container.id,
      name: network.name,
      type: network.driver,
    });
  }

  #detach(container: FakeContainer, networkId: string): void {
    const endpoint = container.endpoints.get(networkId);
    if (endpoint === undefined) return;
    container.endpoints.delete(networkId);
    this.#emit("network", "disconnect", networkId, {
      container: container.id,
      name: endpoint.network.name,
      type: endpoint.network.driver,
    });
  }

  /** Tells the fake kernel which interfaces there are. */
  #plug(): void {
    const host: Link[] = [link({ index: 1, name: "lo" })];
    for (const { bridge, bridgeIndex, prefix } of this.networks.values()) {
      if (bridge === "") continue;
      host.push(link({ index: bridgeIndex, name: bridge, kind: "bridge", addresses: [`${prefix}.1/24`] }));
    }
    for (const container of this.containers.values()) {
      const inside: Link[] = [link({ index: 1, name: "lo", addresses: ["127.0.0.1/8"] })];
      for (const endpoint of container.endpoints.values()) {
        const { network, hostIndex, innerIndex, ipv4, ipv6, hardwareAddress } = endpoint;
        if (hostIndex === 0 || !endpoint.plugged) continue;
        const master = network.bridgeIndex;
        const up = !this.#isDown(hostIndex);
        host.push(
          link({ index: hostIndex, name: `veth${hostIndex}`, kind: "veth", peer: innerIndex, master, up }),
        );
        const addresses = [`${ipv4}/24`, `${linkLocal(hostIndex)}/64`];
        if (ipv6 !== "") addresses.push(`${ipv6}/64`);
        inside.push(
          link({
            index: innerIndex,
            name: "eth0",
            kind: "veth",
            peer: hostIndex,
            hardwareAddress,
            addresses,
          }),
        );
      }
      if (container.sandbox !== "") this.native.setLinks(inside, container.sandbox);
    }
    this.native.setLinks(host);
  }

  /** Whether the host's end of a veth was set down, and not up again. */
  #isDown(hostIndex: number): boolean {
    const last = this.native.calls.findLast(([call, index]) => call === "setLink" && index === hostIndex);
    return last !== undefined && last[2] === 0;
  }

  // ---------------------------------------------------------------------------------------------- HTTP

  #identifier(): string {
    return createHash("sha256")
      .update(String(++this.#serial))
      .digest("hex");
  }

  #emitContainer(container: FakeContainer, action: string, more: Record<string, string> = {}): void {
    this.#emit("container", action, container.id, { image: container.image, name: container.name, ...more });
  }

  #emit(type: string, action: string, id: string, attributes: Record<string, string>): void {
    if (this.muted) return;
    this.#time += 1_000_003n;
    const seconds = this.#time / 1_000_000_000n;
    const actor = JSON.stringify({ ID: id, Attributes: attributes });
    const line = `{"Type":"${type}","Action":"${action}","Actor":${actor},"scope":"local","time":${seconds},"timeNano":${this.#time}}\n`;
    this.#history.push({ time: this.#time, line });
    // In two pieces, since nothing promises that an event arrives whole.
    for (const stream of this.#streams) {
      stream.write(line.slice(0, 25));
      stream.write(line.slice(25));
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://docker");
    const path = url.pathname.replace(/^\/v\d+\.\d+/, "");
    this.requests.push(`${request.method} ${request.url}`);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    for (const fault of this.#faults) {
      if (fault.times <= 0 || !fault.match.test(`${request.method} ${path}${url.search}`)) continue;
      fault.times--;
      if (await fault.act(response)) return;
    }
    const send = (value: unknown, status = 200): void => {
      const body = value === null ? "" : JSON.stringify(value);
      void this.late(`${request.method} ${path}`).then(() => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(body);
      });
    };
    const missing = (): void => send({ message: `No such object: ${path}` }, 404);
    const parts = path.split("/").slice(1).map(decodeURIComponent);
    if (path === "/version") send(this.version);
    else if (path === "/events") this.#subscribe(url, response);
    else if (path === "/containers/json") {
      const filters = JSON.parse(url.searchParams.get("filters") ?? "{}") as { id?: string[] };
      const rows = [...this.containers.values()].filter(({ id }) => filters.id?.includes(id) ?? true);
      send(rows.map((container) => this.#summary(container)));
    } else if (path === "/networks")
      send([...this.networks.values()].map((each) => this.#describe(each, false)));
    else if (parts[0] === "networks") {
      const network = this.networks.get(parts[1] ?? "");
      if (network === undefined) missing();
      else send(this.#describe(network, true));
    } else if (parts[0] === "images") {
      const image = [...this.images.values()].find(({ Id }) => Id === parts[1]);
      if (image === undefined) missing();
      else send(image);
    } else if (parts[0] === "containers") {
      const id = parts[1] ?? "";
      while (this.containers.get(id)?.starting) {
        await new Promise<void>((resolve) => {
          this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), resolve]);
        });
      }
      const container = this.containers.get(id);
      if (container === undefined) missing();
      else if (request.method === "GET") send(this.#inspect(container));
      else this.#command(container, parts[2] ?? "", Buffer.concat(chunks).toString(), send);
    } else missing();
  }

  #command(
    container: FakeContainer,
    action: string,
    body: string,
    send: (value: unknown, status?: number) => void,
  ): void {
    const { id } = container;
    const refuse = (state: string): void => send({ message: `Container ${id} is ${state}` }, 409);
    if (action === "update") {
      container.restartPolicy = (
        JSON.parse(body) as { RestartPolicy: FakeContainer["restartPolicy"] }
      ).RestartPolicy;
      send({ Warnings: null });
    } else if (action === "start") {
      const runs = container.pid !== 0;
      this.start(id);
      send(null, runs ? 304 : 204);
    } else if (container.pid === 0) refuse("not running");
    else if (action === "kill") {
      this.onKill(container);
      send(null, 204);
    } else if (action === "pause" || action === "unpause") {
      if ((container.status === "paused") === (action === "pause")) refuse(`already ${action}d`);
      else {
        this[action](id);
        send(null, 204);
      }
    } else send({ message: "page not found" }, 404);
  }

  #subscribe(url: URL, response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const [seconds, nano = ""] = (url.searchParams.get("since") ?? "").split(".");
    if (seconds) {
      const since = BigInt(seconds) * 1_000_000_000n + BigInt(nano.padEnd(9, "0"));
      for (const { time, line } of this.#history) if (time >= since) response.write(line);
    }
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
  }

  #summary(container: FakeContainer): Record<string, unknown> {
    const image = this.images.get(container.image);
    return {
      Id: container.id,
      Names: [`/other/${container.name}-alias`, `/${container.name}`],
      Image: container.image,
      ImageID: image?.Id ?? "",
      Labels: container.labels,
      State: container.status,
      HostConfig: { NetworkMode: container.networkMode },
      NetworkSettings: { Networks: this.#endpoints(container) },
    };
  }

  #inspect(container: FakeContainer): Record<string, unknown> {
    const image = this.images.get(container.image);
    const running = container.pid !== 0;
    return {
      Id: container.id,
      Name: `/${container.name}`,
      Image: image?.Id ?? "",
      State: {
        Status: container.status,
        Running: running,
        Paused: container.status === "paused",
        Restarting: false,
        Pid: container.pid,
        StartedAt:
          container.startedAt === 0 ? "0001-01-01T00:00:00Z" : new Date(container.startedAt).toISOString(),
      },
      Config: { Image: container.image, Labels: container.labels },
      HostConfig: {
        NetworkMode: container.networkMode,
        RestartPolicy: container.restartPolicy,
        AutoRemove: false,
      },
      NetworkSettings: { SandboxKey: container.sandbox, Networks: this.#endpoints(container) },
    };
  }

  #endpoints(container: FakeContainer): Record<string, unknown> {
    const networks: Record<string, unknown> = {};
    for (const id of container.networks) {
      const name = this.networks.get(id)?.name;
      if (name === undefined) continue;
      const endpoint = container.pid === 0 ? undefined : container.endpoints.get(id);
      networks[name] = {
        NetworkID: endpoint === undefined ? "" : id,
        MacAddress: endpoint?.hardwareAddress ?? "",
        IPAddress: endpoint?.ipv4 ?? "",
        GlobalIPv6Address: endpoint?.ipv6 ?? "",
      };
    }
    return networks;
  }

  #describe(network: FakeNetwork, withContainers: boolean): Record<string, unknown> {
    const containers: Record<string, unknown> = {};
    for (const { id, name, endpoints } of withContainers ? this.containers.values() : []) {
      const endpoint = endpoints.get(network.id);
      if (endpoint === undefined || endpoint.ipv4 === "") continue;
      containers[id] = {
        Name: name,
        MacAddress: endpoint.hardwareAddress,
        IPv4Address: `${endpoint.ipv4}/24`,
        IPv6Address: endpoint.ipv6 === "" ? "" : `${endpoint.ipv6}/64`,
      };
    }
    const pools = [{ Subnet: `${network.prefix}.0/24`, Gateway: `${network.prefix}.1` }];
    if (network.ipv6) {
      const subnet = `2001:db8:${network.prefix.split(".")[2]}::`;
      pools.push({ Subnet: `${subnet}/64`, Gateway: `${subnet}1` });
    }
    return {
      Id: network.id,
      Name: network.name,
      Driver: network.driver,
      Options: network.bridge === "docker0" ? { "com.docker.network.bridge.name": "docker0" } : null,
      IPAM: { Config: network.driver === "bridge" ? pools : null },
      Containers: containers,
    };
  }

  /** Removes its files. */
  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function link(given: Partial<Link> & Pick<Link, "index" | "name">): Link {
  return {
    peer: 0,
    master: 0,
    kind: "",
    up: true,
    hardwareAddress: "",
    addresses: [],
    ...given,
  };
}

function linkLocal(index: number): string {
  return `fe80::${index.toString(16)}`;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, "0");
}
