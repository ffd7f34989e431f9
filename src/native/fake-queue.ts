/** The packet queue of the fake: packets go in as bytes, verdicts come out as records. */
import { Failures, guardPackets, UNDECIDED } from "./guard.ts";
import type { PacketQueue, PacketQueueOptions, PacketQueueStats } from "./types.ts";
import { NF, PACKET, VERDICT } from "./types.ts";

/** A packet as a test hands it in; what is left out is 0, `protocol` follows the IP version of `payload`. */
export interface FakePacket {
  readonly payload: Uint8Array;
  readonly protocol?: number;
  readonly hook?: number;
  readonly mark?: number;
  readonly inDevice?: number;
  readonly outDevice?: number;
  readonly physInDevice?: number;
  readonly physOutDevice?: number;
  readonly skbInfo?: number;
  /** `enum ip_conntrack_info` and the raw NFQA_CT payload. */
  readonly conntrackInfo?: number;
  readonly conntrack?: Uint8Array;
}

/** What became of a packet. `mark` is null when the verdict set none. */
export interface FakeVerdict {
  readonly id: number;
  readonly code: number;
  readonly mark: number | null;
}

const CODES: readonly number[] = [NF.DROP, NF.ACCEPT, NF.REPEAT];
const SLOT_OVERHEAD = 1024;

