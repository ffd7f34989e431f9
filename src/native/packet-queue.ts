/** The packet queue on the kernel. */
import type { Addon, Handle } from "./addon.ts";
import { explainPacketQueue } from "./diagnosis.ts";
import { Failures, guardPackets } from "./guard.ts";
import { checkPacketQueueOptions } from "./options.ts";
import type { PacketQueue, PacketQueueOptions, PacketQueueStats } from "./types.ts";

/** Cells of the addon's counters. */
const CELL = {
  PACKETS: 0,
  BATCHES: 1,
  PENDING: 2,
  TRUNCATED: 3,
  MALFORMED: 4,
  SEND_ERRORS: 5,
  VERDICT_ERRORS: 6,
  CALLBACK_ERRORS: 7,
} as const;

export class KernelPacketQueue implements PacketQueue {
  readonly slab: Uint8Array;
  readonly meta: Uint32Array;
  readonly verdicts: Uint32Array;
  readonly conntrack: boolean;
  readonly #addon: Addon;
  readonly #handle: Handle;
  readonly #counters: Float64Array;
  readonly #failures: Failures;

  constructor(addon: Addon, options: PacketQueueOptions, onBatch: (count: number) => void) {
    checkPacketQueueOptions(options);
    this.#addon = addon;
    this.#failures = new Failures(() => {
      this.#counters[CELL.CALLBACK_ERRORS]!++;
    });
    const guarded = guardPackets(onBatch, () => this.verdicts, options.failVerdict, this.#failures);
    let opened: ReturnType<Addon["openPacketQueue"]>;
    try {
      opened = addon.openPacketQueue(options, guarded);
    } catch (error) {
      throw explainPacketQueue(error, options.queue);
    }
    this.#handle = opened.handle;
    this.#counters = opened.counters;
    this.slab = opened.slab;
    this.meta = opened.meta;
    this.verdicts = opened.verdicts;
    this.conntrack = opened.conntrack;
  }

  verdict(id: number, code: number, setMark: boolean, mark: number): void {
    this.#addon.packetQueueVerdict(this.#handle, id >>> 0, code >>> 0, setMark, mark >>> 0);
  }

  stats(): PacketQueueStats {
    const counters = this.#counters;
    return {
      packets: counters[CELL.PACKETS]!,
      batches: counters[CELL.BATCHES]!,
      pending: counters[CELL.PENDING]!,
      truncated: counters[CELL.TRUNCATED]!,
      malformed: counters[CELL.MALFORMED]!,
      overruns: this.#addon.packetQueueOverruns(this.#handle),
      sendErrors: counters[CELL.SEND_ERRORS]!,
      verdictErrors: counters[CELL.VERDICT_ERRORS]!,
      callbackErrors: counters[CELL.CALLBACK_ERRORS]!,
      lastError: this.#failures.last,
    };
  }

  close(): void {
    this.#addon.closePacketQueue(this.#handle);
  }
}
