/** What every Native must do. Run on the fake and, inside a network namespace, on the kernel. */
import type { Test } from "tap";
import { formatAddress } from "../../src/address.ts";
import type {
  PacketQueue,
  PacketQueueOptions,
  UdpArena,
  UdpArenaOptions,
  UdpSocketOptions,
} from "../../src/native/types.ts";
import { NF, PACKET, SLOT, VERDICT } from "../../src/native/types.ts";
import { ADDRESSES, PASSED_MARK, QUEUE, until, type World } from "./world.ts";

const FAMILIES = [4, 6] as const;

const QUEUE_OPTIONS: PacketQueueOptions = {
  queue: QUEUE,
  copyRange: 64,
  maxLength: 64,
  failOpen: false,
  conntrack: false,
  batch: 4,
  receiveBuffer: 1 << 20,
  failVerdict: NF.DROP,
};
const ARENA_OPTIONS: UdpArenaOptions = { slots: 16, slotSize: 128, maxSends: 4, rounds: 4 };

function socketOptions(family: 4 | 6, more: Partial<UdpSocketOptions> = {}): UdpSocketOptions {
  return {
    family,
    address: ADDRESSES[family].first,
    port: 0,
    firstSlot: 0,
    batch: 4,
    buffer: 1 << 16,
    ...more,
  };
}

/** Decides by the first byte of the UDP payload, which `sendPacket` put behind the IP and UDP headers. */
type Decide = (tag: number, row: number, queue: PacketQueue) => void;

function openQueue(world: World, decide: Decide, more: Partial<PacketQueueOptions> = {}): PacketQueue {
  const queue = world.native.openPacketQueue({ ...QUEUE_OPTIONS, ...more }, (count) => {
    for (let row = 0; row < count; row++) decide(tagOf(queue, row), row, queue);
  });
  return queue;
}

function tagOf(queue: PacketQueue, row: number): number {
  const cell = row * PACKET.STRIDE;
  const header = queue.meta[cell + PACKET.PROTOCOL] === 0x86dd ? 40 : 20;
  return queue.slab[queue.meta[cell + PACKET.OFFSET]! + header + 8]!;
}

function set(queue: PacketQueue, row: number, code: number, mark?: number): void {
  queue.verdicts.set([code, mark === undefined ? 0 : 1, mark ?? 0], row * VERDICT.STRIDE);
}

