/** Text for people: aligned, cut and wrapped to a width, coloured only where asked. Pure. */
import { printable } from "../printable.ts";

export type Colour = "red" | "yellow" | "green" | "dim" | "bold";

/** `text` cut to `width` with `…` at its end, or, with `keepEnd`, at its beginning. */
export function cut(text: string, width: number, keepEnd = false): string {
  if (text.length <= width) return text;
  if (width <= 1) return text.slice(0, Math.max(0, width));
  return keepEnd ? `…${text.slice(text.length - width + 1)}` : `${text.slice(0, width - 1)}…`;
}

/** Breaks at spaces; a word longer than a line is broken where the line ends. Later lines begin with `indent`. */
export function wrap(text: string, width: number, indent = ""): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = lines.length === 0 ? "" : indent;
    let bare = true;
    for (let word of printable(paragraph).split(" ")) {
      if (!bare && line.length + 1 + word.length > width) {
        lines.push(line);
        line = indent;
        bare = true;
      }
      while (line.length + word.length > width && word !== "") {
        const room = Math.max(1, width - line.length);
        lines.push(line + word.slice(0, room));
        word = word.slice(room);
        line = indent;
      }
      line += bare ? word : ` ${word}`;
      bare = false;
    }
    lines.push(line);
  }
  return lines;
}

export interface Column {
  readonly title: string;
  /** Gives up width when the table is too wide; of several the widest gives first. */
  readonly flexible?: boolean;
  /** A flexible column is not made narrower than that. */
  readonly least?: number;
  readonly right?: boolean;
  /** When cut, its end stays: paths and identifiers. */
  readonly keepEnd?: boolean;
  readonly colour?: (cell: string) => Colour | null;
}

/** Flexible columns keep at least this many characters. */
const LEAST = 8;
const GAP = 2;

/** Lines of a table, at most `width` characters wide. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  paint: (text: string, colour: Colour) => string,
): string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = columns.map((column, index) =>
    cells.reduce((most, row) => Math.max(most, row[index]?.length ?? 0), column.title.length),
  );
  const total = (): number => widths.reduce((sum, one) => sum + one, 0) + GAP * (columns.length - 1);
  while (total() > width) {
    let widest = -1;
    columns.forEach((column, index) => {
      if (
        column.flexible === true &&
        widths[index]! > (column.least ?? LEAST) &&
        (widest < 0 || widths[index]! > widths[widest]!)
      ) {
        widest = index;
      }
    });
    if (widest < 0) break;
    widths[widest]!--;
  }
  const gap = " ".repeat(GAP);
  const line = (
    row: readonly string[],
    colourOf: (column: Column, cell: string) => Colour | null,
  ): string => {
    const shown = columns.map((column, index) => {
      const cell = cut(row[index] ?? "", widths[index]!, column.keepEnd);
      const padded = column.right === true ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!);
      const colour = colourOf(column, row[index] ?? "");
      // The last column is not padded: trailing blanks wrap on a narrow terminal.
      const text = index === columns.length - 1 && column.right !== true ? cell : padded;
      return colour === null ? text : paint(text, colour);
    });
    return shown.join(gap);
  };
  const titles = columns.map((column) => column.title);
  const heading = line(titles, () => "dim");
  return [heading, ...cells.map((row) => line(row, (column, cell) => column.colour?.(cell) ?? null))];
}

/** `12,345` */
export function number(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `512 B`, `1.4 MiB` */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let amount = value;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

/** `1 rule`, `2 rules` */
export function plural(count: number, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** What a follower is told of a gap. */
export function lostEvents(count: number): string {
  return `tidesman: ${plural(count, "event")} left out: they came faster than they were read\n`;
}

/** `sha256:` and twelve characters of a digest, with whatever stands behind the digest. */
export function shortDigest(key: string): string {
  return key.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+/, "$1");
}

export function shortId(id: string): string {
  return /^[0-9a-f]{13,}$/.test(id) ? id.slice(0, 12) : id;
}

/** `2026-11-24 02:33:39` in local time. */
export function localTime(iso: string): string {
  const date = new Date(iso);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Red for what was dropped or stopped, yellow for what was told, none for the rest. */
export function effectColour(effect: string): Colour | null {
  if (effect === "prevent" || effect === "block" || effect === "blocked") return "red";
  return effect === "alert" ? "yellow" : null;
}
