/** UDP datagrams of as many new flows, sent by the addon's own arena: one source port, many destination ports. */
import type { Native } from "../../src/native/types.ts";
import { SLOT } from "../../src/native/types.ts";
import { ADDRESSES } from "./world.ts";

/** Ports that flows go to; `floodRules` queues them all. */
export const FLOOD_PORT = 10_000;
export const FLOOD_PORTS = 20_000;
export const FLOOD_QUEUE = 8;

export class Flood {
  readonly #arena;
  readonly #socket;
  #next = 0;
  constructor(native: Native) {
    const slots = 256;
    this.#arena = native.openUdpArena({ slots, slotSize: 16, maxSends: slots, rounds: 1 }, () => undefined);
    const { first, second } = ADDRESSES[4];
    this.#socket = this.#arena.open({
      family: 4,
      address: first,
      port: 0,
      firstSlot: 0,
      batch: 1,
      buffer: 1 << 24,
    });
    const addresses = new Uint8Array(this.#arena.meta.buffer);
    for (let slot = 0; slot < slots; slot++) {
      this.#arena.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = 16;
      this.#arena.meta[slot * SLOT.STRIDE + SLOT.FAMILY] = 4;
      addresses.set(second.split(".").map(Number), (slot * SLOT.STRIDE + SLOT.PEER_ADDRESS) * 4);
    }
  }

  /** Sends `count` datagrams, each of a flow of its own until the ports are used up. Returns how many left. */
  send(count: number): number {
    const before = this.#arena.stats().sent;
    for (let done = 0; done < count; ) {
      const chunk = Math.min(256, count - done);
      for (let slot = 0; slot < chunk; slot++) {
        this.#arena.meta[slot * SLOT.STRIDE + SLOT.PEER_PORT] = FLOOD_PORT + (this.#next++ % FLOOD_PORTS);
        this.#arena.list(slot, this.#socket.index);
      }
      this.#arena.flush();
      done += chunk;
    }
    return this.#arena.stats().sent - before;
  }

  close(): void {
    this.#arena.close();
  }
}
