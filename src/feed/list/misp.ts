/**
 * MISP events, as one file and as the folder of a feed: `manifest.json` names the events by UUID, each a file `UUID.json`
 * beside it (MISP core format). Attributes that are marked for detection (`to_ids`) are read, those of objects too: `domain`,
 * `hostname`, `ip-dst`, `ip-src`, `domain|ip`, `hostname|port`, `ip-dst|port`, `ip-src|port`, and `url` where it names a
 * whole host.
 */
import { systemCode } from "../../errors.ts";
import { checkText, elements, FeedBodyError, field, MAX_BODY, parseJSON } from "./body.ts";
import type { ListEntries } from "./entries.ts";
import { hasJSONKey, type ListFormat } from "./format.ts";
import { addEndpoint, addURL } from "./indicators.ts";

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;
/** Events of a folder; each costs a file. */
const MAX_EVENTS = 100_000;

export const misp: ListFormat = {
  name: "misp",
  match: "exact",
  score: (sample) =>
    hasJSONKey(sample, /"Event"\s*:/) || hasJSONKey(sample, /"Orgc"\s*:|"event_creator_email"\s*:/) ? 1 : 0,
  read(body, out) {
    const document = parseJSON(body);
    const event = field(document, "Event");
    if (event === undefined) {
      throw new FeedBodyError("it is no MISP event; where it is a manifest, name its folder as `path`");
    }
    readEvent(event, "attribute", out);
  },
};

/** Reads the feed in the folder `path`. `readFile` as in `ReadOptions`; throws what it throws for the manifest. */
export function readMISPFolder(path: string, readFile: (path: string) => Uint8Array, out: ListEntries): void {
  const manifest = readFile(`${path}/manifest.json`);
  checkText(manifest);
  const list = parseJSON(manifest);
  if (typeof list !== "object" || list === null || Array.isArray(list)) {
    throw new FeedBodyError("`manifest.json` is no MISP manifest, an object of events by UUID");
  }
  const events = Object.keys(list);
  if (events.length > MAX_EVENTS) throw new FeedBodyError(`it has more than ${MAX_EVENTS} events`);
  let bytes = manifest.length;
  for (const uuid of events) {
    if (!UUID.test(uuid)) {
      out.refuse("manifest.json", uuid, "not a UUID");
      continue;
    }
    let document: unknown;
    try {
      const body = readFile(`${path}/${uuid}.json`);
      bytes += body.length;
      checkText(body);
      document = parseJSON(body);
    } catch (error) {
      if (!(error instanceof FeedBodyError) && systemCode(error) === "") throw error;
      out.refuse("event", uuid, error instanceof Error ? error.message : String(error));
      continue;
    }
    if (bytes > MAX_BODY) throw new FeedBodyError(`its events have more than ${MAX_BODY} bytes`);
    readEvent(field(document, "Event"), uuid, out);
  }
}

function readEvent(event: unknown, place: string, out: ListEntries): void {
  for (const attribute of elements(field(event, "Attribute"))) readAttribute(attribute, place, out);
  for (const object of elements(field(event, "Object"))) {
    for (const attribute of elements(field(object, "Attribute"))) readAttribute(attribute, place, out);
  }
}

function readAttribute(attribute: unknown, place: string, out: ListEntries): void {
  const value = field(attribute, "value");
  const type = field(attribute, "type");
  if (typeof value !== "string" || typeof type !== "string") {
    out.refuse(place, "", "an attribute without a type or value");
    return;
  }
  const detects = field(attribute, "to_ids");
  const reason =
    detects !== true && detects !== 1 && detects !== "1"
      ? "not marked for detection (`to_ids`)"
      : add(type, value, out);
  if (reason !== null) out.refuse(place, value, reason);
}

function add(type: string, value: string, out: ListEntries): string | null {
  const [first = "", second = ""] = value.split("|");
  switch (type) {
    case "domain":
    case "hostname":
    case "ip-dst":
    case "ip-src":
      return out.addText(value.trim());
    case "domain|ip":
      return out.addText((out.kind === "domain" ? first : second).trim());
    case "hostname|port":
    case "ip-dst|port":
    case "ip-src|port":
      return value.includes("|") ? out.addText(first.trim()) : addEndpoint(out, value);
    case "url":
      return addURL(out, value);
    default:
      return `an attribute of type \`${type.slice(0, 30)}\``;
  }
}
