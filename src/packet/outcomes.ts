/**
 * How flows end: answered, refused, with silence, or by our own hand. The packet queue sees first packets only, so the
 * connection table is asked for single flows, by the tuple of that packet, once each and all at the same age: were answers
 * told sooner than silence, a burst of contacts would look like good conduct followed by nothing but failures. Nothing is
 * asked while no flow waits, and no event of other flows of the host is made or read.
 *
 * What the table shows (nf_conntrack_proto_tcp.c): a reset as the only answer removes the entry at once, and a packet
 * that was dropped on its way never had one. Any other answer is remembered for 10 seconds (TCP, CLOSE) or longer.
 */
import type { Clock } from "../clock.ts";
import { FLOW, FLOW_STATE, type Native } from "../native/types.ts";
import type { ParsedPacket } from "./parse.ts";

/** A flow that ended. The object and its bytes are used again for the next one: nothing of it may be kept. */
export interface EndedFlow<Owner> {
  owner: Owner;
  /** `refused`: also a packet that never left the host. `silent`: also an ICMP error. */
  end: "answered" | "refused" | "silent" | "prevented";
  protocol: number;
  /** Holds the destination in network order, at `offset`. */
  bytes: Uint8Array;
  offset: number;
  length: 4 | 16;
  port: number;
  named: boolean;
}

/** What is known of a flow from the start. */
export interface FlowFacts {
  /** Policy does not let it out. */
  readonly dropped: boolean;
  /** The container has resolved the destination from a name. */
  readonly named: boolean;
}

export interface OutcomesOptions<Owner> {
  readonly native: Pick<Native, "conntrackStates">;
  readonly clock: Clock;
  /** Told in the order in which the flows began. */
  readonly ended: (flow: EndedFlow<Owner>) => void;
  /** Told when the kernel first refuses to say; flows of which it does not say are given up. */
  readonly failed: (error: Error) => void;
}

export interface OutcomesStats {
  readonly waiting: number;
  readonly answered: number;
  readonly refused: number;
  readonly silent: number;
  readonly prevented: number;
  /** Flows for which there was no room, and of which the kernel did not say. */
  readonly unasked: number;
  readonly unknown: number;
}

/** Milliseconds between two looks at what is due. */
const STEP = 250;
/** Age of a flow when it is looked up: after the first retransmission (RFC 6298: 1 second) and its answer. */
const AGE = 2000;
/** Flows that wait at most, in all and of one owner: 60 bytes each. */
const CAPACITY = 4096;
const SHARE = 1024;
/** Flows looked up in one step: up to 1.5 milliseconds of the thread. */
const MOST = 256;

export class FlowOutcomes<Owner> {
  readonly #options: OutcomesOptions<Owner>;
  /** A ring, in the order of arrival. */
  readonly #rows = new Uint8Array(CAPACITY * FLOW.STRIDE);
  readonly #view = new DataView(this.#rows.buffer);
  readonly #owners: (Owner | null)[] = new Array(CAPACITY).fill(null);
  readonly #dropped = new Uint8Array(CAPACITY);
  readonly #named = new Uint8Array(CAPACITY);
  /** Monotonic milliseconds. */
  readonly #since = new Float64Array(CAPACITY);
  #head = 0;
  #size = 0;
  /** Flows of each owner that wait. */
  readonly #shares = new Map<Owner, number>();
  #timer: { cancel(): void } | undefined;
  #refusal = false;
  #ended: EndedFlow<Owner> | undefined;
  readonly #count = { answered: 0, refused: 0, silent: 0, prevented: 0, unasked: 0, unknown: 0 };

  constructor(options: OutcomesOptions<Owner>) {
    this.#options = options;
  }

