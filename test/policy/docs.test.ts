import { readFileSync } from "node:fs";
import t from "tap";
import { DEFAULT_POLICY, parsePolicy } from "../../src/policy/parse.ts";

const PAGE = readFileSync(new URL("../../docs/policy.md", import.meta.url), "utf8");
const BLOCKS = [...PAGE.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, block = ""]) => block);

t.test(
  "every example of the page is accepted, and none deserves a warning that it does not show",
  async (t) => {
    t.ok(BLOCKS.length >= 5);
    for (const block of BLOCKS) {
      const { notices } = parsePolicy(block, "docs/policy.md");
      const warnings = notices.filter(({ level }) => level === "warning").map(({ message }) => message);
      const expected = block.includes("force: true") ? [/public suffix `github.io`/] : [];
      t.match(warnings, expected);
      t.equal(warnings.length, expected.length, block);
    }
  },
);

t.test("the page shows the policy without a file", async (t) => {
  t.same(parsePolicy(BLOCKS[0] ?? "", "docs/policy.md").policy, DEFAULT_POLICY);
});
