/**
 * How flows end: answered, refused, or with silence. The packet queue sees first packets only, so the connection table is
 * asked for single flows, by the tuple of that packet: after a second, when an answer or a reset is long there, and where
 * there was neither once more, after the first retransmissions (RFC 6298: 1 and 3 seconds). Nothing is asked while no
 * flow waits, and no event of other flows of the host is made or read.
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
  end: "answered" | "refused" | "silent";
  protocol: number;
  /** Holds the destination in network order, at `offset`. */
  bytes: Uint8Array;
  offset: number;
  length: 4 | 16;
  port: number;
  /** As given with `add`. */
  named: boolean;
}

export interface OutcomesOptions<Owner> {
  readonly native: Pick<Native, "conntrackStates">;
  readonly clock: Clock;
  readonly ended: (flow: EndedFlow<Owner>) => void;
  /** Told when the kernel first refuses to say; what waits then is given up, as are the flows of later refusals. */
  readonly failed: (error: Error) => void;
}

export interface OutcomesStats {
  readonly waiting: number;
  readonly answered: number;
  readonly refused: number;
  readonly silent: number;
  /** Flows for which there was no room, and of which the kernel did not say. */
  readonly unasked: number;
  readonly unknown: number;
}

/** Milliseconds between two looks at what is due. */
const STEP = 250;
const FIRST_LOOK = 1000;
const LAST_LOOK = 5000;
/** Flows that wait for a look at most, in all and of one owner: 50 bytes each. */
const CAPACITY = 4096;
const SHARE = 1024;
/** Flows looked up in one step and queue: about a millisecond of the thread. */
const MOST = 512;

/** Flows that wait for their next look, in the order in which it is due. */
class Waiting<Owner> {
  readonly rows = new Uint8Array(CAPACITY * FLOW.STRIDE);
  readonly view = new DataView(this.rows.buffer);
  readonly owners: (Owner | null)[] = new Array(CAPACITY).fill(null);
  readonly named = new Uint8Array(CAPACITY);
  /** Monotonic milliseconds of the first packet. */
  readonly since = new Float64Array(CAPACITY);
  head = 0;
  size = 0;

  /** The place of a new flow; -1 when there is none. */
  add(owner: Owner, since: number, named: boolean): number {
    if (this.size === CAPACITY) return -1;
    const place = (this.head + this.size++) % CAPACITY;
    this.owners[place] = owner;
    this.since[place] = since;
    this.named[place] = named ? 1 : 0;
    return place;
  }

  /** How many from `head` on have waited for `delay`, in one piece of memory. */
  due(now: number, delay: number): number {
    const most = Math.min(this.size, MOST, CAPACITY - this.head);
    let count = 0;
    while (count < most && now - this.since[this.head + count]! >= delay) count++;
    return count;
  }

  drop(count: number): void {
    this.owners.fill(null, this.head, this.head + count);
    this.head = (this.head + count) % CAPACITY;
    this.size -= count;
  }
}

export class FlowOutcomes<Owner> {
  readonly #options: OutcomesOptions<Owner>;
  readonly #first = new Waiting<Owner>();
  readonly #last = new Waiting<Owner>();
  /** Flows of each owner in `#first`. */
  readonly #shares = new Map<Owner, number>();
  #timer: { cancel(): void } | undefined;
  #refusal = false;
  #ended: EndedFlow<Owner> | undefined;
  readonly #count = { answered: 0, refused: 0, silent: 0, unasked: 0, unknown: 0 };

  constructor(options: OutcomesOptions<Owner>) {
    this.#options = options;
  }

  /** Takes a flow whose first packet was just let out: TCP, UDP or another protocol with ports. */
  add(owner: Owner, packet: ParsedPacket, bytes: Uint8Array, named: boolean): void {
    const share = this.#shares.get(owner) ?? 0;
    const { clock } = this.#options;
    const place = share < SHARE ? this.#first.add(owner, clock.monotonic(), named) : -1;
    if (place < 0) {
      this.#count.unasked++;
      return;
    }
    this.#shares.set(owner, share + 1);
    const { rows, view } = this.#first;
    const row = place * FLOW.STRIDE;
    rows[row + FLOW.FAMILY] = packet.addressLength === 4 ? 4 : 6;
    rows[row + FLOW.PROTOCOL] = packet.protocol;
    view.setUint16(row + FLOW.SOURCE_PORT, packet.sourcePort);
    view.setUint16(row + FLOW.PORT, packet.destinationPort);
    for (let index = 0; index < packet.addressLength; index++) {
      rows[row + FLOW.SOURCE + index] = bytes[packet.sourceOffset + index]!;
      rows[row + FLOW.DESTINATION + index] = bytes[packet.destinationOffset + index]!;
    }
    this.#timer ??= clock.every(STEP, () => this.#step());
  }

