/** Who may use the network when: one exchange at a time per host, and few hosts at once. */

export class Lanes {
  readonly #most: number;
  readonly #busy = new Set<string>();
  #waiting: { readonly host: string; readonly start: () => void }[] = [];

  /** `most`: hosts that are talked to at once. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Runs `exchange` as soon as its host is free; those of one host in the order they came. */
  async run<T>(host: string, exchange: () => Promise<T>): Promise<T> {
    await new Promise<void>((start) => {
      this.#waiting.push({ host, start });
      this.#next();
    });
    try {
      return await exchange();
    } finally {
      this.#busy.delete(host);
      this.#next();
    }
  }

  #next(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (this.#busy.size >= this.#most || this.#busy.has(one.host)) {
        this.#waiting.push(one);
      } else {
        this.#busy.add(one.host);
        one.start();
      }
    }
  }
}
