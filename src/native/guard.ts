/** What surrounds a caller's batch callback, on the addon and on the fake alike: it may throw, the loop goes on. */
import { NF, VERDICT } from "./types.ts";

/** Code of a verdict row that the callback has not touched yet. */
export const UNDECIDED = 0xfffffffe;

/** What callbacks threw. `count` is called on every throw; the text of the last is kept. */
export class Failures {
  last = "";
  readonly #count: () => void;
  constructor(count: () => void) {
    this.#count = count;
  }
  add(error: unknown): void {
    this.#count();
    this.last = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** `onBatch` that never throws: when it would, rows it left open take `failVerdict`. */
export function guardPackets(
  onBatch: (count: number) => void,
  verdicts: () => Uint32Array,
  failVerdict: number,
  failures: Failures,
): (count: number) => void {
  return (count) => {
    try {
      onBatch(count);
    } catch (error) {
      failures.add(error);
      failOpenRows(verdicts(), count, failVerdict);
    }
  };
}

function failOpenRows(verdicts: Uint32Array, count: number, failVerdict: number): void {
  for (let row = 0; row < count * VERDICT.STRIDE; row += VERDICT.STRIDE) {
    const code = verdicts[row + VERDICT.CODE];
    if (code !== UNDECIDED && code !== NF.PENDING) continue;
    verdicts[row + VERDICT.CODE] = failVerdict;
    verdicts[row + VERDICT.SET_MARK] = 0;
  }
}

/** `onBatch` that never throws; what it listed before it threw is complete and is sent. */
export function guardDatagrams(
  onBatch: (socket: number, count: number) => void,
  failures: Failures,
): (socket: number, count: number) => void {
  return (socket, count) => {
    try {
      onBatch(socket, count);
    } catch (error) {
      failures.add(error);
    }
  };
}
