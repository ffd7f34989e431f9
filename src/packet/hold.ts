/**
 * Packets whose container is not known yet: the first one often comes before the runtime has told who was started. They
 * wait in groups, one per veth, copied out of the slab, and each group waits at most `holdTime` from its first packet.
 * A group that waited in vain makes its veth a stranger, whose packets take the fail mode at once until the registry
 * changes again: a virtual machine on a guarded bridge must not use up the room that new containers need.
 */
import type { Clock } from "../clock.ts";

/** What has to be remembered of a packet to decide it later. */
export interface HeldPacket {
  /** Kernel packet id, skb mark, and PHYS_IN_DEVICE and IN_DEVICE of its row. */
  readonly id: number;
  readonly mark: number;
  readonly port: number;
  readonly device: number;
  /** The captured bytes. */
  readonly bytes: Uint8Array;
}

interface Group {
  readonly packets: HeldPacket[];
  readonly timer: { cancel(): void };
}

/** Veth index, or the source address as text where the kernel names no bridge port. */
export type HoldKey = number | string;

/** Strangers remembered at most; beyond that they are forgotten, and their packets wait again. */
const MAX_STRANGERS = 4096;

export class HeldPackets {
  readonly #clock: Clock;
  readonly #time: number;
  readonly #limit: number;
  readonly #expired: (packets: readonly HeldPacket[]) => void;
  readonly #groups = new Map<HoldKey, Group>();
  readonly #strangers = new Set<HoldKey>();
  #size = 0;

  /** `time`: milliseconds; `limit`: packets; `expired`: called with the packets of a group whose time is over. */
  constructor(options: {
    clock: Clock;
    time: number;
    limit: number;
    expired: (packets: readonly HeldPacket[]) => void;
  }) {
    this.#clock = options.clock;
    this.#time = options.time;
    this.#limit = options.limit;
    this.#expired = options.expired;
  }

  /** Packets that wait now. */
  get size(): number {
    return this.#size;
  }

  /** Whether a packet with that key may wait: there is room, and its veth has not waited in vain before. */
  accepts(key: HoldKey): boolean {
    return this.#size < this.#limit && !this.#strangers.has(key);
  }

  /** Whether packets with that key wait already. */
  has(key: HoldKey): boolean {
    return this.#groups.has(key);
  }

  add(key: HoldKey, packet: HeldPacket): void {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { packets: [], timer: this.#clock.after(this.#time, () => this.#expire(key)) };
      this.#groups.set(key, group);
    }
    group.packets.push(packet);
    this.#size++;
  }

  /** Takes out the packets with that key. */
  take(key: HoldKey): readonly HeldPacket[] {
    const group = this.#groups.get(key);
    if (group === undefined) return [];
    group.timer.cancel();
    this.#groups.delete(key);
    this.#size -= group.packets.length;
    return group.packets;
  }

  /** Lets strangers wait again; for when the registry has changed. */
  forgetStrangers(): void {
    this.#strangers.clear();
  }

  /** The keys that have packets waiting. */
  keys(): readonly HoldKey[] {
    return [...this.#groups.keys()];
  }

  #expire(key: HoldKey): void {
    if (this.#strangers.size >= MAX_STRANGERS) this.#strangers.clear();
    this.#strangers.add(key);
    this.#expired(this.take(key));
  }
}
