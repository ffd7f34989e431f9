/**
 * named.conf(5): `zone "name" { type master; … };` makes the server answer for a domain and everything below it itself, out
 * of an empty zone file. Zones of the types `master` and `primary` are entries; others (`hint`, `forward`, …) and all other
 * statements are refused. A statement may take several lines.
 */
import { type ListFormat, share } from "./format.ts";

const COMMENTS = new Set([35]);
const HEAD = /^zone\s+(["']?)([^\s"'{]+)\1\s*(?:in\b|ch\b|hs\b)?\s*\{?/i;
/** Characters of one statement that are kept. */
const MAX_STATEMENT = 4096;

export const bind: ListFormat = {
  name: "bind",
  match: "suffix",
  score: ({ lines }) => {
    const zones = share(lines, /^zone\s+["']?[^\s"'{]+["']?\s*(?:in\s*)?(?:\{|$)/i);
    // In statements of several lines the inner ones are no zones.
    return zones > 0 ? Math.max(zones, share(lines, /^(?:zone\s|type\s|file\s|notify\s|\};?$|\{$)/i)) : 0;
  },
  read(body, out) {
    let open = "";
    let place: [number, number, number] = [0, 0, 0];
    const close = (): string | null => {
      const statement = open;
      open = "";
      const [head, , name = ""] = HEAD.exec(statement) ?? [];
      if (head === undefined) return "no zone";
      if (/\}\s*;\s*zone\s/i.test(statement)) return "more than one zone on a line";
      const type = /[{;\s]type\s+([a-z-]+)\s*;/i.exec(statement)?.[1]?.toLowerCase();
      if (type !== "master" && type !== "primary") return "a zone of another type";
      const bytes = Buffer.from(name, "latin1");
      return out.add(bytes, 0, bytes.length);
    };
    let inComment = false;
    out.readLines(body, COMMENTS, (start, end, line) => {
      if (end - start > MAX_STATEMENT) return "line too long";
      const bare = withoutComments(Buffer.from(body.subarray(start, end)).toString("latin1"), inComment);
      inComment = bare.open;
      const text = bare.text.trim();
      if (text === "") return null;
      if (open !== "" && /^zone\s/i.test(text)) {
        out.refuseLine(body, ...place, "a zone that does not end");
        open = "";
      }
      if (open === "") {
        if (!/^zone\s/i.test(text)) return "no zone";
        place = [start, end, line];
      }
      open = `${open} ${text}`.trim();
      if (open.length > MAX_STATEMENT) {
        open = "";
        return "a zone that does not end";
      }
      return /\}\s*;?$/.test(text) ? close() : null;
    });
    if (open !== "") out.refuseLine(body, ...place, "a zone that does not end");
  },
};

/** A line without its comments (C, C++ and shell style); `open`: whether one of C style goes on behind it. */
function withoutComments(line: string, open: boolean): { readonly text: string; readonly open: boolean } {
  if (!open && !/[#/]/.test(line)) return { text: line, open };
  let text = "";
  let inside = open;
  let from = 0;
  for (let at = 0; at < line.length; at++) {
    if (inside) {
      const end = line.indexOf("*/", at);
      if (end < 0) return { text, open: true };
      inside = false;
      from = end + 2;
      at = from - 1;
      continue;
    }
    const cStyle = line.startsWith("/*", at);
    const blankBefore = at === 0 || /\s/.test(line[at - 1]!);
    const toEnd = blankBefore && (line[at] === "#" || line.startsWith("//", at));
    if (!cStyle && !toEnd) continue;
    text += `${line.slice(from, at)} `;
    if (toEnd) return { text, open: false };
    inside = true;
    at++;
  }
  return { text: inside ? text : text + line.slice(from), open: inside };
}
