/** `tidesman feeds` as somebody uses it on a host: real files, and a daemon that is down. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { Intelligence } from "../../src/control/cli/context.ts";
import { TidesmanError } from "../../src/errors.ts";
import { approveHere, reportsHere, rollbackHere, testHere, updateHere } from "../../src/intelligence.ts";
import { type Ran, Script, scriptedIntelligence, serve, within } from "./scripted.ts";

const HERE: Intelligence = {
  update: updateHere,
  approve: approveHere,
  rollback: rollbackHere,
  reports: reportsHere,
  test: testHere,
};
const names = (count: number): string =>
  Array.from({ length: count }, (_, index) => `n${index}.bad.example\n`).join("");

t.test("a host without a daemon", async (t) => {
  const folder = t.testdir({
    "feeds.yaml": `version: 1
feeds:
  - { name: own, path: own.txt, kind: domain, maxShrink: 50% }
  - { name: nets, path: nets.txt, kind: address, allowInternal: false }
  - { name: missing, path: missing.txt, kind: domain }
  - { name: idle, path: own.txt, kind: domain, enabled: false }
`,
    "own.txt": names(30),
    "nets.txt": "10.1.2.3\n203.0.113.0/24\n",
  });
  const places = ["--feeds", join(folder, "feeds.yaml"), "--state", join(folder, "state")];
  const run = (...args: string[]): Promise<Ran> =>
    within([...places, "--runtime-dir", folder, "feeds", ...args], undefined, async () => HERE);

  const none = await run("list");
  t.match(none, { status: 3, stdout: "", stderr: /no feeds are compiled .*`tidesman feeds update`/ });
  t.notMatch(none.stderr, /would start with/);
  t.match(await run("test", "all", "a.example"), { status: 1, stderr: /no compiled feeds/ });

  const first = await run("update");
  t.match(first, { status: 1, stderr: /it takes these feeds when it starts/ });
  t.match(first.stdout, /^own: a new list of 30 entries: 30 added, 0 dropped$/m);
  t.match(first.stdout, /^nets: a new list of 1 entry: 1 added, 0 dropped$/m);
  t.match(first.stdout, /^nets: left out 1 entry in internal networks: 10\.1\.2\.3$/m);
  t.match(first.stdout, /missing\.txt`\s+does not exist/);

  const one = await run("update", "own");
  t.match(one, { status: 0, stdout: /^No list changed\.$/m }, "another feed's failure is not its own");
  t.notMatch(one.stdout, /nets|missing|idle/);
  t.match(await run("update", "missing"), { status: 1 });
  t.match(await run("update", "idle"), { status: 2, stderr: /feed `idle` is off; set `enabled: true` in/ });
  t.match(await run("test", "idle", "a.example"), {
    status: 0,
    stderr: /feed `idle` is off: it lists nothing/,
  });
  t.match(await run("test", "missing", "a.example"), { status: 0, stderr: /`missing` has no list in use/ });
  t.match(await run("test", "own", "a.example"), { status: 0, stderr: "" });
  t.match(await run("update", "other"), { status: 1, stderr: /TM_NOT_FOUND/ });

  writeFileSync(join(folder, "own.txt"), names(1));
  t.match(await run("update", "own"), { status: 1, stdout: /quarantined until/ });
  const shown = await run("show", "own");
  t.match(shown.stdout, /^would add +0$/m);
  t.match(shown.stdout, /^would drop +29: \.n\d+\.bad\.example,[^:]*,\s+\.\.\.$/m);
  const quiet = await run("update", "own", "--quiet");
  t.match(quiet, { status: 1, stdout: "", stderr: /^tidesman: feed own: keeps 30 entries .*\n$/ });
  t.match(await run("approve", "own"), { status: 0, stdout: /^own .* 1 +in use/m });

  // `missing` was told by the updates before; a schedule tells what is new, and once.
  t.match(await run("update", "--due", "--quiet"), { status: 0, stdout: "", stderr: "" });
  writeFileSync(join(folder, "nets.txt"), "<html>");
  t.match(await run("update", "--due", "--quiet"), {
    status: 1,
    stderr: /^tidesman: feed nets: [^\n]*web page[^\n]*\n$/,
  });
  t.match(await run("update", "--due", "--quiet"), { status: 0, stderr: "" });
  t.match(await run("update", "--quiet"), { status: 1, stderr: /feed nets: .*\n.*feed missing: /s });
  writeFileSync(join(folder, "nets.txt"), "10.1.2.3\n203.0.113.0/24\n");
  t.match(await run("update", "--due"), { status: 0, stdout: /^missing .* failed/m });

  for (const [target, status] of [
    ["N0.Bad.Example.", 1],
    ["203.0.113.9", 1],
    ["203.0.114.9", 0],
    ["203.0.113.0/24", 2],
    ["http://n0.bad.example/", 2],
    ["n0.bad.example:443", 2],
  ] as const) {
    t.match(await run("test", "all", target), { status }, target);
  }

  const back = await run("rollback", "--json");
  t.match(
    { ...back, stdout: JSON.parse(back.stdout) },
    { status: 0, stderr: "", stdout: { feeds: ["own"] } },
  );
  t.match(await run("list"), { stdout: /^own .* 30 +held/m, stderr: /would start with/ });
  t.match(await run("update"), { status: 1, stdout: /it was rolled back before/ });
});

t.test("who may not write has the daemon update all, and nothing less than all", async (t) => {
  const runtime = mkdtempSync(join(tmpdir(), "tm-cli-"));
  const { server } = await serve(runtime, new Script());
  t.teardown(async () => {
    await server.close();
    rmSync(runtime, { recursive: true, force: true });
  });
  const denied = async (): Promise<Intelligence> => ({
    ...scriptedIntelligence,
    update: () => Promise.reject(new TidesmanError("TM_NOT_PERMITTED", "run as root")),
  });
  const run = (...args: string[]): Promise<Ran> =>
    within(["--runtime-dir", runtime, "feeds", "update", ...args], undefined, denied);
  const handed = await run();
  t.match(handed, { status: 0, stdout: /urlhaus/ });
  t.notMatch(handed.stdout, /No list changed/);
  for (const args of [["urlhaus"], ["--due"], ["--offline"]]) {
    t.match(await run(...args), { status: 4, stderr: /TM_NOT_PERMITTED/ }, args.join());
  }
});
