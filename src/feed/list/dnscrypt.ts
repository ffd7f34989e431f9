/**
 * Blocked names of dnscrypt-proxy: `name` and `*.name` are the name and everything below it, `=name` is the name alone.
 * Other patterns (`ads.*`, `*word*`, `a[0-9]*.name`) are no names, and rules with a time (`name @work`) hold only at times:
 * both are refused. A file of plain names alone reads as `plain`, which means the same.
 */
import { type ListFormat, share } from "./format.ts";
import { COMMENTS, isCommentOrEmpty, wordEnd } from "./lines.ts";

const EQUALS = 61;
const AT = 64;
const OWN = /^(?:=[\w*.-]+|[\w.-]*\*[\w.*-]*|[\w.*-]+\s+@\S+)(?:\s+#.*)?$/;
const ANY = /^=?[\w.*?[\]-]+(?:\s+[@#].*)?$/;

export const dnscrypt: ListFormat = {
  name: "dnscrypt",
  match: "suffix",
  score: ({ lines }) => {
    const own = lines.some((line) => OWN.test(line) && !/^\*\.[^*]+$/.test(line));
    return own ? share(lines, ANY) : 0;
  },
  read(body, out) {
    out.readLines(body, COMMENTS, (start, end) => {
      const to = wordEnd(body, start, end);
      if (!isCommentOrEmpty(body, to, end)) {
        const time = body.subarray(to, end).includes(AT);
        return time ? "a rule that holds at times" : "more than one name";
      }
      const alone = body[start] === EQUALS;
      const reason = out.add(body, alone ? start + 1 : start, to, alone ? "whole" : "feed");
      return reason === "not a domain name" && body.subarray(start, to).includes(42)
        ? "a pattern, not a domain name"
        : reason;
    });
  },
};
