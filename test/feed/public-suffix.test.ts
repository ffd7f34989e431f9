import fc from "fast-check";
import t from "tap";
import { isPublicSuffix, mayBePublicSuffix, publicSuffixRules } from "../../src/feed/list/public-suffix.ts";

function mayBe(name: string): boolean {
  // In the middle of other text, which must not matter.
  const bytes = Buffer.from(`xyz${name}\nuvw`);
  return mayBePublicSuffix(bytes, 3, 3 + name.indexOf(".") + 1, 3 + name.length);
}

const ASCII = publicSuffixRules().filter((rule) => /^[\x21-\x7e]+$/.test(rule));

t.test("the filter lets every public suffix through, and hardly anything else", async (t) => {
  t.ok(ASCII.length > 5000);
  t.ok(ASCII.includes("co.uk") && ASCII.includes("github.io") && ASCII.includes("*.ck"));
  let suffixes = 0;
  let others = 0;
  let passed = 0;
  for (const rule of ASCII) {
    for (const name of [
      rule,
      rule.replace("*", "x"),
      `a.${rule}`,
      `www.a.${rule}`,
      rule.replace(/^[^.]*\./, "b."),
    ]) {
      if (!name.includes(".") || name.includes("*")) continue;
      if (isPublicSuffix(name)) {
        suffixes++;
        if (!mayBe(name)) t.fail(name);
      } else {
        others++;
        if (mayBe(name)) passed++;
      }
    }
  }
  t.ok(suffixes > 5000);
  t.ok(passed < others / 10, `${passed} of ${others}`);
});

t.test("of any name whatever the filter says no to, tldts does too", async () => {
  const label = fc.oneof(fc.stringMatching(/^[a-z0-9_-]{1,4}$/), fc.constantFrom("com", "co", "www", "city"));
  const end = fc.oneof(fc.constantFrom(...ASCII), label);
  const name = fc.tuple(fc.array(label, { maxLength: 3 }), end).map(([labels, last]) => {
    return [...labels, last.replace("*", "any")].join(".");
  });
  fc.assert(
    fc.property(name, (name) => !name.includes(".") || mayBe(name) || !isPublicSuffix(name)),
    { numRuns: 5000 },
  );
});
