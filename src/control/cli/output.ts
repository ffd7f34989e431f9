/** Where a command writes: people's text to a terminal's width, or JSON. */
import { type Colour, type Column, table, wrap } from "./layout.ts";

/** What of a stream decides how to write to it. */
export interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const STANDARD_WIDTH = 80;
const LEAST_WIDTH = 40;
const MOST_WIDTH = 160;
const RESET = "\u001b[0m";
const CODES: Readonly<Record<Colour, string>> = {
  red: "\u001b[31m",
  yellow: "\u001b[33m",
  green: "\u001b[32m",
  dim: "\u001b[2m",
  bold: "\u001b[1m",
};

/** A line of `facts`: what it is about, what is to be said, and how it is coloured. */
export type Fact = readonly [label: string, value: string, colour?: Colour | null];

export class Output {
  /** Characters of a line: the terminal's, or 80. */
  readonly width: number;
  readonly #stream: Stream;
  readonly #colour: boolean;

  /** Colours only on a terminal, and not when NO_COLOR is set to anything (no-color.org). */
  constructor(stream: Stream, environment: Readonly<Record<string, string | undefined>>) {
    this.#stream = stream;
    const terminal = stream.isTTY === true;
    this.#colour = terminal && (environment.NO_COLOR ?? "") === "" && environment.TERM !== "dumb";
    // A terminal that does not know its size says 0.
    const columns = terminal && stream.columns ? stream.columns : STANDARD_WIDTH;
    this.width = Math.min(Math.max(columns, LEAST_WIDTH), MOST_WIDTH);
  }

  paint = (text: string, colour: Colour | null): string =>
    this.#colour && colour !== null ? `${CODES[colour]}${text}${RESET}` : text;

  /** Whole lines as they are. */
  lines(lines: readonly string[]): void {
    if (lines.length > 0) this.#stream.write(`${lines.join("\n")}\n`);
  }

  /** A paragraph, wrapped. */
  text(text: string, indent = "", colour: Colour | null = null): void {
    this.lines(wrap(text, this.width, indent).map((line) => this.paint(line, colour)));
  }

  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void {
    this.lines(table(columns, rows, this.width, this.paint));
  }

  /** `label  value`, the values below each other and wrapped. */
  facts(facts: readonly Fact[]): void {
    const margin = facts.reduce((most, [label]) => Math.max(most, label.length), 0) + 2;
    for (const [label, value, colour = null] of facts) {
      const [first = "", ...rest] = wrap(value, this.width - margin);
      const head = this.paint(label.padEnd(margin), "dim");
      this.lines([
        head + this.paint(first, colour),
        ...rest.map((line) => " ".repeat(margin) + this.paint(line, colour)),
      ]);
    }
  }

  /** One JSON value, readable on a terminal. */
  json(value: unknown): void {
    this.#stream.write(`${JSON.stringify(value, null, this.#stream.isTTY === true ? 2 : 0)}\n`);
  }

  /** JSON Lines: one record a line. */
  jsonLines(records: readonly unknown[]): void {
    this.lines(records.map((record) => JSON.stringify(record)));
  }
}