export function packetQueueConformance(t: Test, world: World): void {
  for (const family of FAMILIES) {
    t.test(`IPv${family} packets are handed over, dropped, accepted, and marked`, async (t) => {
      const seen: number[][] = [];
      const from = world.arrived.length;
      const queue = openQueue(world, (tag, row) => {
        seen.push([...queue.meta.subarray(row * PACKET.STRIDE, (row + 1) * PACKET.STRIDE)]);
        if (tag === 1) set(queue, row, NF.DROP);
        else if (tag === 2) set(queue, row, NF.ACCEPT);
        else set(queue, row, NF.REPEAT, PASSED_MARK);
      });
      for (const tag of [1, 2, 3]) world.sendPacket(family, Uint8Array.of(tag, 0, 0, 0));
      world.sendPacket(family, new Uint8Array(100).fill(4));
      await until("all that may pass has passed", () => world.arrived.length === from + 3);
      t.strictSame(world.arrived.slice(from), [2, 3, 4], "order kept, the first dropped");
      const header = family === 4 ? 28 : 48;
      t.strictSame(
        seen.map((cells) => cells[PACKET.LENGTH]),
        [header + 4, header + 4, header + 4, header + 100],
      );
      t.equal(seen[3]?.[PACKET.CAPTURED], QUEUE_OPTIONS.copyRange, "no more than was asked for");
      t.strictSame(
        seen.map((cells) => cells[PACKET.ID]),
        [1, 2, 3, 4],
        "no packet twice, although the mark led some through the rules again",
      );
      t.equal(seen[0]?.[PACKET.PROTOCOL], family === 4 ? 0x0800 : 0x86dd);
      t.equal(seen[0]?.[PACKET.IN_DEVICE], 1);
      t.equal(seen[0]?.[PACKET.CONNTRACK_INFO], 0xffffffff);
      const stats = queue.stats();
      t.match(stats, {
        packets: 4,
        pending: 0,
        malformed: 0,
        verdictErrors: 0,
        callbackErrors: 0,
        lastError: "",
      });
      queue.close();
      queue.close();
    });
  }

  t.test("a batch is never larger than asked for, and none is lost", async (t) => {
    const sizes: number[] = [];
    const from = world.arrived.length;
    const queue: PacketQueue = world.native.openPacketQueue(QUEUE_OPTIONS, (count) => {
      sizes.push(count);
      for (let row = 0; row < count; row++) set(queue, row, NF.ACCEPT);
    });
    for (let tag = 0; tag < 30; tag++) world.sendPacket(4, Uint8Array.of(tag));
    await until("all arrived", () => world.arrived.length === from + 30);
    t.ok(Math.max(...sizes) <= QUEUE_OPTIONS.batch);
    t.equal(queue.stats().packets, 30);
    queue.close();
  });

  t.test("a pending packet waits for its verdict, and batches pass it meanwhile", async (t) => {
    const from = world.arrived.length;
    const held: number[] = [];
    const queue = openQueue(world, (tag, row) => {
      if (tag < 10) {
        held.push(queue.meta[row * PACKET.STRIDE + PACKET.ID]!);
        set(queue, row, NF.PENDING);
      } else {
        set(queue, row, NF.ACCEPT);
      }
    });
    for (const tag of [1, 2, 20, 21, 22]) world.sendPacket(4, Uint8Array.of(tag));
    await until("the others arrived", () => world.arrived.length === from + 3);
    t.equal(queue.stats().pending, 2);
    queue.verdict(held[1]!, NF.ACCEPT, false, 0);
    queue.verdict(held[0]!, NF.REPEAT, true, PASSED_MARK);
    await until("the held ones arrived", () => world.arrived.length === from + 5);
    t.strictSame(world.arrived.slice(from), [20, 21, 22, 2, 1]);
    t.match(queue.stats(), { pending: 0, verdictErrors: 0 });
    queue.verdict(held[0]!, NF.ACCEPT, false, 0);
    queue.verdict(4711, NF.ACCEPT, false, 0);
    queue.verdict(held[1]!, 77, false, 0);
    t.equal(queue.stats().verdictErrors, 3, "decided already, never seen, no verdict");
    queue.close();
  });

  t.test("a verdict may come in a microtask right behind the callback", async (t) => {
    const from = world.arrived.length;
    const queue = openQueue(world, (_tag, row) => {
      const id = queue.meta[row * PACKET.STRIDE + PACKET.ID]!;
      set(queue, row, NF.PENDING);
      queueMicrotask(() => queue.verdict(id, NF.ACCEPT, false, 0));
    });
    world.sendPacket(4, Uint8Array.of(1));
    await until("it arrived", () => world.arrived.length === from + 1);
    t.match(queue.stats(), { pending: 0, verdictErrors: 0 });
    queue.close();
  });

  for (const failVerdict of [NF.DROP, NF.ACCEPT]) {
    const fate = failVerdict === NF.DROP ? "dropped" : "accepted";
    t.test(`what a throwing callback left open is ${fate}, and the next batch is served`, async (t) => {
      const from = world.arrived.length;
      const queue = openQueue(
        world,
        (tag, row) => {
          if (tag === 1) set(queue, row, NF.PENDING);
          if (tag < 3) throw new Error(`no opinion on ${tag}`);
          if (tag === 3) return;
          set(queue, row, tag === 4 ? 77 : NF.ACCEPT);
        },
        { failVerdict, batch: 1 },
      );
      for (const tag of [1, 2, 3, 4, 5]) world.sendPacket(4, Uint8Array.of(tag));
      await until("the last arrived", () => world.arrived.at(-1) === 5 && world.arrived.length > from);
      t.strictSame(world.arrived.slice(from), failVerdict === NF.DROP ? [5] : [1, 2, 3, 4, 5]);
      const stats = queue.stats();
      t.match(stats, { packets: 5, pending: 0, callbackErrors: 2, verdictErrors: 1 });
      t.match(stats.lastError, /no opinion on 2/);
      queue.close();
    });
  }

  t.test("closing decides what is held by the fail verdict, also from inside the callback", async (t) => {
    for (const inside of [false, true]) {
      const from = world.arrived.length;
      let seen = 0;
      const queue = openQueue(
        world,
        (_tag, row) => {
          set(queue, row, NF.PENDING);
          if (++seen === 3 && inside) queue.close();
        },
        { failVerdict: NF.ACCEPT },
      );
      for (const tag of [1, 2, 3]) world.sendPacket(4, Uint8Array.of(tag));
      await until("all were seen", () => seen === 3);
      if (!inside) queue.close();
      await until("all arrived", () => world.arrived.length === from + 3);
      t.equal(queue.stats().pending, 0);
      queue.verdict(1, NF.ACCEPT, false, 0);
    }
  });

  t.test("a queue has one owner, and can be opened again when it was closed", async (t) => {
    const queue = openQueue(world, (_tag, row) => set(queue, row, NF.ACCEPT));
    t.throws(() => openQueue(world, () => undefined), { code: "TM_NATIVE_QUEUE_TAKEN" });
    queue.close();
    openQueue(world, () => undefined).close();
  });

  t.test("options out of range are refused", async (t) => {
    const wrong: Partial<PacketQueueOptions>[] = [
      { queue: -1 },
      { queue: 65_536 },
      { copyRange: 0 },
      { copyRange: 65_532 },
      { maxLength: 0 },
      { batch: 0 },
      { batch: 1.5 },
      { batch: 1 << 30 },
      { receiveBuffer: Number.NaN },
      { failVerdict: NF.REPEAT },
    ];
    for (const more of wrong) t.throws(() => openQueue(world, () => undefined, more), { name: "RangeError" });
  });
}

