/** The world of the conformance suite inside a network namespace of its own: real rules, real traffic over loopback. */
import { createSocket } from "node:dgram";
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FakeIpsetOptions } from "../../src/native/fake.ts";
import { loadNative } from "../../src/native/native.ts";
import type { Native } from "../../src/native/types.ts";
import { run, sh } from "./namespace.ts";
import { ADDRESSES, FLOW_PORT, PASSED_MARK, type Peer, QUEUE, type World } from "./world.ts";

/** Port of datagrams that go through the queue, and of those that only make a flow. */
export const QUEUED_PORT = 9001;

/** Addresses on loopback, and a rule per family that queues what comes to `QUEUED_PORT` and bears no mark. */
export function prepareNamespace(): void {
  for (const { first, second } of [ADDRESSES[4]]) {
    sh(`ip addr add ${first}/32 dev lo`);
    sh(`ip addr add ${second}/32 dev lo`);
  }
  for (const { first, second } of [ADDRESSES[6]]) {
    sh(`ip -6 addr add ${first}/128 dev lo nodad`);
    sh(`ip -6 addr add ${second}/128 dev lo nodad`);
  }
  for (const tool of ["iptables", "ip6tables"]) {
    sh(
      `${tool} -t mangle -A PREROUTING -i lo -p udp --dport ${QUEUED_PORT} -m mark --mark 0/${PASSED_MARK} ` +
        `-j NFQUEUE --queue-num ${QUEUE}`,
    );
    sh(`${tool} -t mangle -A OUTPUT -m conntrack --ctstate NEW -j MARK --set-mark 0`);
  }
}

function bound(family: 4 | 6, address: string, port: number): Promise<ReturnType<typeof createSocket>> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      ipv6Only: family === 6,
      recvBufferSize: 1 << 22,
    });
    socket.once("error", reject);
    socket.bind(port, address, () => resolve(socket));
  });
}

export class KernelWorld implements World {
  readonly native: Native = loadNative();
  readonly arrived: number[] = [];
  readonly #sockets: ReturnType<typeof createSocket>[] = [];
  readonly #senders = new Map<4 | 6, ReturnType<typeof createSocket>>();
  #links = 0;

  static async make(): Promise<KernelWorld> {
    prepareNamespace();
    const world = new KernelWorld();
    for (const family of [4, 6] as const) {
      const receiver = await bound(family, ADDRESSES[family].second, QUEUED_PORT);
      receiver.on("message", (bytes) => world.arrived.push(bytes[0]!));
      const sender = await bound(family, ADDRESSES[family].first, 0);
      world.#sockets.push(receiver, sender);
      world.#senders.set(family, sender);
    }
    return world;
  }

  sendPacket(family: 4 | 6, payload: Uint8Array): void {
    this.#senders.get(family)!.send(payload, QUEUED_PORT, ADDRESSES[family].second);
  }

  async peer(family: 4 | 6): Promise<Peer> {
    const socket = await bound(family, ADDRESSES[family].second, 0);
    const received: { bytes: Uint8Array; address: string; port: number }[] = [];
    socket.on("message", (bytes, { address, port }) => {
      received.push({ bytes: Uint8Array.from(bytes), address, port });
    });
    return {
      port: socket.address().port,
      received,
      send: (bytes, address, port) => socket.send(bytes, port, address),
      close: () => socket.close(),
    };
  }

  createIpset(name: string, options: FakeIpsetOptions): void {
    const timeout = options.timeout === undefined ? "" : ` timeout ${options.timeout}`;
    sh(`ipset create ${name} ${options.type} family ${options.family === 4 ? "inet" : "inet6"}${timeout}`);
  }

  ipsetEntries(name: string): string[] {
    const lines = run("ipset", "save", name).split("\n");
    return lines.flatMap((line) => /^add \S+ (\S+)/.exec(line)?.[1] ?? []).sort();
  }

  async makeFlow(family: 4 | 6, mark: number): Promise<void> {
    const sender = this.#senders.get(family)!;
    await new Promise((resolve) => sender.send("x", FLOW_PORT, ADDRESSES[family].second, resolve));
    // Other flows of the suite have the same addresses: only this one may stand.
    for (const direction of ["-s", "-d"]) {
      this.#conntrack(family, ["-D", direction, ADDRESSES[family].first]);
    }
    await new Promise((resolve) => sender.send("x", FLOW_PORT, ADDRESSES[family].second, resolve));
    this.#conntrack(family, ["-U", "-s", ADDRESSES[family].first, "--mark", String(mark)]);
  }

  flowSource(family: 4 | 6): number {
    return this.#senders.get(family)!.address().port;
  }

  async answerFlow(family: 4 | 6): Promise<void> {
    const socket = await bound(family, ADDRESSES[family].second, FLOW_PORT);
    const port = this.flowSource(family);
    await new Promise((resolve) => socket.send("y", port, ADDRESSES[family].first, resolve));
    socket.close();
  }

  flowMark(family: 4 | 6): number | undefined {
    const listed = this.#conntrack(family, ["-L", "-s", ADDRESSES[family].first]);
    const mark = /mark=(\d+)/.exec(listed)?.[1];
    return mark === undefined ? undefined : Number(mark);
  }

  readonly namespace = "/proc/self/ns/net";

  async listen(
    family: 4 | 6,
    kind: "tcp" | "udp" | "connected",
  ): Promise<{ readonly port: number; close(): void }> {
    const { first, second } = ADDRESSES[family];
    if (kind === "tcp") {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: first, port: 0 }, resolve);
      });
      const bound = server.address();
      if (bound === null || typeof bound === "string") throw new Error("no port was bound");
      return { port: bound.port, close: () => server.close() };
    }
    const socket = await bound(family, first, 0);
    if (kind === "connected") {
      await new Promise<void>((resolve) => socket.connect(FLOW_PORT, second, resolve));
    }
    return { port: socket.address().port, close: () => socket.close() };
  }

  readable(): { readonly descriptor: number; write(): void; close(): void } {
    const directory = mkdtempSync(join(tmpdir(), "tm-readable-"));
    const path = join(directory, "pipe");
    run("mkfifo", path);
    const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    return {
      descriptor,
      write: () => {
        writeSync(descriptor, "x");
      },
      close: () => {
        closeSync(descriptor);
        rmSync(directory, { recursive: true });
      },
    };
  }

  changeLinks(): void {
    sh(`ip link add tm${this.#links++} type veth peer name tm${this.#links++}`);
  }

  spareLink(): number {
    this.changeLinks();
    const name = `tm${this.#links - 1}`;
    return this.native.links().find((link) => link.name === name)?.index ?? 0;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  /** conntrack exits with 1 when nothing matched. */
  #conntrack(family: 4 | 6, parameters: readonly string[]): string {
    try {
      return run("conntrack", "-f", family === 4 ? "ipv4" : "ipv6", ...parameters);
    } catch (error) {
      if (error instanceof Error && "status" in error && error.status === 1) return "";
      throw error;
    }
  }
}
