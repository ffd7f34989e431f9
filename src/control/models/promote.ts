/** A model's names and ports as entries of a rule, written into the text of policy.yaml so that its comments stay. Pure. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, parseDocument, type YAMLSeq } from "yaml";
import { TidesmanError } from "../../errors.ts";
import type { ModelDetail } from "../types.ts";
import { compareLines, linesOf } from "./unified.ts";

export interface Promotion {
  readonly text: string;
  /** Entries that the rule did not have. */
  readonly names: readonly string[];
  readonly ports: readonly number[];
}

/**
 * `text`: a policy that has been found good. A port list knows no protocols: a port that was learned over one allows the
 * other, and what has no ports is left out. Throws TM_NOT_FOUND when there is no such rule, TM_USAGE when its lists are
 * shared with others by an anchor.
 */
export function promote(text: string, rule: string, { entries }: ModelDetail): Promotion {
  const document = parseDocument(text, { version: "1.2" });
  // A list that is not indented stays so; nothing is folded.
  const style = { lineWidth: 0, indentSeq: !/^- /m.test(text) };
  const unchanged = document.toString(style);
  const rules = document.get("rules");
  const index = isSeq(rules)
    ? rules.items.findIndex((one) => isMap(one) && String(one.get("name")).trim() === rule)
    : -1;
  if (index < 0) {
    throw new TidesmanError("TM_NOT_FOUND", `the policy has no rule \`${rule}\`; write it first`);
  }
  const path = ["rules", index] as const;
  const learned = entries.outboundPorts.flatMap(({ protocol, port }) =>
    port > 0 && (protocol === "tcp" || protocol === "udp") ? [port] : [],
  );
  const names = addMissing(
    document,
    [...path, "dns", "allowed"],
    entries.names.map(({ name }) => name),
    (name, known) => known.trim().toLowerCase() === name,
  );
  const ports = addMissing(
    document,
    [...path, "network", "outboundPorts", "allowed"],
    [...new Set(learned)].sort((a, b) => a - b),
    holdsPort,
  );
  if (names.length + ports.length === 0) return { text, names, ports };
  return { text: inPlace(text, unchanged, document.toString(style)), names, ports };
}

/**
 * The library writes all of a document anew, in its own style. Lines that it writes alike with and without the change are
 * left as they are in the file, where the two go line by line.
 */
function inPlace(original: string, unchanged: string, changed: string): string {
  const own = linesOf(original);
  const before = linesOf(unchanged);
  if (own.length !== before.length) return changed;
  let at = 0;
  const lines = compareLines(before, linesOf(changed)).flatMap(({ sign, text }) => {
    if (sign === "+") return [text];
    const line = own[at++]!;
    return sign === " " ? [line] : [];
  });
  const text = `${lines.join("\n")}\n`;
  const meaning = (yaml: string): string => JSON.stringify(parseDocument(yaml, { version: "1.2" }).toJS());
  try {
    return meaning(text) === meaning(changed) ? text : changed;
  } catch {
    return changed;
  }
}

function addMissing<Value extends string | number>(
  document: Document.Parsed,
  path: readonly (string | number)[],
  wanted: readonly Value[],
  holds: (value: Value, known: string) => boolean,
): Value[] {
  for (let length = 2; length <= path.length; length++) {
    const node = document.getIn(path.slice(0, length), true);
    if (isAlias(node) || (isNode(node) && "anchor" in node && node.anchor !== undefined)) {
      const where = path.slice(2, length).join(".") || "the rule";
      throw new TidesmanError(
        "TM_USAGE",
        `\`${where}\` is shared by an anchor; write it out in the rule first`,
      );
    }
    // `dns:` with nothing behind it holds a null, in which nothing can be set.
    if (isScalar(node) && node.value === null) document.deleteIn(path.slice(0, length));
  }
  const list = document.getIn(path);
  const known = isSeq(list) ? knownEntries(list) : [];
  const missing = wanted.filter((value) => !known.some((one) => holds(value, one)));
  if (missing.length === 0) return missing;
  if (isSeq(list)) for (const value of missing) list.add(document.createNode(value));
  else document.setIn(path, document.createNode(missing));
  return missing;
}

function knownEntries(list: YAMLSeq): string[] {
  return list.items.map((item) => String(isScalar(item) ? item.value : item));
}

/** `known`: a port, or `8000-8100`. */
function holdsPort(port: number, known: string): boolean {
  const [first = Number.NaN, last = first] = known.split("-").map(Number);
  return first <= port && port <= last;
}
