/** Run by native.test.ts inside a network namespace: much traffic, full queues, full buffers. */
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import t from "tap";
import { loadNative } from "../../src/native/native.ts";
import type { PacketQueue, PacketQueueOptions } from "../../src/native/types.ts";
import { NF, PACKET, VERDICT } from "../../src/native/types.ts";
import { FLOOD_PORT, FLOOD_PORTS, FLOOD_QUEUE, Flood } from "./flood.ts";
import { prepareNamespace } from "./kernel-world.ts";
import { makeNamespace, run, sh } from "./namespace.ts";
import { PASSED_MARK, until } from "./world.ts";

prepareNamespace();
const ports = `${FLOOD_PORT}:${FLOOD_PORT + FLOOD_PORTS - 1}`;
sh(`iptables -t raw -A PREROUTING -p udp --dport ${ports} -m comment --comment sent`);
sh(
  `iptables -t mangle -A PREROUTING -p udp --dport ${ports} -m mark --mark 0/1 -j NFQUEUE --queue-num ${FLOOD_QUEUE}`,
);
sh(`iptables -t mangle -A INPUT -p udp --dport ${ports} -m comment --comment passed`);

const native = loadNative();
const OPTIONS: PacketQueueOptions = {
  queue: FLOOD_QUEUE,
  copyRange: 128,
  maxLength: 65_536,
  failOpen: false,
  conntrack: false,
  batch: 128,
  receiveBuffer: 64 << 20,
  failVerdict: NF.DROP,
};