export class FakeQueue implements PacketQueue {
  readonly slab: Uint8Array;
  readonly meta: Uint32Array;
  readonly verdicts: Uint32Array;
  readonly conntrack: boolean;
  readonly options: PacketQueueOptions;
  /** Every verdict given so far, in order. */
  readonly decided: FakeVerdict[] = [];
  /** Ids that wait for `verdict()`. */
  readonly held = new Set<number>();
  readonly #slotSize: number;
  readonly #onBatch: (count: number) => void;
  readonly #onClose: () => void;
  readonly #waiting: { id: number; packet: FakePacket }[] = [];
  readonly #failures = new Failures(() => {
    this.#callbackErrors++;
  });
  #nextId = 1;
  #batchIds: number[] = [];
  #draining = false;
  #closed = false;
  #packets = 0;
  #batches = 0;
  #overruns = 0;
  #verdictErrors = 0;
  #callbackErrors = 0;

  constructor(options: PacketQueueOptions, onBatch: (count: number) => void, onClose: () => void) {
    this.options = options;
    this.conntrack = options.conntrack;
    this.#slotSize = options.copyRange + SLOT_OVERHEAD;
    this.slab = new Uint8Array(options.batch * this.#slotSize);
    this.meta = new Uint32Array(options.batch * PACKET.STRIDE);
    this.verdicts = new Uint32Array(options.batch * VERDICT.STRIDE);
    this.#onBatch = guardPackets(onBatch, () => this.verdicts, options.failVerdict, this.#failures);
    this.#onClose = onClose;
  }

  /**
   * Packets arrive, in batches as large as the options allow; returns their ids. A packet that finds `maxLength`
   * others undecided is decided by `failOpen`, unseen. Inside a callback they wait for its end.
   */
  deliver(...packets: readonly FakePacket[]): number[] {
    if (this.#closed) throw new Error(`fake queue ${this.options.queue} is closed`);
    const ids = packets.map((packet) => {
      const id = this.#nextId++;
      if (this.held.size + this.#waiting.length + this.#batchIds.length >= this.options.maxLength) {
        this.decided.push({ id, code: this.options.failOpen ? NF.ACCEPT : NF.DROP, mark: null });
      } else {
        this.#waiting.push({ id, packet });
      }
      return id;
    });
    this.#drain();
    return ids;
  }

  /** Counts packets that the kernel could not hand over (a full socket buffer). */
  overrun(packets: number): void {
    this.#overruns += packets;
  }

  /** The verdict on packet `id`, or undefined while it is held or unknown. */
  verdictOf(id: number): FakeVerdict | undefined {
    return this.decided.find((verdict) => verdict.id === id);
  }

  verdict(id: number, code: number, setMark: boolean, mark: number): void {
    const row = this.#batchIds.indexOf(id) * VERDICT.STRIDE;
    if (!CODES.includes(code)) {
      this.#verdictErrors++;
    } else if (row >= 0 && this.verdicts[row + VERDICT.CODE] === NF.PENDING) {
      this.verdicts.set([code, setMark ? 1 : 0, mark], row);
    } else if (this.held.delete(id)) {
      this.decided.push({ id, code, mark: setMark ? mark >>> 0 : null });
    } else {
      this.#verdictErrors++;
    }
  }

  stats(): PacketQueueStats {
    return {
      packets: this.#packets,
      batches: this.#batches,
      pending: this.held.size,
      truncated: 0,
      malformed: 0,
      overruns: this.#overruns,
      sendErrors: 0,
      verdictErrors: this.#verdictErrors,
      callbackErrors: this.#callbackErrors,
      lastError: this.#failures.last,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#draining) this.#finish();
    this.#onClose();
  }

  #finish(): void {
    const left = [...this.held, ...this.#waiting.map(({ id }) => id)];
    for (const id of left) this.decided.push({ id, code: this.options.failVerdict, mark: null });
    this.held.clear();
    this.#waiting.length = 0;
  }

  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    while (this.#waiting.length > 0 && !this.#closed) {
      const batch = this.#waiting.splice(0, this.options.batch);
      this.#batchIds = batch.map(({ id }) => id);
      batch.forEach(({ id, packet }, row) => {
        this.#fill(row, id, packet);
      });
      this.#packets += batch.length;
      this.#batches++;
      this.#onBatch(batch.length);
      this.#collect();
    }
    this.#draining = false;
    if (this.#closed) this.#finish();
  }

  #fill(row: number, id: number, packet: FakePacket): void {
    const offset = row * this.#slotSize;
    const captured = packet.payload.subarray(0, this.options.copyRange);
    this.slab.set(captured, offset);
    const conntrack = this.conntrack ? packet.conntrack?.subarray(0, SLOT_OVERHEAD) : undefined;
    if (conntrack !== undefined) this.slab.set(conntrack, offset + captured.length);
    const version = (packet.payload[0] ?? 0) >> 4;
    const cells = new Uint32Array(PACKET.STRIDE);
    cells[PACKET.ID] = id;
    cells[PACKET.PROTOCOL] = packet.protocol ?? (version === 6 ? 0x86dd : 0x0800);
    cells[PACKET.HOOK] = packet.hook ?? 0;
    cells[PACKET.MARK] = packet.mark ?? 0;
    cells[PACKET.IN_DEVICE] = packet.inDevice ?? 0;
    cells[PACKET.OUT_DEVICE] = packet.outDevice ?? 0;
    cells[PACKET.PHYS_IN_DEVICE] = packet.physInDevice ?? 0;
    cells[PACKET.PHYS_OUT_DEVICE] = packet.physOutDevice ?? 0;
    cells[PACKET.OFFSET] = offset;
    cells[PACKET.CAPTURED] = captured.length;
    cells[PACKET.LENGTH] = packet.payload.length;
    cells[PACKET.CONNTRACK_INFO] = this.conntrack ? (packet.conntrackInfo ?? 0xffffffff) : 0xffffffff;
    cells[PACKET.CONNTRACK_OFFSET] = conntrack === undefined ? 0 : offset + captured.length;
    cells[PACKET.CONNTRACK_LENGTH] = conntrack?.length ?? 0;
    cells[PACKET.SKB_INFO] = packet.skbInfo ?? 0;
    this.meta.set(cells, row * PACKET.STRIDE);
    this.verdicts.set([UNDECIDED, 0, 0], row * VERDICT.STRIDE);
  }

  #collect(): void {
    this.#batchIds.forEach((id, index) => {
      const row = index * VERDICT.STRIDE;
      const code = this.verdicts[row + VERDICT.CODE]!;
      if (code === NF.PENDING) {
        this.held.add(id);
      } else if (CODES.includes(code)) {
        const mark = this.verdicts[row + VERDICT.SET_MARK] === 0 ? null : this.verdicts[row + VERDICT.MARK]!;
        this.decided.push({ id, code, mark });
      } else {
        if (code !== UNDECIDED) this.#verdictErrors++;
        this.decided.push({ id, code: this.options.failVerdict, mark: null });
      }
    });
    this.#batchIds = [];
  }
}
