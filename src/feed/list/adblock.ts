/**
 * Adblock-style lists: `||name^` is the name and everything below it, `@@||name^` takes both out again, and exceptions win
 * over every rule of the list. Only rules that mean whole hosts are entries: with no option, or with the options
 * `important` and `all`, which narrow nothing. Cosmetic rules, URL parts, regular expressions and other options say
 * something about pages, and are refused.
 */
import { type ListFormat, share } from "./format.ts";
import { beforeComment, latin1, MAX_LINE } from "./lines.ts";

const COMMENT = new Set([33]);
const AT = 64;
const CARET = 94;
const BAR = 124;
const RULE = /^(?:@@)?\|\|[^\s/^]+\^/;
const HEADER = /^\[(?:adblock|adguard|ublock)[^\]]*\]$/i;
const COSMETIC = /#[@?$%]{0,3}#|#@?\$\?#/;

export const adblock: ListFormat = {
  name: "adblock",
  match: "suffix",
  score: ({ lines, comments }) => {
    if (HEADER.test(lines[0] ?? "")) return 1;
    const rules = share(lines, RULE);
    // Next to nothing but comments: `! Title:` alone is no sign, because plain lists have it too.
    return rules > 0 && comments.some((line) => line.startsWith("!")) ? Math.max(rules, 0.6) : rules;
  },
  read(body, out) {
    out.readLines(body, COMMENT, (start, end) => {
      if (end - start > MAX_LINE) return "line too long";
      const exception = body[start] === AT && body[start + 1] === AT;
      const at = exception ? start + 2 : start;
      if (body[at] !== BAR || body[at + 1] !== BAR) {
        const text = latin1(body, start, end);
        if (COSMETIC.test(text)) return "a cosmetic rule";
        // `# comment` stands in lists that are made from hosts files.
        return text.startsWith("#") || HEADER.test(text) ? null : "no rule for a whole host";
      }
      const inRule = body.subarray(at, end).indexOf(CARET);
      if (inRule < 0) return "no rule for a whole host";
      const caret = at + inRule;
      const rest = beforeComment(latin1(body, caret + 1, end), "#!");
      if (rest !== "" && rest !== "|") {
        if (!rest.startsWith("$")) return "no rule for a whole host";
        if (!/^\$(?:(?:important|all)(?:,|$))+$/.test(rest)) return "a rule with options";
      }
      return exception
        ? out.except(body, at + 2, caret, { reach: "both", strong: true })
        : out.add(body, at + 2, caret);
    });
  },
};