/** Packets that got past the queue, since the last call. */
function passed(): number {
  const listed = run("iptables", "-t", "mangle", "-Z", "-nvxL", "INPUT");
  return Number(/^\s*(\d+).*\/\* passed \*\//m.exec(listed)?.[1]);
}

/** Columns of /proc/net/netfilter/nfnetlink_queue: packets undecided, and the last id given. */
function kernelQueue(): { waiting: number; lastId: number } {
  const line = readFileSync("/proc/net/netfilter/nfnetlink_queue", "latin1").trim().split(/\s+/);
  return { waiting: Number(line[2]), lastId: Number(line[7]) };
}

function accepting(options: PacketQueueOptions, ids?: number[]): PacketQueue {
  const queue: PacketQueue = native.openPacketQueue(options, (count) => {
    for (let row = 0; row < count; row++) {
      ids?.push(queue.meta[row * PACKET.STRIDE + PACKET.ID]!);
      queue.verdicts.set([NF.REPEAT, 1, PASSED_MARK], row * VERDICT.STRIDE);
    }
  });
  return queue;
}

function holding(options: PacketQueueOptions): PacketQueue {
  const queue: PacketQueue = native.openPacketQueue(options, (count) => {
    for (let row = 0; row < count; row++) queue.verdicts[row * VERDICT.STRIDE] = NF.PENDING;
  });
  return queue;
}

t.test("20,000 flows at full speed: every one decided once", async (t) => {
  const worker = new Worker(new URL("./flood-worker.ts", import.meta.url));
  const queue = accepting(OPTIONS);
  passed();
  worker.postMessage({ send: 20_000 });
  const [sent] = (await once(worker, "message")) as [number];
  t.equal(sent, 20_000);
  await until("all were handed over", () => queue.stats().packets >= sent);
  t.strictSame(kernelQueue(), { waiting: 0, lastId: sent });
  t.equal(passed(), sent);
  const stats = queue.stats();
  t.match(stats, {
    packets: sent,
    pending: 0,
    overruns: 0,
    malformed: 0,
    truncated: 0,
    sendErrors: 0,
    verdictErrors: 0,
  });
  t.ok(stats.batches < sent, "in batches");
  queue.close();
  await worker.terminate();
});

t.test("packets that come while the queue is being set up are not lost", async (t) => {
  const worker = new Worker(new URL("./flood-worker.ts", import.meta.url));
  const stop = new Int32Array(new SharedArrayBuffer(4));
  worker.postMessage({ until: stop });
  for (let round = 0; round < 20; round++) {
    const ids: number[] = [];
    const queue = accepting(OPTIONS, ids);
    await until("traffic flows", () => ids.length >= 200);
    t.ok(
      ids.every((id, index) => id === index + 1),
      "every id from the first on",
    );
    queue.close();
  }
  Atomics.store(stop, 0, 1);
  await once(worker, "message");
  await worker.terminate();
});

for (const failOpen of [true, false]) {
  const mode = failOpen ? "open" : "closed";
  t.test(`a full queue, failing ${mode}`, async (t) => {
    const flood = new Flood(native);
    const queue = holding({ ...OPTIONS, maxLength: 10, failOpen });
    passed();
    t.equal(flood.send(50), 50);
    await until("it is full", () => queue.stats().pending === 10);
    t.equal(passed(), failOpen ? 40 : 0);
    queue.close();
    t.equal(passed(), 0, "held ones took the fail verdict");
    flood.close();
  });

  t.test(`a full socket buffer, failing ${mode}`, async (t) => {
    const flood = new Flood(native);
    const queue = accepting({ ...OPTIONS, receiveBuffer: 4096, failOpen });
    passed();
    // Nobody reads while this thread sends.
    t.equal(flood.send(2000), 2000);
    const { overruns } = queue.stats();
    t.ok(overruns > 1500, "most found no room");
    await until("the rest was handed over", () => queue.stats().packets + overruns === 2000);
    t.equal(passed(), failOpen ? 2000 : 2000 - overruns);
    flood.send(2);
    await until("it goes on", () => queue.stats().packets + overruns === 2002);
    t.equal(passed(), 2);
    t.match(queue.stats(), { pending: 0, sendErrors: 0, verdictErrors: 0 });
    t.equal(kernelQueue().waiting, 0);
    queue.close();
    flood.close();
  });
}

t.test("closing in open mode lets through what nobody read", async (t) => {
  const flood = new Flood(native);
  const queue = accepting({ ...OPTIONS, failVerdict: NF.ACCEPT });
  passed();
  flood.send(100);
  queue.close();
  t.equal(passed(), 100);
  t.equal(queue.stats().packets, 0);
  flood.close();
});

t.test("a packet longer than what is copied says how long it is", async (t) => {
  const lengths: number[][] = [];
  const queue: PacketQueue = native.openPacketQueue({ ...OPTIONS, copyRange: 1 }, (count) => {
    for (let row = 0; row < count; row++) {
      const cell = row * PACKET.STRIDE;
      lengths.push([queue.meta[cell + PACKET.CAPTURED]!, queue.meta[cell + PACKET.LENGTH]!]);
      queue.verdicts[row * VERDICT.STRIDE] = NF.DROP;
    }
  });
  const flood = new Flood(native);
  flood.send(1);
  await until("it came", () => lengths.length === 1);
  t.strictSame(lengths, [[1, 44]]);
  queue.close();
  flood.close();
});

const BRIDGE_CALLS = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const skip = existsSync(BRIDGE_CALLS) ? false : "needs br_netfilter";
t.test("a packet from a bridge port names the port beside the bridge", { skip }, async (t) => {
  const far = makeNamespace(t, "port");
  sh("ip link add tmbridge type bridge");
  sh(`ip link add tmport type veth peer name tmfar netns ${far}`);
  sh("ip link set tmport master tmbridge up");
  sh("ip link set tmbridge up");
  sh("ip addr add 203.0.113.1/24 dev tmbridge");
  sh(`ip -n ${far} addr add 203.0.113.2/24 dev tmfar`);
  sh(`ip -n ${far} link set tmfar up`);
  writeFileSync(BRIDGE_CALLS, "1");
  const links = native.links();
  const bridge = links.find(({ name }) => name === "tmbridge");
  const port = links.find(({ name }) => name === "tmport");
  t.match(bridge, { kind: "bridge", addresses: ["203.0.113.1/24"] });
  t.match(port, { kind: "veth", master: bridge?.index });
  const devices: number[][] = [];
  const queue: PacketQueue = native.openPacketQueue(OPTIONS, (count) => {
    for (let row = 0; row < count; row++) {
      const cell = row * PACKET.STRIDE;
      devices.push([queue.meta[cell + PACKET.IN_DEVICE]!, queue.meta[cell + PACKET.PHYS_IN_DEVICE]!]);
      queue.verdicts[row * VERDICT.STRIDE] = NF.DROP;
    }
  });
  const program = `
    const socket = require("node:dgram").createSocket("udp4");
    socket.send("x", ${FLOOD_PORT}, "203.0.113.1", () => socket.close());`;
  run("nsenter", `--net=/run/netns/${far}`, process.execPath, "-e", program);
  await until("it came", () => devices.length > 0);
  t.strictSame(devices[0], [bridge?.index, port?.index]);
  queue.close();
});
