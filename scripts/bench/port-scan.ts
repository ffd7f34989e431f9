/** What the port scan detector costs: nanoseconds a packet, by what the packet is. */
import { createPortScanDetector, mayProbe } from "../../src/detect/port-scan.ts";
import { OUTCOME } from "../../src/detect/walk.ts";

export interface PortScanCost {
  /** A packet to a target that its container has turned to before. */
  readonly repeated: number;
  /** The first contact with a target, and its outcome: an answer, or a failure of a scan that is found long since. */
  readonly answered: number;
  readonly failed: number;
}

const CONTAINERS = 100;
const TARGETS = 1000;

/** Measures `rounds` times CONTAINERS * TARGETS packets of each kind, best round counting. */
export function measurePortScan(rounds = 5): PortScanCost {
  const names = Array.from({ length: CONTAINERS }, (_, index) => `container-${index}`);
  const bytes = new Uint8Array(4);
  const event = {
    container: "",
    protocol: 6,
    bytes,
    offset: 0,
    length: 4,
    port: 443,
    outcome: OUTCOME.ANSWERED as (typeof OUTCOME)[keyof typeof OUTCOME],
    named: false,
  };
  const best = { repeated: Infinity, answered: Infinity, failed: Infinity };
  for (let round = 0; round < rounds; round++) {
    for (const [kind, outcome] of [
      ["answered", OUTCOME.ANSWERED],
      ["failed", OUTCOME.REFUSED],
    ] as const) {
      const detector = createPortScanDetector();
      const pass = (): number => {
        const start = performance.now();
        for (let target = 0; target < TARGETS; target++) {
          bytes[2] = target >> 8;
          bytes[3] = target & 255;
          for (const name of names) {
            if (!mayProbe(6, 2, bytes, 0, 4)) continue;
            event.container = name;
            event.outcome = outcome;
            if (detector.isFirst(event, round)) detector.observe(event, round);
          }
        }
        return ((performance.now() - start) * 1e6) / (CONTAINERS * TARGETS);
      };
      best[kind] = Math.min(best[kind], pass());
      best.repeated = Math.min(best.repeated, pass());
    }
  }
  return best;
}
