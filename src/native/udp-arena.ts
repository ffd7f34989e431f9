/** The UDP arena on the kernel. */
import type { Addon, Handle } from "./addon.ts";
import { explainUdpSocket } from "./diagnosis.ts";
import { Failures, guardDatagrams } from "./guard.ts";
import { checkUdpArenaOptions, checkUdpSocketOptions } from "./options.ts";
import type { UdpArena, UdpArenaOptions, UdpArenaStats, UdpSocket, UdpSocketOptions } from "./types.ts";

/** Cells of the addon's counters. */
const CELL = {
  RECEIVED: 0,
  SENT: 1,
  BATCHES: 2,
  TRUNCATED: 3,
  SEND_ERRORS: 4,
  REFUSED: 5,
  CALLBACK_ERRORS: 6,
} as const;

export class KernelUdpArena implements UdpArena {
  readonly memory: Uint8Array;
  readonly meta: Int32Array;
  readonly sends: Int32Array;
  readonly control: Int32Array;
  readonly #options: UdpArenaOptions;
  readonly #addon: Addon;
  readonly #handle: Handle;
  readonly #counters: Float64Array;
  readonly #failures: Failures;

  constructor(addon: Addon, options: UdpArenaOptions, onBatch: (socket: number, count: number) => void) {
    checkUdpArenaOptions(options);
    this.#addon = addon;
    this.#options = options;
    this.#failures = new Failures(() => {
      this.#counters[CELL.CALLBACK_ERRORS]!++;
    });
    const opened = addon.openUdpArena(options, guardDatagrams(onBatch, this.#failures));
    this.#handle = opened.handle;
    this.#counters = opened.counters;
    this.memory = opened.memory;
    this.meta = opened.meta;
    this.sends = opened.sends;
    this.control = opened.control;
  }

  open(options: UdpSocketOptions): UdpSocket {
    checkUdpSocketOptions(options, this.#options);
    const { family, address, port, firstSlot, batch, buffer } = options;
    try {
      const opened = this.#addon.openUdpSocket(this.#handle, {
        family,
        address,
        port,
        firstSlot,
        batch,
        buffer,
        peerAddress: options.peer?.address ?? "",
        peerPort: options.peer?.port ?? 0,
        reusePort: options.reusePort ?? false,
        fd: options.fd ?? -1,
        mark: options.mark ?? -1,
      });
      return new KernelUdpSocket(this.#addon, opened.handle, opened.index, opened.port);
    } catch (error) {
      throw explainUdpSocket(error, address, port, family);
    }
  }

  list(slot: number, socket: number): void {
    if (this.control[0]! >= this.#options.maxSends) this.flush();
    const pair = this.control[0]!;
    this.sends[pair * 2] = slot;
    this.sends[pair * 2 + 1] = socket;
    this.control[0] = pair + 1;
  }

  flush(): void {
    this.#addon.flushUdpArena(this.#handle);
  }

  stats(): UdpArenaStats {
    const counters = this.#counters;
    return {
      received: counters[CELL.RECEIVED]!,
      sent: counters[CELL.SENT]!,
      batches: counters[CELL.BATCHES]!,
      truncated: counters[CELL.TRUNCATED]!,
      sendErrors: counters[CELL.SEND_ERRORS]!,
      refused: counters[CELL.REFUSED]!,
      callbackErrors: counters[CELL.CALLBACK_ERRORS]!,
      lastError: this.#failures.last,
    };
  }

  close(): void {
    this.#addon.closeUdpArena(this.#handle);
  }
}

class KernelUdpSocket implements UdpSocket {
  readonly index: number;
  readonly port: number;
  readonly #addon: Addon;
  readonly #handle: Handle;

  constructor(addon: Addon, handle: Handle, index: number, port: number) {
    this.#addon = addon;
    this.#handle = handle;
    this.index = index;
    this.port = port;
  }

  get refused(): number {
    return this.#addon.udpSocketRefused(this.#handle);
  }

  close(): void {
    this.#addon.closeUdpSocket(this.#handle);
  }
}
