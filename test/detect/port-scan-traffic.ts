/** Contacts of made-up programs, told to a detector on a clock of their own. */
import { parseAddress } from "../../src/address.ts";
import { createPortScanDetector, type PortScanDetector } from "../../src/detect/port-scan.ts";
import type { PortScanOptions } from "../../src/detect/port-scan-options.ts";
import type { Detection } from "../../src/detect/types.ts";
import { OUTCOME, type Outcome } from "../../src/detect/walk.ts";

export const TCP = 6;
export const UDP = 17;

export interface Contact {
  readonly container?: string;
  readonly protocol?: number;
  readonly host: number | string;
  readonly port: number;
  readonly outcome: Outcome;
  readonly named?: boolean;
}

/** The `index`-th address of 198.18.0.0/15 and what follows. */
export function address(index: number): Uint8Array {
  const value = 0xc612_0000 + index;
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

export class Traffic {
  readonly detector: PortScanDetector;
  readonly detections: Detection[] = [];
  /** First contacts so far. */
  probes = 0;
  now = 1000;

  constructor(options: Partial<PortScanOptions> = {}) {
    this.detector = createPortScanDetector(options);
  }

  /** One contact, `wait` milliseconds after the one before. */
  contact(contact: Contact, wait = 10): Detection | undefined {
    this.now += wait;
    const { container = "c1", protocol = TCP, host, port, outcome, named = false } = contact;
    const bytes = typeof host === "number" ? address(host) : (parseAddress(host) ?? new Uint8Array(4));
    const event = { container, protocol, bytes, offset: 0, length: bytes.length, port, outcome, named };
    if (!this.detector.isFirst(event, this.now)) return undefined;
    this.probes++;
    const found = this.detector.observe(event, this.now);
    if (found !== undefined) this.detections.push(found);
    return found;
  }
}

/** Repeatable numbers from 0 to below 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A failure with that probability. */
export function outcomeOf(random: () => number, failing: number): Outcome {
  return random() < failing ? OUTCOME.REFUSED : OUTCOME.ANSWERED;
}
