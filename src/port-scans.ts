/** The port scan detector on the data thread: first packets come in from the queue, outcomes from the connection table. */
import type { Clock } from "./clock.ts";
import { createPortScanDetector, mayProbe, type ProbeEvent } from "./detect/port-scan.ts";
import type { PortScanOptions } from "./detect/port-scan-options.ts";
import type { Detection } from "./detect/types.ts";
import { OUTCOME } from "./detect/walk.ts";
import type { Native } from "./native/types.ts";
import { type FlowFacts, FlowOutcomes, type OutcomesStats } from "./packet/outcomes.ts";
import type { ParsedPacket } from "./packet/parse.ts";

/** What the watch needs to know of a container: a new life of it is a new object. */
export interface Sender {
  readonly container: { readonly id: string };
}

export interface PortScansOptions<Owner extends Sender> {
  readonly native: Pick<Native, "conntrackStates">;
  readonly clock: Clock;
  /** `seed` should be random. */
  readonly detector: Partial<PortScanOptions>;
  /** Takes every detection; the container's rule says what it is worth. */
  readonly detected: (detection: Detection, sender: Owner) => void;
  readonly failed: (error: Error) => void;
}

/** Milliseconds without a new target after which a scan is over, for what may be learned of its container. */
const SCAN_REST = 10 * 60_000;

const ENDS = {
  answered: OUTCOME.ANSWERED,
  refused: OUTCOME.REFUSED,
  silent: OUTCOME.SILENT,
  prevented: OUTCOME.PREVENTED,
} as const;

export class PortScans<Owner extends Sender> {
  readonly #options: PortScansOptions<Owner>;
  readonly #detector: ReturnType<typeof createPortScanDetector>;
  readonly #outcomes: FlowOutcomes<Owner>;
  /** Until when containers that were found scanning are taken to go on; monotonic milliseconds. */
  readonly #scanning = new WeakMap<Owner, number>();
  readonly #probe: ProbeEvent = {
    container: "",
    protocol: 0,
    bytes: new Uint8Array(4),
    offset: 0,
    length: 4,
    port: 0,
    outcome: OUTCOME.SILENT,
    named: false,
  };

  constructor(options: PortScansOptions<Owner>) {
    const { native, clock, failed } = options;
    this.#options = options;
    this.#detector = createPortScanDetector(options.detector);
    this.#outcomes = new FlowOutcomes({
      native,
      clock,
      failed,
      ended: ({ owner, end, protocol, bytes, offset, length, port, named }) => {
        this.#fill(owner, protocol, bytes, offset, length, port);
        this.#probe.outcome = ENDS[end];
        this.#probe.named = named;
        const detection = this.#detector.observe(this.#probe, clock.monotonic());
        if (detection === undefined) return;
        this.#scanning.set(owner, clock.monotonic() + SCAN_REST);
        options.detected(detection, owner);
      },
    });
  }

  /**
   * Takes a packet that the queue has just decided; `bytes` is the slab that `packet` was parsed from. Keeps none of them,
   * and allocates nothing where the container has turned to that target before.
   */
  contact(sender: Owner, packet: ParsedPacket, bytes: Uint8Array, facts: FlowFacts): void {
    const { protocol, tcpFlags, destinationOffset, addressLength, destinationPort } = packet;
    if (!packet.hasPorts || !mayProbe(protocol, tcpFlags, bytes, destinationOffset, addressLength)) return;
    this.#fill(sender, protocol, bytes, destinationOffset, addressLength, destinationPort);
    const now = this.#options.clock.monotonic();
    if (!this.#detector.isFirst(this.#probe, now)) return;
    if (this.isScanning(sender)) this.#scanning.set(sender, now + SCAN_REST);
    this.#outcomes.add(sender, packet, bytes, facts);
  }

  /** Whether the container was found scanning, and goes on to new targets: what it turns to is no habit of its image. */
  isScanning(sender: Owner): boolean {
    const until = this.#scanning.get(sender);
    return until !== undefined && this.#options.clock.monotonic() < until;
  }

  /** The container is gone, or begins a new life. */
  forget(sender: Owner): void {
    this.#outcomes.forget(sender);
    this.#scanning.delete(sender);
    this.#detector.forget(sender.container.id);
  }

  get stats(): OutcomesStats & { readonly containers: number; readonly bytes: number } {
    return { ...this.#outcomes.stats, ...this.#detector.stats };
  }

  close(): void {
    this.#outcomes.close();
  }

  #fill(
    sender: Owner,
    protocol: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    port: number,
  ): void {
    const probe = this.#probe;
    probe.container = sender.container.id;
    probe.protocol = protocol;
    probe.bytes = bytes;
    probe.offset = offset;
    probe.length = length;
    probe.port = port;
  }
}