  /** Gives up the flows of an owner that is gone. */
  forget(owner: Owner): void {
    this.#shares.delete(owner);
    for (const { owners } of [this.#first, this.#last]) {
      for (let place = 0; place < CAPACITY; place++) if (owners[place] === owner) owners[place] = null;
    }
  }

  get stats(): OutcomesStats {
    return { ...this.#count, waiting: this.#first.size + this.#last.size };
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #step(): void {
    this.#look(this.#first, FIRST_LOOK);
    this.#look(this.#last, LAST_LOOK);
    if (this.#first.size + this.#last.size === 0) this.close();
  }

  #look(waiting: Waiting<Owner>, delay: number): void {
    const count = waiting.due(this.#options.clock.monotonic(), delay);
    if (count === 0) return;
    const start = waiting.head * FLOW.STRIDE;
    try {
      this.#options.native.conntrackStates(waiting.rows.subarray(start, start + count * FLOW.STRIDE), count);
    } catch (error) {
      for (let row = start; row < start + count * FLOW.STRIDE; row += FLOW.STRIDE)
        waiting.rows[row + FLOW.STATE] = FLOW_STATE.UNKNOWN;
      if (!this.#refusal) this.#options.failed(error instanceof Error ? error : new Error(String(error)));
      this.#refusal = true;
    }
    for (let place = waiting.head; place < waiting.head + count; place++) this.#take(waiting, place);
    waiting.drop(count);
  }

  #take(waiting: Waiting<Owner>, place: number): void {
    const owner = waiting.owners[place] ?? null;
    if (owner === null) return;
    if (waiting === this.#first) this.#return(owner);
    const state = waiting.rows[place * FLOW.STRIDE + FLOW.STATE];
    if (state === FLOW_STATE.UNANSWERED && waiting === this.#first) this.#wait(place, owner);
    else if (state === FLOW_STATE.UNANSWERED) this.#tell(waiting, place, owner, "silent");
    else if (state === FLOW_STATE.ANSWERED) this.#tell(waiting, place, owner, "answered");
    else if (state === FLOW_STATE.GONE) this.#tell(waiting, place, owner, "refused");
    else this.#count.unknown++;
  }

  #wait(place: number, owner: Owner): void {
    const from = this.#first;
    const next = this.#last.add(owner, from.since[place]!, from.named[place] === 1);
    if (next < 0) {
      this.#count.unasked++;
      return;
    }
    const row = place * FLOW.STRIDE;
    this.#last.rows.set(from.rows.subarray(row, row + FLOW.STRIDE), next * FLOW.STRIDE);
  }

  #tell(waiting: Waiting<Owner>, place: number, owner: Owner, end: EndedFlow<Owner>["end"]): void {
    const { rows, view } = waiting;
    const row = place * FLOW.STRIDE;
    this.#count[end]++;
    this.#ended ??= { owner, end, protocol: 0, bytes: rows, offset: 0, length: 4, port: 0, named: false };
    const flow = this.#ended;
    flow.owner = owner;
    flow.end = end;
    flow.protocol = rows[row + FLOW.PROTOCOL]!;
    flow.bytes = rows;
    flow.offset = row + FLOW.DESTINATION;
    flow.length = rows[row + FLOW.FAMILY] === 4 ? 4 : 16;
    flow.port = view.getUint16(row + FLOW.PORT);
    flow.named = waiting.named[place] === 1;
    this.#options.ended(flow);
  }

  #return(owner: Owner): void {
    const share = this.#shares.get(owner) ?? 0;
    if (share > 1) this.#shares.set(owner, share - 1);
    else this.#shares.delete(owner);
  }
}
