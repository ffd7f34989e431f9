/**
 * STIX 2.1 (and 2.0) bundles, and the envelopes that TAXII 2.1 serves: indicators whose pattern compares a name, address or
 * URL for equality, alone or joined by OR: `[domain-name:value = 'a' OR ipv4-addr:value IN ('b', 'c')] OR [url:value = 'd']`.
 * An indicator that needs more than one thing at once (AND, FOLLOWEDBY, qualifiers) or a pattern of any other kind is no
 * verdict about a single name, and is refused whole; so are revoked ones, and those not valid at the time of reading.
 */
import { elements, FeedBodyError, field, parseJSON } from "./body.ts";
import type { ListEntries } from "./entries.ts";
import { hasJSONKey, type ListFormat } from "./format.ts";
import { addURL } from "./indicators.ts";

/** One token of a pattern: a quoted value (`\'` and `\\` escaped), an object path, or a sign. */
const TOKEN = /\s*(?:'((?:[^'\\]|\\.)*)'|([a-z][\w-]*:[\w.'\][*-]+)|([A-Z]+|[[\](),=]))/y;
const MAX_PATTERN = 16 * 1024;

export const stix: ListFormat = {
  name: "stix",
  match: "exact",
  score: (sample) => {
    const found =
      hasJSONKey(sample, /"type"\s*:\s*"(?:bundle|indicator)"/) ||
      hasJSONKey(sample, /"pattern_type"\s*:|"spec_version"\s*:/);
    return found ? 1 : 0;
  },
  read(body, out, now) {
    const document = parseJSON(body);
    const objects = field(document, "objects");
    if (!Array.isArray(objects)) throw new FeedBodyError("it is no STIX bundle: it has no `objects`");
    for (const object of elements(objects)) {
      if (field(object, "type") !== "indicator") continue;
      const pattern = field(object, "pattern");
      const reason = readIndicator(object, pattern, now, out);
      if (reason === null) continue;
      const id = field(object, "id");
      out.refuse(
        typeof id === "string" ? id : "indicator",
        typeof pattern === "string" ? pattern : "",
        reason,
      );
    }
  },
};

function readIndicator(object: unknown, pattern: unknown, now: number, out: ListEntries): string | null {
  if (field(object, "revoked") === true) return "revoked";
  if (timeOf(field(object, "valid_from")) > now) return "not valid yet";
  if (timeOf(field(object, "valid_until")) <= now) return "not valid any more";
  const language = field(object, "pattern_type") ?? "stix";
  if (language !== "stix" || typeof pattern !== "string") return "a pattern of another language";
  const comparisons = parsePattern(pattern);
  if (comparisons === null) return "a pattern that is not simple";
  let refused: string | null = null;
  for (const { path, value } of comparisons) {
    const reason = add(path, value, out);
    refused ??= reason;
  }
  return refused;
}

interface Comparison {
  readonly path: string;
  readonly value: string;
}

/** The comparisons of a pattern of which any suffices; null when it is no such pattern. */
export function parsePattern(pattern: string): readonly Comparison[] | null {
  if (pattern.length > MAX_PATTERN) return null;
  const tokens: { readonly sign?: string; readonly path?: string; readonly value?: string }[] = [];
  const end = pattern.trimEnd().length;
  TOKEN.lastIndex = 0;
  for (let at = 0; at < end; at = TOKEN.lastIndex) {
    const [whole, value, path, sign] = TOKEN.exec(pattern) ?? [];
    if (whole === undefined) return null;
    if (value !== undefined) tokens.push({ value: value.replace(/\\(.)/g, "$1") });
    else if (path !== undefined) tokens.push({ path });
    else tokens.push({ sign: sign! });
  }
  const found: Comparison[] = [];
  let at = 0;
  const sign = (wanted: string): boolean => tokens[at]?.sign === wanted && ++at > 0;
  const comparison = (): boolean => {
    const path = tokens[at++]?.path;
    if (path === undefined) return false;
    const list = sign("IN");
    if (
      !list &&
      !sign("=") &&
      !(tokens[at]?.sign === "ISSUBSET" && /^ipv[46]-addr:value$/.test(path) && ++at)
    )
      return false;
    if (list && !sign("(")) return false;
    do {
      const value = tokens[at++]?.value;
      if (value === undefined) return false;
      found.push({ path, value });
    } while (list && sign(","));
    return !list || sign(")");
  };
  do {
    if (!sign("[")) return null;
    do {
      if (!comparison()) return null;
    } while (sign("OR"));
    if (!sign("]")) return null;
  } while (sign("OR"));
  return at === tokens.length ? found : null;
}

function add(path: string, value: string, out: ListEntries): string | null {
  switch (path) {
    case "domain-name:value":
    case "ipv4-addr:value":
    case "ipv6-addr:value":
    case "network-traffic:dst_ref.value":
      return out.addText(value.trim());
    case "url:value":
      return addURL(out, value);
    default:
      return `a comparison of \`${path.slice(0, 40)}\``;
  }
}

/** Milliseconds since the epoch; NaN, which no comparison holds for, where there is no time. */
function timeOf(value: unknown): number {
  return typeof value === "string" ? Date.parse(value) : Number.NaN;
}
