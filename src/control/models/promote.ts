/** A model's names and ports as entries of a rule, written into the text of policy.yaml so that its comments stay. Pure. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, parseDocument, type YAMLSeq } from "yaml";
import { TidesmanError } from "../../errors.ts";
import { parseNamePattern } from "../../policy/domains.ts";
import type { ModelDetail } from "../types.ts";
import { insertEntries } from "./insert.ts";

export interface Promotion {
  readonly text: string;
  /** Entries that the rule did not have. */
  readonly names: readonly string[];
  readonly ports: readonly number[];
  /** Learned names that no rule can hold: of other characters than host names have, or like addresses. */
  readonly leftOut: readonly string[];
}

/**
 * `text`: a policy that has been found good. A port list knows no protocols: a port that was learned over one allows the
 * other, and what has no ports is left out. Throws TM_NOT_FOUND when there is no such rule, TM_USAGE when its lists are
 * shared with others by an anchor.
 */
export function promote(text: string, rule: string, { entries }: ModelDetail): Promotion {
  const document = parseDocument(text, { version: "1.2" });
  const rules = document.get("rules");
  const index = isSeq(rules)
    ? rules.items.findIndex((one) => isMap(one) && String(one.get("name")).trim() === rule)
    : -1;
  if (index < 0) {
    throw new TidesmanError("TM_NOT_FOUND", `the policy has no rule \`${rule}\`; write it first`);
  }
  const [dns, network] = [
    ["rules", index, "dns", "allowed"],
    ["rules", index, "network", "outboundPorts", "allowed"],
  ] as const;
  const learned = entries.outboundPorts.flatMap(({ protocol, port }) =>
    port > 0 && (protocol === "tcp" || protocol === "udp") ? [port] : [],
  );
  const { usable = [], leftOut = [] } = Object.groupBy(
    entries.names.map(({ name }) => name),
    (name) => (typeof parseNamePattern(name) === "string" ? "leftOut" : "usable"),
  );
  const names = addMissing(document, dns, usable, (name, known) => known.trim().toLowerCase() === name);
  const ports = addMissing(
    document,
    network,
    [...new Set(learned)].sort((a, b) => a - b),
    holdsPort,
  );
  const named = names.length === 0 ? text : insertEntries(text, dns, names);
  const written = named === null || ports.length === 0 ? named : insertEntries(named, network, ports);
  const meant = document.toString({ lineWidth: 0, indentSeq: !/^- /m.test(text) });
  // Where nothing can be put in between, the library writes all anew, in its own style; comments stay then too.
  return { text: written !== null && isAlike(written, meant) ? written : meant, names, ports, leftOut };
}

function isAlike(one: string, other: string): boolean {
  const meaning = (yaml: string): string => JSON.stringify(parseDocument(yaml, { version: "1.2" }).toJS());
  try {
    return meaning(one) === meaning(other);
  } catch {
    return false;
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