function openArena(
  world: World,
  onBatch: (arena: UdpArena, socket: number, count: number) => void,
  more: Partial<UdpArenaOptions> = {},
): UdpArena {
  const arena: UdpArena = world.native.openUdpArena({ ...ARENA_OPTIONS, ...more }, (socket, count) => {
    onBatch(arena, socket, count);
  });
  return arena;
}

function addressAt(arena: UdpArena, slot: number, column: number, family: 4 | 6): string {
  const bytes = new Uint8Array(
    arena.meta.buffer,
    arena.meta.byteOffset + (slot * SLOT.STRIDE + column) * 4,
    16,
  );
  return formatAddress(bytes, 0, family === 4 ? 4 : 16);
}

function echo(arena: UdpArena, socket: number, count: number): void {
  for (let slot = 0; slot < count; slot++) {
    arena.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = arena.meta[slot * SLOT.STRIDE + SLOT.RECEIVED]!;
    arena.list(slot, socket);
  }
}

export function udpArenaConformance(t: Test, world: World): void {
  for (const family of FAMILIES) {
    t.test(
      `IPv${family} datagrams come with their addresses and are answered from the one asked`,
      async (t) => {
        const { first, second } = ADDRESSES[family];
        const peer = await world.peer(family);
        const seen: unknown[] = [];
        const arena = openArena(world, (arena, socket, count) => {
          for (let slot = 0; slot < count; slot++) {
            const row = slot * SLOT.STRIDE;
            seen.push({
              received: arena.meta[row + SLOT.RECEIVED],
              family: arena.meta[row + SLOT.FAMILY],
              port: arena.meta[row + SLOT.PEER_PORT],
              peer: addressAt(arena, slot, SLOT.PEER_ADDRESS, family),
              local: addressAt(arena, slot, SLOT.LOCAL_ADDRESS, family),
              interface: arena.meta[row + SLOT.INTERFACE],
            });
          }
          echo(arena, socket, count);
        });
        const socket = arena.open(socketOptions(family, { address: family === 4 ? "0.0.0.0" : "::" }));
        t.ok(socket.port > 0);
        peer.send(Uint8Array.of(1, 2, 3), first, socket.port);
        await until("the echo came", () => peer.received.length === 1);
        t.strictSame(peer.received, [{ bytes: Uint8Array.of(1, 2, 3), address: first, port: socket.port }]);
        t.strictSame(seen, [
          { received: 3, family, port: peer.port, peer: second, local: first, interface: 1 },
        ]);
        t.match(arena.stats(), { received: 1, sent: 1, truncated: 0, sendErrors: 0, callbackErrors: 0 });
        arena.close();
        arena.close();
        peer.close();
      },
    );

    t.test(`an IPv${family} socket that is connected hears only its peer`, async (t) => {
      const peer = await world.peer(family);
      const stranger = await world.peer(family);
      const heard: number[] = [];
      const arena = openArena(world, (arena, _socket, count) => {
        for (let slot = 0; slot < count; slot++) {
          heard.push(arena.memory[slot * ARENA_OPTIONS.slotSize]!);
          t.equal(arena.meta[slot * SLOT.STRIDE + SLOT.PEER_PORT], peer.port);
          t.equal(arena.meta[slot * SLOT.STRIDE + SLOT.INTERFACE], 0);
        }
      });
      const { first, second } = ADDRESSES[family];
      const socket = arena.open(socketOptions(family, { peer: { address: second, port: peer.port } }));
      stranger.send(Uint8Array.of(1), first, socket.port);
      peer.send(Uint8Array.of(2), first, socket.port);
      await until("the peer was heard", () => heard.length > 0);
      t.strictSame(heard, [2]);
      arena.memory.set([7, 8], 9 * ARENA_OPTIONS.slotSize);
      arena.meta[9 * SLOT.STRIDE + SLOT.LENGTH] = 2;
      arena.list(9, socket.index);
      arena.flush();
      await until("the peer heard us", () => peer.received.length === 1);
      t.strictSame(peer.received[0], { bytes: Uint8Array.of(7, 8), address: first, port: socket.port });
      arena.close();
      peer.close();
      stranger.close();
    });
  }

  t.test("more sends than the list holds leave in several goes", async (t) => {
    const peer = await world.peer(4);
    const arena = openArena(world, (arena, socket) => {
      for (let slot = 0; slot < 10; slot++) {
        arena.meta.copyWithin(slot * SLOT.STRIDE, 0, SLOT.STRIDE);
        arena.memory[slot * ARENA_OPTIONS.slotSize] = slot;
        arena.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = 1;
        arena.list(slot, socket);
      }
    });
    const socket = arena.open(socketOptions(4));
    peer.send(Uint8Array.of(0), ADDRESSES[4].first, socket.port);
    await until("all came", () => peer.received.length === 10);
    t.strictSame(
      peer.received.map(({ bytes }) => bytes[0]),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
    arena.close();
    peer.close();
  });

  t.test("a datagram longer than a slot is given as empty and counted", async (t) => {
    const peer = await world.peer(4);
    const received: number[] = [];
    const arena = openArena(world, (arena, _socket, count) => {
      for (let slot = 0; slot < count; slot++) received.push(arena.meta[slot * SLOT.STRIDE + SLOT.RECEIVED]!);
    });
    const socket = arena.open(socketOptions(4));
    peer.send(new Uint8Array(ARENA_OPTIONS.slotSize + 1), ADDRESSES[4].first, socket.port);
    peer.send(new Uint8Array(ARENA_OPTIONS.slotSize), ADDRESSES[4].first, socket.port);
    await until("both came", () => received.length === 2);
    t.strictSame(received, [0, ARENA_OPTIONS.slotSize]);
    t.equal(arena.stats().truncated, 1);
    arena.close();
    peer.close();
  });

  t.test("nonsense in the send list is counted, and what is sound leaves", async (t) => {
    const peer = await world.peer(4);
    const arena = openArena(world, () => undefined);
    const socket = arena.open(socketOptions(4));
    const gone = arena.open(socketOptions(4));
    gone.close();
    gone.close();
    const row = (slot: number, length: number, family: number, port: number): void => {
      arena.meta.set([0, length, family, port], slot * SLOT.STRIDE);
      const bytes = new Uint8Array(arena.meta.buffer, (slot * SLOT.STRIDE + SLOT.PEER_ADDRESS) * 4, 4);
      bytes.set(ADDRESSES[4].second.split(".").map(Number));
    };
    row(0, 1, 4, peer.port);
    row(1, 0, 4, peer.port);
    row(2, ARENA_OPTIONS.slotSize + 1, 4, peer.port);
    row(3, -1, 4, peer.port);
    row(4, 1, 6, peer.port);
    row(5, 1, 4, 0);
    row(6, 1, 4, 65_536);
    const wrong = [
      [1, socket.index],
      [2, socket.index],
      [3, socket.index],
      [4, socket.index],
      [5, socket.index],
      [6, socket.index],
      [-1, socket.index],
      [ARENA_OPTIONS.slots, socket.index],
      [0x7fffffff, socket.index],
      [0, -1],
      [0, 99],
      [0, gone.index],
      [-0x80000000, -0x80000000],
    ] as const;
    for (const [slot, index] of wrong) arena.list(slot, index);
    arena.list(0, socket.index);
    arena.flush();
    await until("the sound one came", () => peer.received.length === 1);
    t.match(arena.stats(), { sent: 1, sendErrors: wrong.length });
    arena.control[0] = -5;
    arena.flush();
    arena.sends.fill(0x7fffffff);
    arena.control[0] = 0x7fffffff;
    arena.flush();
    t.equal(arena.stats().sendErrors, wrong.length + 1 + 0x7fffffff);
    t.equal(arena.control[0], 0);
    arena.close();
    peer.close();
  });

  t.test("a throwing callback is counted, what it listed leaves, and the next batch is served", async (t) => {
    const peer = await world.peer(4);
    const arena = openArena(world, (arena, socket, count) => {
      echo(arena, socket, count);
      throw new Error("after listing");
    });
    const socket = arena.open(socketOptions(4));
    for (let round = 1; round <= 2; round++) {
      peer.send(Uint8Array.of(round), ADDRESSES[4].first, socket.port);
      await until("the echo came", () => peer.received.length === round);
    }
    t.equal(arena.stats().callbackErrors, 2);
    t.match(arena.stats().lastError, /after listing/);
    arena.close();
    peer.close();
  });

  t.test("sockets and the arena may be closed inside the callback", async (t) => {
    const peer = await world.peer(4);
    let batches = 0;
    const arena = openArena(world, (arena, socket) => {
      if (++batches === 1) sockets[socket]!.close();
      else arena.close();
    });
    const sockets = [arena.open(socketOptions(4)), arena.open(socketOptions(4))];
    for (const [index, socket] of sockets.entries()) {
      peer.send(Uint8Array.of(1), ADDRESSES[4].first, socket.port);
      await until("it was handed over", () => batches === index + 1);
    }
    t.throws(() => arena.open(socketOptions(4)), "nothing opens in a closed arena");
    arena.flush();
    peer.close();
  });

  t.test("the index of a closed socket is used again", async (t) => {
    const arena = openArena(world, () => undefined);
    const first = arena.open(socketOptions(4));
    const second = arena.open(socketOptions(6));
    t.strictSame([first.index, second.index], [0, 1]);
    first.close();
    t.equal(arena.open(socketOptions(4)).index, 0);
    first.close();
    t.equal(arena.open(socketOptions(4)).index, 2, "closing twice frees nothing of the new owner");
    arena.close();
  });

  t.test("a port in use is said so, unless both share it", async (t) => {
    const arena = openArena(world, () => undefined);
    const { port } = arena.open(socketOptions(4));
    t.throws(() => arena.open(socketOptions(4, { port })), { code: "TM_PORT_IN_USE", exitStatus: 2 });
    const shared = arena.open(socketOptions(4, { reusePort: true }));
    t.equal(arena.open(socketOptions(4, { port: shared.port, reusePort: true })).port, shared.port);
    arena.close();
  });

  t.test("options out of range are refused", async (t) => {
    for (const more of [{ slots: 0 }, { slotSize: 0 }, { maxSends: 0 }, { rounds: 0 }, { slots: 1e9 }]) {
      t.throws(() => openArena(world, () => undefined, more), { name: "RangeError" });
    }
    const arena = openArena(world, () => undefined);
    const wrong: Partial<UdpSocketOptions>[] = [
      { firstSlot: 13 },
      { firstSlot: -1 },
      { batch: 17 },
      { batch: 0 },
      { port: 65_536 },
      { address: "::1" },
      { address: "localhost" },
      { peer: { address: "::1", port: 53 } },
      { peer: { address: ADDRESSES[4].second, port: 0 } },
      { buffer: 0 },
      { fd: -1 },
      { mark: -1 },
    ];
    for (const more of wrong) t.throws(() => arena.open(socketOptions(4, more)), { name: "RangeError" });
    arena.close();
  });
}

export function requestConformance(t: Test, world: World): void {
  t.test("entries of ipsets are added, renewed and deleted", async (t) => {
    const { native } = world;
    world.createIpset("tm-ip4", { family: 4, type: "hash:ip" });
    world.createIpset("tm-net6", { family: 6, type: "hash:net", timeout: 0 });
    native.ipsetAdd("tm-ip4", "198.51.100.7");
    native.ipsetAdd("tm-ip4", "198.51.100.7");
    native.ipsetAdd("tm-ip4", "198.51.100.8");
    native.ipsetDelete("tm-ip4", "198.51.100.8");
    native.ipsetDelete("tm-ip4", "198.51.100.9");
    t.strictSame(world.ipsetEntries("tm-ip4"), ["198.51.100.7"]);
    native.ipsetAdd("tm-net6", "2001:db8::1/32");
    native.ipsetAdd("tm-net6", "2001:db8::1", 600);
    t.strictSame(world.ipsetEntries("tm-net6"), ["2001:db8::/32", "2001:db8::1"]);
    native.ipsetDelete("tm-net6", "2001:db8::/32");
    t.strictSame(world.ipsetEntries("tm-net6"), ["2001:db8::1"]);
  });

  t.test("what an ipset cannot take is refused by name", async (t) => {
    const { native } = world;
    const code = "TM_NATIVE_IPSET";
    t.throws(() => native.ipsetAdd("tm-none", "198.51.100.7"), { code, message: /`tm-none`.*ENOENT/ });
    t.throws(() => native.ipsetAdd("tm-ip4", "2001:db8::1"), { code, message: /IPSET_ERR_PROTOCOL/ });
    t.throws(() => native.ipsetAdd("tm-ip4", "198.51.100.7", 5), { code, message: /IPSET_ERR_TIMEOUT/ });
    t.throws(() => native.ipsetAdd("tm-net6", "::/0"), { code, message: /IPSET_ERR_INVALID_CIDR/ });
    t.throws(() => native.ipsetAdd("tm-net6", "example.com"), { code, message: /`example.com`.*EINVAL/ });
    t.throws(() => native.ipsetDelete("tm-none", "198.51.100.7"), { code, message: /ENOENT/ });
    t.throws(() => native.ipsetAdd("tm-net6", "2001:db8::1", -1), { name: "RangeError" });
  });

  for (const family of FAMILIES) {
    t.test(
      `IPv${family} connection tracking entries are marked in the mask alone, and deleted`,
      async (t) => {
        const { native } = world;
        const { first, second } = ADDRESSES[family];
        await world.makeFlow(family, 0xff0001);
        t.equal(native.conntrackMark(first, 0xffffffff, 0x30000), 1);
        t.equal(world.flowMark(family), 0xff0001);
        t.equal(native.conntrackMark(first, 0x20000, 0x30000), 1);
        t.equal(world.flowMark(family), 0xfe0001);
        t.equal(native.conntrackMark(second, 0, 0xffffffff), 0, "by source alone");
        t.equal(native.conntrackDelete(first), 1);
        t.equal(world.flowMark(family), undefined);
        await world.makeFlow(family, 0xff0001);
        t.equal(native.conntrackDelete(second), 1, "by destination too");
        t.equal(native.conntrackDelete(second), 0);
        t.throws(() => native.conntrackDelete("nobody"), { name: "RangeError" });
        t.throws(() => native.conntrackMark("", 0, 0), { name: "RangeError" });
        t.throws(() => native.conntrackMark(first, 0.5, 0), { name: "RangeError" });
      },
    );
  }

  t.test("links are listed, and their watchers told of a change", async (t) => {
    const { native } = world;
    let told = 0;
    const unsubscribe = native.watchLinks(() => told++);
    world.changeLinks();
    await until("the watcher was told", () => told > 0);
    unsubscribe();
    unsubscribe();
    const lo = native.links().find((link) => link.name === "lo");
    t.match(lo, { index: 1, peer: 0, master: 0, kind: "", up: true });
    t.ok(lo?.addresses.includes(`${ADDRESSES[4].first}/32`));
    t.ok(lo?.addresses.includes(`${ADDRESSES[6].first}/128`));
  });

  t.test("a network namespace that is not there is said so", async (t) => {
    const gone = { code: "TM_NATIVE_SYSCALL", message: /`\/run\/netns\/tm-none`/, cause: { code: "ENOENT" } };
    t.throws(() => world.native.links("/run/netns/tm-none"), gone);
    t.throws(() => world.native.resetConnections("/run/netns/tm-none"), gone);
  });
}
