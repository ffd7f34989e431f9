import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { TidesmanError } from "../../src/errors.ts";
import { createFakeNative, type FakeListener, type FakeNative } from "../../src/native/fake.ts";
import type { FakeVerdict } from "../../src/native/fake-queue.ts";
import type { Link } from "../../src/native/types.ts";
import { NF } from "../../src/native/types.ts";
import { conformance } from "./conformance.ts";
import { ADDRESSES, FLOW_PORT, PASSED_MARK, type Peer, QUEUE, type World } from "./world.ts";

const LO: Link = {
  index: 1,
  name: "lo",
  peer: 0,
  master: 0,
  kind: "",
  up: true,
  hardwareAddress: "00:00:00:00:00:00",
  addresses: [`${ADDRESSES[4].first}/32`, `${ADDRESSES[6].first}/128`],
};

/** Source port of the flow of `makeFlow`. */
const FLOW_SOURCE = 40_001;

/** An IP header of the family without addresses or checksums, a UDP header, the payload. */
function datagram(family: 4 | 6, payload: Uint8Array): Uint8Array {
  const header = family === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + 8 + payload.length);
  bytes[0] = family === 4 ? 0x45 : 0x60;
  bytes.set(payload, header + 8);
  return bytes;
}

class FakeWorld implements World {
  readonly native: FakeNative = createFakeNative(new ManualClock());
  readonly #passed: number[] = [];
  /** Verdicts of each queue that were looked at, and the tags of its packets. */
  readonly #tags = new Map<FakeVerdict[], { looked: number; tags: Map<number, number> }>();

  constructor() {
    this.native.setLinks([LO]);
    this.native.setListeners(this.namespace, []);
  }

  sendPacket(family: 4 | 6, payload: Uint8Array): void {
    const queue = this.native.queue(QUEUE);
    let known = this.#tags.get(queue.decided);
    if (known === undefined) {
      known = { looked: 0, tags: new Map() };
      this.#tags.set(queue.decided, known);
    }
    const [id = 0] = queue.deliver({ payload: datagram(family, payload), inDevice: 1 });
    known.tags.set(id, payload[0]!);
  }

  get arrived(): readonly number[] {
    for (const [decided, known] of this.#tags) {
      for (const { id, code, mark } of decided.slice(known.looked)) {
        const passes = code === NF.ACCEPT || (code === NF.REPEAT && mark === PASSED_MARK);
        if (passes) this.#passed.push(known.tags.get(id)!);
      }
      known.looked = decided.length;
    }
    return this.#passed;
  }

