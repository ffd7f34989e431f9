import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { longest, tidesman } from "./scripted.ts";

t.test("check needs no daemon: what is read from where, defaults, notices, all errors", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tm-check-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const good = join(folder, "good.yaml");
  const bad = join(folder, "bad.yaml");
  writeFileSync(
    good,
    "version: 1\nrules:\n  - name: a\n    network: { effect: alert, rawSockets: prevent }\n",
  );
  writeFileSync(bad, "version: 1\nrules:\n  - name: a\n    dns: { effect: prevnt }\n    netwrk: {}\n");

  const fine = await tidesman(["--policy", good, "check"]);
  t.equal(fine.status, 0, fine.stderr);
  t.match(fine.stdout, /not there: built-in defaults/);
  t.match(fine.stdout, /port 5303/);
  t.match(fine.stdout, /good\.yaml: 1 rule/);
  t.match(fine.stdout, /notice: .*good\.yaml:4:\d+: rules\[0\]\.network\.rawSockets/s);
  t.match(fine.stdout, /no errors, \d+ notices?\n$/);
  t.ok(longest(fine.stdout) <= 80);

  const errors = await tidesman(["--policy", bad, "--config", join(folder, "none.yaml"), "check", "--json"]);
  t.equal(errors.status, 2);
  const report = JSON.parse(errors.stdout);
  t.equal(report.ok, false);
  const problems = report.files.flatMap((file: { problems: string[] }) => file.problems).join("\n");
  t.match(problems, /none\.yaml: the file is not there/);
  t.match(problems, /bad\.yaml:4:\d+: rules\[0\]\.dns\.effect: /);
  t.match(problems, /bad\.yaml:5:\d+: rules\[0\]\.netwrk/);

  t.equal((await tidesman(["policy", "check", good])).status, 0);
  const alone = await tidesman(["policy", "check", bad]);
  t.equal(alone.status, 2);
  t.match(alone.stdout, /error: .*bad\.yaml/);
  t.equal((await tidesman(["policy", "check", join(folder, "none.yaml")])).status, 2);
});

t.test("a file that may not be read is not called wrong", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tm-check-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const closed = join(folder, "policy.yaml");
  const bad = join(folder, "tidesman.yaml");
  writeFileSync(closed, "version: 1\nrules: []\n", { mode: 0o000 });
  writeFileSync(bad, "dsn: {}\n", { mode: 0o644 });
  chmodSync(folder, 0o755);
  const asNobody = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    const user = process.geteuid?.() ?? 0;
    if (user !== 0) return work();
    process.seteuid?.(65_534);
    try {
      return await work();
    } finally {
      process.seteuid?.(user);
    }
  };
  const alone = await asNobody(() => tidesman(["policy", "check", closed]));
  t.match(alone, { status: 4, stdout: /EACCES.*run\s+this\s+as root/s });
  t.equal((await asNobody(() => tidesman(["--policy", closed, "check"]))).status, 4);
  const both = await asNobody(() => tidesman(["--policy", closed, "--config", bad, "check", "--json"]));
  t.equal(both.status, 2, "what is wrong for all comes first");
  t.match(JSON.parse(both.stdout).files, [{ permitted: true }, { permitted: false, found: true }]);
});
