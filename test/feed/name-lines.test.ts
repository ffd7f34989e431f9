/** Lines that are taken at once against the same lines read one by one, which an indentation makes of them. */
import fc from "fast-check";
import t from "tap";
import { FeedBodyError, type ParsedList, parseDomains } from "../../src/feed/parse.ts";

function parsed(
  lines: readonly string[],
  ends: readonly string[],
  ended: boolean,
  indent: string,
): ParsedList | string {
  const text = lines
    .map((line, index) => {
      const end = index + 1 === lines.length && !ended ? "" : ends[index % ends.length];
      return `${indent}${line}${end}`;
    })
    .join("");
  try {
    return parseDomains(Buffer.from(text, "latin1"), lines.length % 2 === 0 ? "suffix" : "exact");
  } catch (error) {
    if (error instanceof FeedBodyError) return error.message;
    throw error;
  }
}

const label = fc.oneof(
  fc.stringMatching(/^[a-zA-Z0-9_-]{1,5}$/),
  fc.constantFrom(
    "com",
    "co",
    "uk",
    "ck",
    "github",
    "io",
    "example",
    "7",
    "0x1",
    "a".repeat(63),
    "b".repeat(64),
  ),
);
const odd = fc.constantFrom(
  "",
  ".",
  "*.",
  "*",
  "#",
  " ",
  "/",
  ":",
  "\r",
  "\t",
  "\xfc",
  "!c",
  " # c",
  "..",
  "\0x",
);
const line = fc.oneof(
  { weight: 4, arbitrary: fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join(".")) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(odd, fc.array(fc.oneof(label, odd), { maxLength: 5 }), odd)
      .map(([before, labels, behind]) => `${before}${labels.join(".")}${behind}`),
  },
);

t.test("entries, counts and refusals are the same", async () => {
  fc.assert(
    fc.property(
      fc.array(line, { minLength: 1, maxLength: 30 }),
      fc.uniqueArray(fc.constantFrom("\n", "\r\n", "\n\n"), { minLength: 1 }),
      fc.boolean(),
      (lines, ends, ended) => {
        // A zero byte refuses the whole, and a byte order mark would be one only without an indentation.
        const texts = lines.map((line) => line.replaceAll("\0", "\x01"));
        const atOnce = parsed(texts, ends, ended, "");
        const oneByOne = parsed(texts, ends, ended, " ");
        if (JSON.stringify(atOnce) !== JSON.stringify(oneByOne)) {
          throw new Error(`${JSON.stringify(atOnce)} instead of ${JSON.stringify(oneByOne)}`);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

t.test("names at the limits", async (t) => {
  const name = (last: number): string => `${`${"a".repeat(63)}.`.repeat(3)}${"b".repeat(last)}`;
  for (const text of [
    name(60),
    name(61),
    name(62),
    name(63),
    `${name(61)}.`,
    "a.b",
    "a.b.",
    `a.${"b".repeat(64)}`,
  ]) {
    for (const end of ["\n", "\r\n"]) {
      for (const ended of [true, false]) {
        t.strictSame(parsed([text], [end], ended, ""), parsed([text], [end], ended, " "), text);
      }
    }
  }
});
