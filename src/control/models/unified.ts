/** What changed between two texts, as a unified diff (POSIX diff, "Diff -u Output Format"). Pure. */

/** Unchanged lines around a change. */
const CONTEXT = 3;
/** Cells of the largest table of common subsequences; past that the whole changed stretch is told as replaced. */
const MAX_CELLS = 4_000_000;

export interface Line {
  readonly sign: " " | "-" | "+";
  readonly text: string;
}

/** Lines of the diff with both headings; none when the texts are the same. */
export function unifiedDiff(before: string, after: string, from: string, to: string): string[] {
  const lines = compareLines(linesOf(before), linesOf(after));
  const changed = lines.flatMap(({ sign }, index) => (sign === " " ? [] : [index]));
  if (changed.length === 0) return [];
  const hunks: { first: number; end: number }[] = [];
  for (const index of changed) {
    const last = hunks.at(-1);
    const end = Math.min(lines.length, index + CONTEXT + 1);
    if (last !== undefined && index - CONTEXT <= last.end) last.end = end;
    else hunks.push({ first: Math.max(0, index - CONTEXT), end });
  }
  const told = [`--- ${from}`, `+++ ${to}`];
  let oldLine = 1;
  let newLine = 1;
  let at = 0;
  for (const { first, end } of hunks) {
    // Between two hunks nothing changed: both sides go on by as many lines.
    oldLine += first - at;
    newLine += first - at;
    const shown = lines.slice(first, end);
    const olds = shown.filter(({ sign }) => sign !== "+").length;
    const news = shown.filter(({ sign }) => sign !== "-").length;
    told.push(`@@ -${range(oldLine, olds)} +${range(newLine, news)} @@`);
    told.push(...shown.map(({ sign, text }) => sign + text));
    oldLine += olds;
    newLine += news;
    at = end;
  }
  return told;
}

function range(first: number, count: number): string {
  if (count === 1) return String(first);
  return `${count === 0 ? first - 1 : first},${count}`;
}

/** Without line ends; what is behind the last one, if anything, is a line too. */
export function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** All lines of both: those they share, those that only `a` has, and those that only `b` has. */
export function compareLines(a: readonly string[], b: readonly string[]): Line[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - start && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  const same = (text: string): Line => ({ sign: " ", text });
  return [
    ...a.slice(0, start).map(same),
    ...align(a.slice(start, a.length - tail), b.slice(start, b.length - tail)),
    ...a.slice(a.length - tail).map(same),
  ];
}

/** By the longest common subsequence; removed lines before added ones. */
function align(a: readonly string[], b: readonly string[]): Line[] {
  const width = b.length + 1;
  const all = (texts: readonly string[], sign: Line["sign"]): Line[] => texts.map((text) => ({ sign, text }));
  if ((a.length + 1) * width > MAX_CELLS) return [...all(a, "-"), ...all(b, "+")];
  // Length of the common subsequence of what follows a[i] and b[j].
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] =
        a[i] === b[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      lines.push({ sign: " ", text: a[i]! });
      i++;
      j++;
    } else if (common[(i + 1) * width + j]! >= common[i * width + j + 1]!)
      lines.push({ sign: "-", text: a[i++]! });
    else lines.push({ sign: "+", text: b[j++]! });
  }
  return [...lines, ...all(a.slice(i), "-"), ...all(b.slice(j), "+")];
}
