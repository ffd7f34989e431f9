/** Time as a parameter, so that a test never sleeps. */

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that never go back. */
  monotonic(): number;
  /** Calls back after `ms`; the handle cancels. Does not keep the process alive. */
  after(ms: number, callback: () => void): { cancel(): void };
  /** Calls back every `ms` until cancelled. Does not keep the process alive. */
  every(ms: number, callback: () => void): { cancel(): void };
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every(ms, callback) {
    const timer = setInterval(callback, ms);
    timer.unref();
    return { cancel: () => clearInterval(timer) };
  },
};

/** A clock that stands still until `advance` is called; timers due fire in order. For tests and simulations. */
export class ManualClock implements Clock {
  #now: number;
  /** What `now` is ahead of `monotonic`. */
  #ahead = 0;
  #timers: { due: number; period: number; callback: () => void; live: boolean }[] = [];
  constructor(start = 0) {
    this.#now = start;
  }
  now(): number {
    return this.#now + this.#ahead;
  }
  monotonic(): number {
    return this.#now;
  }
  after(ms: number, callback: () => void): { cancel(): void } {
    return this.#add(ms, 0, callback);
  }
  every(ms: number, callback: () => void): { cancel(): void } {
    return this.#add(ms, ms, callback);
  }
  #add(ms: number, period: number, callback: () => void): { cancel(): void } {
    const timer = { due: this.#now + ms, period, callback, live: true };
    this.#timers.push(timer);
    return {
      cancel: () => {
        timer.live = false;
      },
    };
  }
  /** Somebody sets the clock: `now` jumps, `monotonic` and the timers go on. */
  set(now: number): void {
    this.#ahead = now - this.#now;
  }
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      this.#timers = this.#timers.filter((timer) => timer.live);
      const next = this.#timers.filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due)[0];
      if (next === undefined) break;
      this.#now = next.due;
      if (next.period > 0) next.due += next.period;
      else next.live = false;
      next.callback();
    }
    this.#now = end;
  }
}
