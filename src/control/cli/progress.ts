/** A line on a terminal that says how far a transfer has come; nothing elsewhere. */

export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const BAR = 20;
/** Milliseconds between two drawings. */
const PACE = 100;

export class Progress {
  readonly #terminal: Terminal;
  readonly #now: () => number;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #drawn = false;

  /** `now`: milliseconds of any clock. */
  constructor(terminal: Terminal, now: () => number) {
    this.#terminal = terminal;
    this.#now = now;
  }

  /** `total` null: nobody knows it. */
  transfer(what: string, bytes: number, total: number | null): void {
    const now = this.#now();
    if (now - this.#drawnAt < PACE && bytes !== total) return;
    this.#drawnAt = now;
    const size = `${(bytes / 1e6).toFixed(1)} MB`;
    if (total === null || total === 0) this.#draw(`${what}  ${size}`);
    else {
      const done = Math.min(BAR, Math.floor((bytes / total) * BAR));
      this.#draw(
        `${what}  [${"#".repeat(done)}${" ".repeat(BAR - done)}] ${size} of ${(total / 1e6).toFixed(1)} MB`,
      );
    }
  }

  step(what: string): void {
    this.#draw(`${what} ...`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#drawn) this.#terminal.write("\r\u001b[K");
    this.#drawn = false;
  }

  #draw(text: string): void {
    if (this.#terminal.isTTY !== true) return;
    // A terminal that does not know its size says 0.
    const width = (this.#terminal.columns || 80) - 1;
    this.#terminal.write(`\r\u001b[K${text.slice(0, width)}`);
    this.#drawn = true;
  }
}
