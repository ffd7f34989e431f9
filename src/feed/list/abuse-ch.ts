/**
 * The exports of abuse.ch, as CSV and as JSON: URLhaus (URLs), ThreatFox (indicators of several types) and Feodo Tracker
 * (addresses of botnet controllers). CSV has comment headers, fields in quotes, and often a blank behind the comma.
 * JSON is an object of arrays by identifier, an array, or an answer of the API (`data`, `urls`).
 *
 * A URL is an entry only when it names a whole host (see indicators.ts). `ip:port` names the address: the port is where
 * malware was seen to listen, and a machine that listens for malware is not to be talked to.
 */
import type { ListFormatName } from "../types.ts";
import { elements, field, parseJSON } from "./body.ts";
import { csvFields } from "./csv.ts";
import type { ListEntries } from "./entries.ts";
import { hasJSONKey, type ListFormat, share } from "./format.ts";
import { addEndpoint, addURL } from "./indicators.ts";

/** Where a kind of export has what is needed: names of fields, and columns of CSV without a header. */
interface Export {
  readonly name: ListFormatName;
  readonly jsonKeys: RegExp;
  /** A row of CSV; a header need not be there. */
  readonly row: RegExp;
  readonly value: Field;
  /** The type of the indicator; absent where all are of type `always`. */
  readonly type?: Field;
  readonly always?: string;
}

interface Field {
  readonly names: readonly string[];
  readonly column: number;
}

const DATE = String.raw`"?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: UTC)?"?`;

export const urlhaus = exportFormat({
  name: "urlhaus",
  jsonKeys: /"url_status"\s*:|"urlhaus_(?:link|reference)"\s*:/,
  row: new RegExp(String.raw`^"?\d+"?,\s*${DATE},\s*"?[a-z]+://`, "i"),
  value: { names: ["url"], column: 2 },
  always: "url",
});

export const threatfox = exportFormat({
  name: "threatfox",
  jsonKeys: /"ioc_(?:value|type)"\s*:/,
  row: new RegExp(String.raw`^${DATE},\s*"?\d+"?,\s*"[^"]*",\s*"[\w:]+"`, "i"),
  value: { names: ["ioc_value", "ioc"], column: 2 },
  type: { names: ["ioc_type"], column: 3 },
});

export const feodo = exportFormat({
  name: "feodo",
  jsonKeys: /"ip_address"\s*:/,
  row: new RegExp(String.raw`^${DATE},\s*"?[\d.]+"?,\s*"?\d+"?,`, "i"),
  value: { names: ["dst_ip", "ip_address"], column: 1 },
  always: "ip",
});

function exportFormat(shape: Export): ListFormat {
  return {
    name: shape.name,
    match: "exact",
    score: (sample) => {
      if (hasJSONKey(sample, shape.jsonKeys)) return 1;
      const header = sample.lines.length > 0 && columnOf(csvFields(sample.lines[0]!), shape.value) >= 0;
      return Math.max(share(sample.lines, shape.row), header && sample.lines[0]!.includes(",") ? 0.6 : 0);
    },
    read(body, out) {
      if (firstByte(body) === 123 || firstByte(body) === 91) readJSON(body, out, shape);
      else readCSV(body, out, shape);
    },
  };
}

function readCSV(body: Uint8Array, out: ListEntries, shape: Export): void {
  let { column: value } = shape.value;
  let type = shape.type?.column ?? -1;
  const readHeader = (fields: readonly string[] | null): boolean => {
    const at = columnOf(fields, shape.value);
    if (at < 0) return false;
    value = at;
    if (shape.type !== undefined) type = columnOf(fields, shape.type);
    return true;
  };
  let rows = 0;
  out.readTextLines(body, new Set(), (text) => {
    if (text.startsWith("#")) {
      if (rows === 0) readHeader(csvFields(text.replace(/^[#\s]+/, "")));
      return null;
    }
    const fields = csvFields(text);
    if (fields === null) return "a quote that does not end";
    if (rows++ === 0 && readHeader(fields)) return null;
    const found = fields[value];
    if (found === undefined || fields.length < 2) return "too few columns";
    return add(out, found, shape.always ?? fields[type] ?? "");
  });
}

function readJSON(body: Uint8Array, out: ListEntries, shape: Export): void {
  const document = parseJSON(body);
  const inner = field(document, "data") ?? field(document, "urls") ?? document;
  let rows = 0;
  const read = (row: unknown): void => {
    rows++;
    const value = firstText(row, shape.value.names);
    const type = shape.always ?? firstText(row, shape.type?.names ?? []) ?? "";
    const reason = value === null ? "an object without an indicator" : add(out, value, type);
    if (reason !== null) out.refuse(`object ${rows}`, value ?? "", reason);
  };
  if (Array.isArray(inner)) inner.forEach(read);
  else if (typeof inner === "object" && inner !== null) {
    for (const group of Object.values(inner)) {
      if (Array.isArray(group)) elements(group).forEach(read);
      else read(group);
    }
  }
}

function add(out: ListEntries, value: string, type: string): string | null {
  switch (type.toLowerCase()) {
    case "domain":
    case "ip":
      return out.addText(value.trim());
    case "ip:port":
      return addEndpoint(out, value);
    case "url":
      return addURL(out, value);
    default:
      return `an indicator of type \`${type.slice(0, 20)}\``;
  }
}

function columnOf(fields: readonly string[] | null, { names }: Field): number {
  return fields?.findIndex((name) => names.includes(name.trim())) ?? -1;
}

function firstText(row: unknown, names: readonly string[]): string | null {
  for (const name of names) {
    const value = field(row, name);
    if (typeof value === "string") return value;
  }
  return null;
}

function firstByte(body: Uint8Array): number {
  for (let at = body[0] === 0xef ? 3 : 0; at < body.length; at++) if (body[at]! > 32) return body[at]!;
  return 0;
}
