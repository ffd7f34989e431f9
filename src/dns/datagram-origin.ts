/** Askers by datagram: where the reply to a lookup goes whose answer is not known yet. */
import { SLOT } from "../native/types.ts";
import type { Datagrams } from "./datagrams.ts";
import type { Asker, Origin } from "./lookup.ts";
import { copyBytes } from "./reply.ts";

/** The datagram in a slot that is being handled; kept, it is a copy of what a reply needs. */
export class DatagramOrigin implements Origin {
  readonly datagram = true;
  slot = 0;
  socket = 0;
  readonly #datagrams: Datagrams;
  /** Askers that have had their reply, to be used again. */
  readonly #free: DatagramAsker[] = [];

  constructor(datagrams: Datagrams) {
    this.#datagrams = datagrams;
  }

  keep(): Asker {
    const asker = this.#free.pop() ?? new DatagramAsker(this.#datagrams, this.#free);
    asker.hold(this.slot, this.socket);
    return asker;
  }
}

class DatagramAsker implements Asker {
  readonly datagram = true;
  readonly #datagrams: Datagrams;
  readonly #free: DatagramAsker[];
  /** The row of the datagram: peer, local address, interface. */
  readonly #row = new Int32Array(SLOT.STRIDE);
  #socket = 0;
  #held = false;

  constructor(datagrams: Datagrams, free: DatagramAsker[]) {
    this.#datagrams = datagrams;
    this.#free = free;
  }

  hold(slot: number, socket: number): void {
    const { meta } = this.#datagrams;
    const row = slot * SLOT.STRIDE;
    for (let index = 0; index < SLOT.STRIDE; index++) this.#row[index] = meta[row + index]!;
    this.#socket = socket;
    this.#held = true;
  }

  send(message: Uint8Array, length: number): void {
    if (!this.#held) return;
    const { memory, meta, slotSize } = this.#datagrams;
    const slot = this.#datagrams.slot();
    const row = slot * SLOT.STRIDE;
    for (let index = 0; index < SLOT.STRIDE; index++) meta[row + index] = this.#row[index]!;
    copyBytes(message, 0, memory, slot * slotSize, length);
    this.#datagrams.send(slot, this.#socket, length);
    this.release();
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#free.push(this);
  }
}