  /** Takes the first packet of a flow, which has just been decided; its protocol has ports. */
  add(owner: Owner, packet: ParsedPacket, bytes: Uint8Array, { dropped, named }: FlowFacts): void {
    const share = this.#shares.get(owner) ?? 0;
    if (share === SHARE || this.#size === CAPACITY) {
      this.#count.unasked++;
      return;
    }
    const { clock } = this.#options;
    this.#shares.set(owner, share + 1);
    const place = (this.#head + this.#size++) % CAPACITY;
    this.#owners[place] = owner;
    this.#since[place] = clock.monotonic();
    this.#dropped[place] = dropped ? 1 : 0;
    this.#named[place] = named ? 1 : 0;
    const rows = this.#rows;
    const row = place * FLOW.STRIDE;
    rows[row + FLOW.FAMILY] = packet.addressLength === 4 ? 4 : 6;
    rows[row + FLOW.PROTOCOL] = packet.protocol;
    this.#view.setUint16(row + FLOW.SOURCE_PORT, packet.sourcePort);
    this.#view.setUint16(row + FLOW.PORT, packet.destinationPort);
    for (let index = 0; index < packet.addressLength; index++) {
      rows[row + FLOW.SOURCE + index] = bytes[packet.sourceOffset + index]!;
      rows[row + FLOW.DESTINATION + index] = bytes[packet.destinationOffset + index]!;
    }
    this.#timer ??= clock.every(STEP, () => this.#step());
  }

  /** Gives up the flows of an owner that is gone. */
  forget(owner: Owner): void {
    if (!this.#shares.delete(owner)) return;
    for (let place = 0; place < CAPACITY; place++) {
      if (this.#owners[place] === owner) this.#owners[place] = null;
    }
  }

  get stats(): OutcomesStats {
    return { ...this.#count, waiting: this.#size };
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #step(): void {
    const now = this.#options.clock.monotonic();
    // In one piece of memory: what lies behind the seam of the ring is for the next step.
    const most = Math.min(this.#size, MOST, CAPACITY - this.#head);
    let count = 0;
    while (count < most && now - this.#since[this.#head + count]! >= AGE) count++;
    this.#lookUp(count);
    for (let left = count; left > 0; left--) {
      const place = this.#head;
      const owner = this.#owners[place] ?? null;
      this.#owners[place] = null;
      this.#head = (place + 1) % CAPACITY;
      this.#size--;
      if (owner !== null) this.#take(place, owner);
    }
    if (this.#size === 0) this.close();
  }

  #lookUp(count: number): void {
    if (count === 0) return;
    const rows = this.#rows.subarray(this.#head * FLOW.STRIDE, (this.#head + count) * FLOW.STRIDE);
    try {
      this.#options.native.conntrackStates(rows, count);
    } catch (error) {
      for (let row = 0; row < rows.length; row += FLOW.STRIDE) rows[row + FLOW.STATE] = FLOW_STATE.UNKNOWN;
      if (!this.#refusal) this.#options.failed(error instanceof Error ? error : new Error(String(error)));
      this.#refusal = true;
    }
  }

  #take(place: number, owner: Owner): void {
    const share = this.#shares.get(owner) ?? 0;
    if (share > 1) this.#shares.set(owner, share - 1);
    else this.#shares.delete(owner);
    const rows = this.#rows;
    const row = place * FLOW.STRIDE;
    const end = this.#dropped[place] === 1 ? "prevented" : endOf(rows[row + FLOW.STATE]!);
    if (end === null) {
      this.#count.unknown++;
      return;
    }
    this.#count[end]++;
    this.#ended ??= { owner, end, protocol: 0, bytes: rows, offset: 0, length: 4, port: 0, named: false };
    const flow = this.#ended;
    flow.owner = owner;
    flow.end = end;
    flow.protocol = rows[row + FLOW.PROTOCOL]!;
    flow.offset = row + FLOW.DESTINATION;
    flow.length = rows[row + FLOW.FAMILY] === 4 ? 4 : 16;
    flow.port = this.#view.getUint16(row + FLOW.PORT);
    flow.named = this.#named[place] === 1;
    this.#options.ended(flow);
  }
}

function endOf(state: number): "answered" | "refused" | "silent" | null {
  switch (state) {
    case FLOW_STATE.ANSWERED:
      return "answered";
    case FLOW_STATE.GONE:
      return "refused";
    case FLOW_STATE.UNANSWERED:
      return "silent";
    default:
      return null;
  }
}
