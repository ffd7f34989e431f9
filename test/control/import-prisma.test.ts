/** The command: rules on standard output or in a file, with what was left out at their head. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { tidesman } from "./scripted.ts";

t.test("a policy of Prisma Cloud Compute becomes a file that check accepts", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tm-prisma-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const source = join(folder, "export.json");
  const target = join(folder, "policy.yaml");
  const dns = { effect: "prevent", whitelist: ["a.example", "*.com"], blacklist: [] };
  writeFileSync(source, JSON.stringify({ rules: [{ name: "r", collections: [{ name: "All" }], dns }] }));

  const shown = await tidesman(["policy", "import-prisma", source]);
  t.equal(shown.status, 0, shown.stderr);
  t.match(
    shown.stdout,
    /^# rule `r`: dns: `\*\.com` allows all below `com`.*\nversion: 1\nrules:\n {2}- name: r\n/,
  );
  t.match(shown.stderr, /^tidesman: 1 note on what was not taken over/);

  const written = await tidesman(["policy", "import-prisma", source, "--output", target]);
  t.match(written, { status: 0, stdout: `${target}: 1 rule\n` });
  t.equal(readFileSync(target, "utf8"), shown.stdout);
  t.match(await tidesman(["policy", "check", target]), { status: 0, stdout: /no errors/ });

  const json = await tidesman(["policy", "import-prisma", source, "--json"]);
  t.match(JSON.parse(json.stdout), { policy: { version: 1, rules: [{ name: "r" }] }, notes: [/com/] });
  t.equal(json.stderr, "");

  const piped = await tidesman(["policy", "import-prisma", "-"], { input: readFileSync(source, "utf8") });
  t.equal(piped.stdout, shown.stdout);
  t.match(await tidesman(["policy", "check", "-"], { input: piped.stdout }), {
    status: 0,
    stdout: /^\/dev\/stdin: 1 rule; no errors$/m,
  });
  t.match(await tidesman(["policy", "check", "-"], { input: "version: 2\n" }), {
    status: 2,
    stdout: /\/dev\/stdin:1:10: version/,
  });

  writeFileSync(source, "rules: []");
  t.match(await tidesman(["policy", "import-prisma", source]), {
    status: 2,
    stdout: "",
    stderr: /no JSON.*TM_POLICY/,
  });
  t.match(await tidesman(["policy", "import-prisma", join(folder, "none")]), {
    status: 2,
    stderr: /TM_POLICY_MISSING/,
  });
});