  async peer(family: 4 | 6): Promise<Peer> {
    const { network } = this.native;
    const address = ADDRESSES[family].second;
    const port = 40_000 + Math.floor(network.sent.length + this.#peers++);
    const from = network.sent.length;
    return {
      port,
      get received() {
        return network.sent
          .slice(from)
          .filter(({ to }) => to.address === address && to.port === port)
          .map(({ bytes, from }) => ({ bytes, address: from.address, port: from.port }));
      },
      send(bytes, to, toPort) {
        network.receive({ from: { address, port }, to: { address: to, port: toPort }, bytes, interface: 1 });
      },
      close: () => undefined,
    };
  }
  #peers = 0;

  createIpset(name: string, options: Parameters<FakeNative["createIpset"]>[1]): void {
    this.native.createIpset(name, options);
  }

  ipsetEntries(name: string): string[] {
    return this.native.ipsetEntries(name).sort();
  }

  async makeFlow(family: 4 | 6, mark: number): Promise<void> {
    const { first: source, second: destination } = ADDRESSES[family];
    const flow = { source, destination, port: FLOW_PORT, protocol: 17, sourcePort: FLOW_SOURCE, mark };
    this.native.flows.push(flow);
  }

  flowSource(): number {
    return FLOW_SOURCE;
  }

  async answerFlow(family: 4 | 6): Promise<void> {
    const { flows } = this.native;
    const index = flows.findIndex(({ source }) => source === ADDRESSES[family].first);
    flows.splice(index, 1, { ...flows[index]!, answered: true });
  }

  flowMark(family: 4 | 6): number | undefined {
    return this.native.flows.find(({ source }) => source === ADDRESSES[family].first)?.mark;
  }

  readonly namespace = "/proc/7/ns/net";
  #listeners: readonly FakeListener[] = [];

  async listen(
    family: 4 | 6,
    kind: "tcp" | "udp" | "connected",
  ): Promise<{ readonly port: number; close(): void }> {
    const port = 50_000 + this.#peers++;
    const listener: FakeListener = {
      protocol: kind === "tcp" ? 6 : 17,
      address: ADDRESSES[family].first,
      port,
      inode: port,
      uid: process.getuid?.() ?? 0,
    };
    const set = (listeners: readonly FakeListener[]): void => {
      this.#listeners = listeners;
      this.native.setListeners(this.namespace, listeners);
    };
    if (kind !== "connected") set([...this.#listeners, listener]);
    return { port, close: () => set(this.#listeners.filter((other) => other !== listener)) };
  }

  readable(): { readonly descriptor: number; write(): void; close(): void } {
    return { descriptor: 9, write: () => this.native.makeReadable(9), close: () => undefined };
  }

  changeLinks(): void {
    this.native.setLinks([LO]);
  }

  spareLink(): number {
    this.native.setLinks([LO, { ...LO, index: 2, name: "spare", kind: "veth", up: false, addresses: [] }]);
    return 2;
  }

  close(): void {}
}

const world = new FakeWorld();
conformance(t, world);

t.test("entries of ipsets end by the clock", async (t) => {
  const clock = new ManualClock();
  const fake = createFakeNative(clock);
  fake.createIpset("s", { family: 4, type: "hash:ip", timeout: 10 });
  fake.ipsetAdd("s", "198.51.100.1");
  fake.ipsetAdd("s", "198.51.100.2", 20);
  fake.ipsetAdd("s", "198.51.100.3", 0);
  clock.advance(10_000);
  t.strictSame(fake.ipsetEntries("s"), ["198.51.100.2", "198.51.100.3"]);
  fake.ipsetAdd("s", "198.51.100.2", 20);
  clock.advance(19_999);
  t.strictSame(fake.ipsetEntries("s"), ["198.51.100.2", "198.51.100.3"], "renewed");
});

t.test("a full queue decides by the fail-open flag", async (t) => {
  for (const failOpen of [true, false]) {
    const fake = createFakeNative();
    const options = {
      queue: 1,
      copyRange: 64,
      maxLength: 2,
      conntrack: true,
      batch: 8,
      receiveBuffer: 65_536,
    };
    const queue = fake.openPacketQueue({ ...options, failOpen, failVerdict: NF.DROP }, (count) => {
      for (let row = 0; row < count; row++) queue.verdicts[row * 3] = NF.PENDING;
    });
    const packet = { payload: datagram(4, Uint8Array.of(1)) };
    fake.queue(1).deliver(packet, packet, packet);
    t.equal(fake.queue(1).held.size, 2);
    t.equal(fake.queue(1).verdictOf(3)?.code, failOpen ? NF.ACCEPT : NF.DROP);
  }
});

t.test("failures are injected once, calls are recorded, a refusing peer is counted", async (t) => {
  const fake = createFakeNative();
  fake.createIpset("s", { family: 4, type: "hash:ip" });
  fake.failNext("ipsetAdd", new TidesmanError("TM_NATIVE_IPSET", "full"));
  t.throws(() => fake.ipsetAdd("s", "198.51.100.1"), { code: "TM_NATIVE_IPSET" });
  fake.ipsetAdd("s", "198.51.100.1");
  fake.connections.set("/proc/7/ns/net", 3);
  t.equal(fake.resetConnections("/proc/7/ns/net"), 3);
  t.strictSame(fake.calls, [
    ["ipsetAdd", "s", "198.51.100.1", undefined],
    ["ipsetAdd", "s", "198.51.100.1", undefined],
    ["resetConnections", "/proc/7/ns/net"],
  ]);
  const arena = fake.openUdpArena({ slots: 4, slotSize: 64, maxSends: 4, rounds: 1 }, () => undefined);
  const peer = { address: "198.51.100.53", port: 53 };
  const socket = arena.open({
    family: 4,
    address: "0.0.0.0",
    port: 0,
    firstSlot: 0,
    batch: 4,
    buffer: 65_536,
    peer,
  });
  fake.network.refuse(peer);
  t.equal(socket.refused, 1);
  t.equal(arena.stats().refused, 1);
});
