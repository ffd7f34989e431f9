/** Entries put into a list of a YAML text as a person with an editor would: every byte that was there stays. Pure. */
import {
  isCollection,
  isMap,
  isNode,
  isPair,
  parseDocument,
  stringify,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";

type Collection = YAMLMap | YAMLSeq;

/** Spaces of one level where the text shows none. */
const STEP = 2;

/**
 * `path`: keys and indexes down to the list; what of it is missing is written as well. Null where the text is laid out in a
 * way that this does not know.
 */
export function insertEntries(
  text: string,
  path: readonly (string | number)[],
  values: readonly (string | number)[],
): string | null {
  const document = parseDocument(text, { version: "1.2" });
  let depth = path.length;
  while (depth > 0 && !isCollection(document.getIn(path.slice(0, depth), true))) depth--;
  const into = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
  if (!isCollection(into)) return null;
  const missing = path.slice(depth).map(String);
  const entries = values.map((value) => stringify(value, { lineWidth: 0 }).trim());
  const collection = into as Collection;
  return collection.flow === true
    ? intoFlow(text, collection, missing, entries)
    : intoBlock(text, collection, missing, entries);
}

/** `[a, b]`, `{ allowed: [a] }`. */
function intoFlow(
  text: string,
  into: Collection,
  missing: readonly string[],
  entries: readonly string[],
): string | null {
  const start = into.range?.[0];
  if (start === undefined) return null;
  const list = entries.join(", ");
  const [first, ...rest] = missing;
  const inside = rest.reduceRight((value, key) => `{ ${key}: ${value} }`, `[${list}]`);
  const added = first === undefined ? list : `${first}: ${inside}`;
  const last = into.items.at(-1);
  if (last === undefined) return put(text, start + 1, first === undefined ? added : ` ${added} `);
  const end = endOf(last);
  return end === null ? null : put(text, end, `, ${added}`);
}

function intoBlock(
  text: string,
  into: Collection,
  missing: readonly string[],
  entries: readonly string[],
): string | null {
  const last = into.items.at(-1);
  const lead = leadOf(text, isMap(into) ? into.items[0] : last);
  const end = endOf(last);
  if (end === null || lead === null || !/^(?: *- +)* *$/.test(lead)) return null;
  const newline = text.includes("\r\n") ? "\r\n" : "\n";
  if (missing.length === 0) {
    const lines = entries.map((entry) => lead + entry);
    return putLines(text, end, lines, newline);
  }
  const step = stepOf(text, into);
  const indent = (level: number): string => " ".repeat(lead.length + level * step);
  const deep = missing.length - (/^- /m.test(text) ? 1 : 0);
  const lines = [
    ...missing.map((key, level) => `${indent(level)}${key}:`),
    ...entries.map((entry) => `${indent(deep)}- ${entry}`),
  ];
  return putLines(text, behindComments(text, end, lead.length), lines, newline);
}

/** What stands on the line before an item. */
function leadOf(text: string, item: unknown): string | null {
  const node = isPair(item) ? item.key : item;
  const start = isNode(node) ? node.range?.[0] : undefined;
  return start === undefined ? null : text.slice(text.lastIndexOf("\n", start - 1) + 1, start);
}

/** Where the last value in it ends, without what follows on its line. */
function endOf(item: unknown): number | null {
  if (isPair(item)) return endOf(item.value ?? item.key);
  if (isCollection(item) && item.flow !== true && item.items.length > 0) return endOf(item.items.at(-1));
  return isNode(item) ? (item.range?.[1] ?? null) : null;
}

/** By how much the text indents what is in a mapping of `into`. */
function stepOf(text: string, into: Collection): number {
  for (const pair of into.items) {
    if (!isPair(pair) || !isMap(pair.value) || pair.value.flow === true) continue;
    const [outer, inner] = [leadOf(text, into.items[0]), leadOf(text, pair.value.items[0])];
    if (outer !== null && inner !== null && inner.length > outer.length) return inner.length - outer.length;
  }
  return STEP;
}

/** Past comments on lines of their own that are indented deeper: they belong to what is before them. */
function behindComments(text: string, from: number, column: number): number {
  let at = from;
  for (;;) {
    const line = text.indexOf("\n", at);
    const comment = line < 0 ? null : /^( *)#[^\n]*/.exec(text.slice(line + 1, line + 1 + 4096));
    if (comment === null || comment[1]!.length <= column) return at;
    at = line + 1 + comment[0].length;
  }
}

function putLines(text: string, behind: number, lines: readonly string[], newline: string): string {
  const end = text.indexOf("\n", behind);
  if (end < 0) return `${text}${newline}${lines.join(newline)}`;
  return put(text, end + 1, lines.map((line) => line + newline).join(""));
}

function put(text: string, at: number, added: string): string {
  return text.slice(0, at) + added + text.slice(at);
}
