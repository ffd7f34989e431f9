/** What every packet queue must do. */
import type { Test } from "tap";
import type { PacketQueue, PacketQueueOptions } from "../../src/native/types.ts";
import { NF, PACKET, VERDICT } from "../../src/native/types.ts";
import { FAMILIES, PASSED_MARK, QUEUE, until, type World } from "./world.ts";

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
