/** What every UDP arena must do. */
import type { Test } from "tap";
import { formatAddress } from "../../src/address.ts";
import type { UdpArena, UdpArenaOptions, UdpSocketOptions } from "../../src/native/types.ts";
import { SLOT } from "../../src/native/types.ts";
import { ADDRESSES, FAMILIES, until, type World } from "./world.ts";

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
