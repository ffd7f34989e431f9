/**
 * Spamhaus DROP as newline-delimited JSON: `{"cidr":"1.2.3.0/24","sblid":"SBL1",…}` a line, the last of type `metadata`. The
 * text form (`1.2.3.0/24 ; SBL1`) is a plain list. The list of autonomous systems has no addresses, and is refused.
 */
import { field } from "./body.ts";
import { hasJSONKey, type ListFormat } from "./format.ts";
import { COMMENTS, latin1, MAX_LINE } from "./lines.ts";
import { plainLine } from "./plain.ts";

const BRACE = 123;

export const spamhaus: ListFormat = {
  name: "spamhaus",
  match: "exact",
  score: (sample) => (hasJSONKey(sample, /^\{.*"(?:cidr|sblid)"\s*:/) ? 1 : 0),
  read(body, out) {
    out.readLines(body, COMMENTS, (start, end) => {
      if (body[start] !== BRACE) return plainLine(body, start, end, out);
      if (end - start > MAX_LINE) return "line too long";
      let row: unknown;
      try {
        row = JSON.parse(latin1(body, start, end));
      } catch {
        return "no whole JSON object";
      }
      if (field(row, "type") === "metadata") return null;
      const cidr = field(row, "cidr");
      return typeof cidr === "string" ? out.addText(cidr) : "no `cidr`";
    });
  },
};
