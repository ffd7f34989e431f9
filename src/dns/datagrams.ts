/** All UDP of the proxy over one arena: where its slots are, and when what was listed is sent. */
import type { Native, UdpArena, UdpArenaStats, UdpSocket, UdpSocketOptions } from "../native/types.ts";
import { SLOT } from "../native/types.ts";

/** Datagrams taken in one call, from askers and from upstreams alike. */
const BATCH = 64;
const ASKERS = 0;
const UPSTREAMS = ASKERS + BATCH;
const SENDS = UPSTREAMS + BATCH;
const SEND_SLOTS = 256;
const SLOTS = SENDS + SEND_SLOTS;

export class Datagrams {
  /** Bytes per slot. */
  readonly slotSize: number;
  readonly #arena: UdpArena;
  /** Bytes of all slots; slot `n` starts at `n * slotSize`. */
  readonly memory: Uint8Array;
  /** Rows of SLOT fields, and the same memory as bytes (addresses stand in it in network order). */
  readonly meta: Int32Array;
  readonly metaBytes: Uint8Array;
  #inBatch = false;
  #next = 0;
  #unsent = 0;

  /**
   * `onBatch(socket, firstSlot, count)`. What is sent during the call leaves at its end; what is sent at another time, at
   * once. `largest`: bytes of the largest datagram either way.
   */
  constructor(
    native: Native,
    largest: number,
    upstream: (socket: number) => boolean,
    onBatch: (socket: number, firstSlot: number, count: number) => void,
  ) {
    this.slotSize = Math.max(2048, (largest + 3) & ~3);
    this.#arena = native.openUdpArena(
      { slots: SLOTS, slotSize: this.slotSize, maxSends: SLOTS, rounds: 4 },
      (socket, count) => {
        this.#inBatch = true;
        this.#unsent = 0;
        try {
          onBatch(socket, upstream(socket) ? UPSTREAMS : ASKERS, count);
        } finally {
          this.#inBatch = false;
        }
      },
    );
    this.memory = this.#arena.memory;
    this.meta = this.#arena.meta;
    this.metaBytes = new Uint8Array(this.meta.buffer, this.meta.byteOffset, this.meta.byteLength);
  }

  openForAskers(options: Omit<UdpSocketOptions, "firstSlot" | "batch">): UdpSocket {
    return this.#arena.open({ ...options, firstSlot: ASKERS, batch: BATCH });
  }

  openForUpstream(options: Omit<UdpSocketOptions, "firstSlot" | "batch">): UdpSocket {
    return this.#arena.open({ ...options, firstSlot: UPSTREAMS, batch: BATCH });
  }

  /** A slot to fill and `send`. Valid until then. */
  slot(): number {
    if (this.#unsent === SEND_SLOTS) {
      this.#arena.flush();
      this.#unsent = 0;
    }
    this.#unsent++;
    this.#next = (this.#next + 1) % SEND_SLOTS;
    return SENDS + this.#next;
  }

  /** Sends `length` bytes of the slot through the socket; peer and local address stand in the slot's row. */
  send(slot: number, socket: number, length: number): void {
    this.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = length;
    this.#arena.list(slot, socket);
    if (!this.#inBatch) this.#arena.flush();
  }

  stats(): UdpArenaStats {
    return this.#arena.stats();
  }

  close(): void {
    this.#arena.close();
  }
}
