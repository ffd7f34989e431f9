/**
 * DNS response policy zones (draft-vixie-dnsop-dns-rpz) as zone files (RFC 1035, section 5). A name owns its own action
 * and `*.name` that of everything below; `N.….rpz-ip` owns that of answers with an address. `CNAME .`, `CNAME *.`,
 * `CNAME rpz-drop.`, other targets and local data are entries. `CNAME rpz-passthru.` (or one that leads to its own name) is
 * an exception; of an entry and an exception the closest speaks. Client, nameserver and `rpz-tcp-only.` rules say nothing
 * about a name, and are refused. The feeds cannot hold `*.name` without the name itself, so it stands for both.
 */
import type { ListEntries } from "./entries.ts";
import type { ExceptionReach } from "./exceptions.ts";
import { type ListFormat, share } from "./format.ts";

const SEMICOLON = new Set([59]);
/** Stands for the zone where the file does not name it. */
const UNNAMED = "zone-without-a-name.invalid";
const TTL = /^(?:\d+[smhdw]?)+$/i;
const OTHER_TRIGGER = /(?:^|\.)rpz-(?:client-ip|nsip|nsdname)$/;

export const rpz: ListFormat = {
  name: "rpz",
  match: "exact",
  score: ({ lines }) =>
    share(
      lines,
      /^(?:\$(?:ttl|origin)\s|\S+\s+(?:(?:\d\w*|in)\s+){0,2}(?:cname|soa)\s+\S|(?:in\s+)?ns\s+\S|[\d\w]+\s*\)?\s*;)/i,
    ),
  read(body, out) {
    const zone = new ZoneFile(out);
    out.readTextLines(body, SEMICOLON, (text, indented) => zone.line(text, indented));
  },
};

class ZoneFile {
  readonly #out: ListEntries;
  #origin = UNNAMED;
  /** Absolute, without the final dot; null until the first record. */
  #zone: string | null = null;
  #owner = "";
  /** The owner whose entry or exception was taken last. */
  #taken = "";
  /** Whether a `(` waits for its `)`. */
  #open = false;

  constructor(out: ListEntries) {
    this.#out = out;
  }

  line(raw: string, indented: boolean): string | null {
    const comment = raw.indexOf(";");
    const text = comment < 0 ? raw : raw.slice(0, comment).trimEnd();
    if (this.#open) {
      if (text.includes(")")) this.#open = false;
      return null;
    }
    const words = text.split(/\s+/);
    const first = words[0]!;
    if (first.startsWith("$")) return this.#directive(first.toUpperCase(), words[1]);
    if (!indented) {
      this.#owner = this.#absolute(first.toLowerCase());
      words.shift();
    }
    while (words.length > 0 && (TTL.test(words[0]!) || /^(?:in|ch|hs)$/i.test(words[0]!))) words.shift();
    const type = words[0]?.toUpperCase() ?? "";
    if (!/^[A-Z][A-Z0-9]*$/.test(type)) return "no record of a zone";
    const data = words.slice(1).join(" ");
    if (type === "SOA" || this.#zone === null) this.#zone ??= type === "SOA" ? this.#owner : this.#origin;
    if (data.includes("(") && !data.includes(")") && !/^(?:TXT|SPF)$/.test(type)) this.#open = true;
    if (type === "SOA" || type === "NS" || this.#owner === this.#zone) return null;
    return this.#rule(type, data.toLowerCase());
  }

  #directive(name: string, value: string | undefined): string | null {
    if (name === "$TTL") return null;
    if (name !== "$ORIGIN" || value === undefined) return "a directive that is not followed";
    this.#origin = this.#absolute(value.toLowerCase());
    return null;
  }

  #absolute(name: string): string {
    if (name === "@") return this.#origin;
    if (name.endsWith(".")) return name.slice(0, -1);
    return this.#origin === "" ? name : `${name}.${this.#origin}`;
  }

  #rule(type: string, data: string): string | null {
    const owner = this.#owner;
    const zone = this.#zone;
    if (owner === this.#taken) return null;
    if (zone === null || (zone !== "" && !owner.endsWith(`.${zone}`))) return "outside of the zone";
    const trigger = zone === "" ? owner : owner.slice(0, -zone.length - 1);
    if (OTHER_TRIGGER.test(trigger)) return "a trigger that names no domain or address";
    const target = type === "CNAME" ? data : "";
    if (target === "rpz-tcp-only.") return "an action that prevents nothing";
    const address = /^(.+)\.rpz-ip$/.exec(trigger)?.[1];
    const text = address === undefined ? trigger : addressOf(address);
    if (text === null) return "not an address";
    if (address !== undefined && this.#out.kind === "domain") return "an address, not a domain name";
    const self = target === `${trigger}.` || target === `${trigger.replace(/^\*\./, "")}.`;
    const reason = target === "rpz-passthru." || self ? this.#except(text) : this.#out.addText(text);
    if (reason === null) this.#taken = owner;
    return reason;
  }

  #except(text: string): string | null {
    const below = text.startsWith("*.");
    const bytes = Buffer.from(below ? text.slice(2) : text, "latin1");
    const reach: ExceptionReach = below ? "below" : "whole";
    return this.#out.except(bytes, 0, bytes.length, { reach, strong: false });
  }
}

/** `24.0.2.0.192` is 192.0.2.0/24, `48.zz.1.db8.2001` is 2001:db8:1::/48. Null when it is no prefix. */
function addressOf(text: string): string | null {
  const [length = "", ...parts] = text.split(".");
  const groups = parts.reverse();
  if (!/^\d{1,3}$/.test(length)) return null;
  if (groups.length === 4 && groups.every((part) => /^\d+$/.test(part)))
    return `${groups.join(".")}/${length}`;
  const zeros = groups.indexOf("zz");
  if (zeros < 0) return `${groups.join(":")}/${length}`;
  return `${groups.slice(0, zeros).join(":")}::${groups.slice(zeros + 1).join(":")}/${length}`;
}
