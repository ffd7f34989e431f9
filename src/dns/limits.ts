/** How much one container may ask of the proxy, so that it cannot take the others' share. By slot of the resident. */
import type { Resident } from "../container/table.ts";

/** A token bucket per container: `rate` in a second, and as many at once. A new life of a container starts full. */
export class Rates {
  readonly #perMillisecond: number;
  readonly #burst: number;
  #generations = new Int32Array(64);
  #tokens = new Float64Array(64);
  #times = new Float64Array(64);

  constructor(rate: number) {
    this.#perMillisecond = rate / 1000;
    this.#burst = Math.max(rate, 1);
  }

  /** Takes a token; false when there is none. `now` in milliseconds of the monotonic clock. */
  take(resident: Resident, now: number): boolean {
    const { slot } = resident;
    if (slot >= this.#generations.length) this.#grow(slot);
    let tokens = this.#burst;
    if (this.#generations[slot] === resident.generation) {
      tokens = Math.min(this.#burst, this.#tokens[slot]! + (now - this.#times[slot]!) * this.#perMillisecond);
    }
    this.#generations[slot] = resident.generation;
    this.#times[slot] = now;
    if (tokens < 1) {
      this.#tokens[slot] = tokens;
      return false;
    }
    this.#tokens[slot] = tokens - 1;
    return true;
  }

  #grow(slot: number): void {
    const size = slot * 2;
    const generations = new Int32Array(size);
    const tokens = new Float64Array(size);
    const times = new Float64Array(size);
    generations.set(this.#generations);
    tokens.set(this.#tokens);
    times.set(this.#times);
    this.#generations = generations;
    this.#tokens = tokens;
    this.#times = times;
  }
}
