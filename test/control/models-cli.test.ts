import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { FileReaders } from "../../src/control/cli/context.ts";
import { unifiedDiff } from "../../src/control/models/unified.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import { longest, model, modelFile, type Ran, Script, serve, within } from "./scripted.ts";

const POLICY = `# ours
version: 1
rules:
  - name: shop # the web shop
    dns:
      effect: prevent
      allowed:
        - api.stripe.com # payments
  - name: rest
    network: { outboundPorts: { allowed: ["400-500"] } }
`;

async function world(t: Test, policy = POLICY) {
  const folder = mkdtempSync(join(tmpdir(), "tm-mod-"));
  const file = join(folder, "policy.yaml");
  writeFileSync(file, policy, { mode: 0o640 });
  const script = new Script();
  const { server } = await serve(folder, script);
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  // Only policies are read here.
  const readers = async () => ({ policy: parsePolicy }) as FileReaders;
  const run = (...args: string[]): Promise<Ran> =>
    within(["--runtime-dir", folder, "--policy", file, "models", ...args], readers);
  return { folder, file, script, run };
}

t.test("list tells the clock, trust and what is new, in 80 columns", async (t) => {
  const { run } = await world(t);
  const { stdout } = await run("list");
  t.match(stdout, /^1f1f1f1f1f1f +.*nginx:1\.27 +learning +50 % +learning +7\.3 +2 +1$/m);
  t.ok(longest(stdout) <= 80);
});

t.test("show tells all of a model", async (t) => {
  const { run } = await world(t);
  const { stdout } = await run("show", "1f1f");
  for (const pattern of [
    /^began with +sha256:2e2e2e2e2e2e$/m,
    /^dropped +3 sightings/m,
    /^\*\.cdn\.example\.com \(generalised.* earlier image$/m,
    /^443\/tcp +12/m,
    /^listen:8080\/tcp/m,
    /^10\.0\.0\.0\/24:5432\/tcp/m,
  ]) {
    t.match(stdout, pattern);
  }
  t.ok(longest(stdout) <= 80);
});

t.test("every change is asked for as the API wants it", async (t) => {
  const { run, script } = await world(t);
  const changes: readonly (readonly [args: string, change: object])[] = [
    ["relearn 1f1f", { action: "relearn", afresh: false }],
    ["relearn 1f1f --afresh", { action: "relearn", afresh: true }],
    ["extend 1f1f --for 2h", { action: "extend", time: 7_200 }],
    ["manual 1f1f", { action: "manual" }],
    ["stop 1f1f", { action: "stop" }],
    ["lock 1f1f", { action: "lock" }],
    ["unlock 1f1f", { action: "unlock" }],
    ["forget 1f1f 10.0.0.0/24:5432/tcp", { action: "forget", entry: "10.0.0.0/24:5432/tcp" }],
    ["expand 1f1f *.cdn.example.com", { action: "expand", entry: "*.cdn.example.com" }],
  ];
  for (const [args, change] of changes) {
    script.calls = [];
    const { status, stdout, stderr } = await run(...args.split(" "));
    t.equal(status, 0, args);
    t.equal(stderr, "", args);
    t.match(stdout, /^sha256:1f1f1f1f1f1f \(.*nginx/, args);
    t.ok(longest(stdout) <= 80, args);
    t.strictSame(script.calls, [`changeModel 1f1f ${JSON.stringify(change)}`], args);
  }
  t.match((await run("lock", "1f1f")).stdout, /and locked/);
  t.match(JSON.parse((await run("lock", "1f1f", "--json")).stdout), { locked: true });
  t.match(await run("lock", "zz"), { status: 1, stderr: /\(TM_NOT_FOUND\)/ });
  await run("show", "docker.io/library/nginx");
  t.equal(script.calls.at(-1), "model docker.io/library/nginx", "a key may be an image name");
});

t.test("what cannot be meant is refused before anything is asked", async (t) => {
  const { run, script } = await world(t);
  for (const args of [
    "relearn",
    "extend 1f1f",
    "extend 1f1f --for soon",
    "extend 1f1f --for 0h",
    "forget 1f1f",
    "diff 1f1f",
    "promote 1f1f",
    "import nowhere.json",
  ]) {
    t.match(await run(...args.split(" ")), { status: 2, stdout: "", stderr: /\(TM_USAGE\)/ }, args);
  }
  t.strictSame(script.calls, []);
});

t.test("diff: what only one holds, and exit status 1", async (t) => {
  const { run, script } = await world(t);
  const names = [{ ...model.entries.names[0]!, name: "new.example.com" }];
  script.others = [{ ...model, key: `sha256:${"ab".repeat(32)}`, entries: { ...model.entries, names } }];
  const { status, stdout } = await run("diff", "1f1f", "abab");
  t.equal(status, 1);
  t.match(stdout, /^- \*\.cdn\.example\.com\n- api\.stripe\.com\n\+ new\.example\.com$/m);
  t.notMatch(stdout, /443/);
  t.match(JSON.parse((await run("diff", "1f1f", "abab", "--json")).stdout), {
    onlyA: ["*.cdn.example.com", "api.stripe.com"],
    onlyB: ["new.example.com"],
  });
  t.match(await run("diff", "1f1f", "1f1f"), { status: 0, stdout: "Both hold the same.\n" });
});

t.test("a model goes out to a file that only its owner reads, and comes in from it", async (t) => {
  const { run, script, folder } = await world(t);
  t.strictSame(JSON.parse((await run("export", "1f1f")).stdout), modelFile);
  const file = join(folder, "model.json");
  const compact = await run("export", "1f1f", "--json");
  t.equal(compact.stdout, `${JSON.stringify(modelFile)}\n`);
  t.match(JSON.parse((await run("export", "1f1f", "--json", "--output", file)).stdout), {
    file,
    key: modelFile.key,
  });
  t.equal((await run("export", "1f1f", "--output", file)).status, 0);
  t.equal(statSync(file).mode & 0o777, 0o600);
  script.calls = [];
  t.match(await run("import", file), { status: 0, stdout: /is learning and\s+locked/ });
  t.strictSame(script.calls, [`importModel ${JSON.stringify(modelFile)}`]);
  writeFileSync(file, "no model");
  t.match(await run("import", file), { status: 2, stderr: /is no JSON/ });
  writeFileSync(file, "{}");
  t.match(await run("import", file), { status: 2, stderr: /`format`/ });
});

t.test("a model may be larger than other requests, up to its own limit", async (t) => {
  const { run, script, folder } = await world(t);
  const file = join(folder, "model.json");
  const sized = (bytes: number) => JSON.stringify({ ...modelFile, image: "x".repeat(bytes) });
  writeFileSync(file, sized(script.maxModelFile / 2));
  t.equal((await run("import", file)).status, 0);
  writeFileSync(file, sized(script.maxModelFile));
  t.match(await run("import", file), { status: 2, stderr: /large.*\(TM_USAGE\)/i });
});

t.test("promote shows a diff and writes only when told; comments stay", async (t) => {
  const { run, file, folder } = await world(t);
  const shown = await run("promote", "1f1f", "--rule", "shop");
  t.equal(shown.status, 0, shown.stderr);
  t.match(shown.stdout, /^\+ {8}- "\*\.cdn\.example\.com"$/m);
  t.match(shown.stdout, /^\+ {10}- 443$/m);
  t.notMatch(shown.stdout, /^-[^-]/m, "nothing is taken out");
  t.match(shown.stdout, /nothing was written/);
  t.equal(readFileSync(file, "utf8"), POLICY);
  const written = await run("promote", "1f1f", "--rule", "shop", "--write");
  t.equal(written.status, 0, written.stderr);
  const text = readFileSync(file, "utf8");
  for (const kept of [
    "# ours",
    "# the web shop",
    "# payments",
    '{ outboundPorts: { allowed: ["400-500"] } }',
  ])
    t.ok(text.includes(kept), kept);
  const [rule] = parsePolicy(text, file).policy.rules;
  t.strictSame(rule?.dns?.allowed, ["api.stripe.com", "*.cdn.example.com"]);
  t.strictSame(rule?.network, { outboundPorts: { allowed: [443] } });
  t.equal(statSync(file).mode & 0o777, 0o640, "its mode stays");
  t.strictSame(
    readdirSync(folder).filter((name) => name.includes(".new")),
    [],
  );
  t.match(await run("promote", "1f1f", "--rule", "shop", "--write"), { status: 0, stdout: /already/ });
  t.equal(readFileSync(file, "utf8"), text);
});

t.test("promote adds no port that a range holds", async (t) => {
  const { run } = await world(t);
  const { stdout } = await run("promote", "1f1f", "--rule", "rest", "--json");
  t.match(JSON.parse(stdout), { names: ["*.cdn.example.com", "api.stripe.com"], written: false });
  t.strictSame(JSON.parse(stdout).ports, []);
});

t.test("promote refuses what it cannot change well, and leaves the file", async (t) => {
  const shared = `version: 1
rules:
  - { name: shop, dns: &d { effect: prevent } }
  - { name: rest, dns: *d }
`;
  for (const [policy, rule, expected] of [
    [POLICY, "nobody", { status: 1, stderr: /no rule `nobody`.*\(TM_NOT_FOUND\)/ }],
    [shared, "shop", { status: 2, stderr: /`dns` is shared by an anchor/ }],
    [shared, "rest", { status: 2, stderr: /`dns` is shared by an anchor/ }],
    ["version: 1\nrules: [{}]\n", "shop", { status: 2, stderr: /\(TM_POLICY\)/ }],
  ] as const) {
    const { run, file } = await world(t, policy);
    t.match(await run("promote", "1f1f", "--rule", rule, "--write"), { stdout: "", ...expected });
    t.equal(readFileSync(file, "utf8"), policy);
  }
  const { run, file } = await world(t);
  rmSync(file);
  t.match(await run("promote", "1f1f", "--rule", "shop", "--write"), { stderr: /\(TM_POLICY_MISSING\)/ });
  t.notOk(existsSync(file));
});

/** Written over several styles; `+` marks what promoting adds. */
const STYLES: Readonly<Record<string, string>> = {
  "indented by four, with comments everywhere": `# head

version: 1
rules:
    - name: shop   # x

      dns:
          allowed:
              - api.example.org # first
+              - "*.cdn.example.com"
+              - api.stripe.com
              # last of the list
+      network:
+          outboundPorts:
+              allowed:
+                  - 443

    # about rest
    - name: rest
# foot
`,
  "lists not indented, the rule last": `---
version: 1
rules:
- name: rest
- name: "shop"
  scope: { images: ["shop*"] }   # odd   spacing
+  dns:
+    allowed:
+    - "*.cdn.example.com"
+    - api.stripe.com
+  network:
+    outboundPorts:
+      allowed:
+      - 443
...
`,
  "ports in a list of several lines": `version: 1
rules:
  - name: shop
    network:
      outboundPorts:
        allowed: [ "1-5", # low
          80 ] # web
+    dns:
+      allowed:
+        - "*.cdn.example.com"
+        - api.stripe.com
`,
};

t.test("promote adds lines, and leaves those of the file as they are", async (t) => {
  for (const [style, marked] of Object.entries(STYLES)) {
    for (const newline of ["\n", "\r\n"]) {
      const before = marked.replaceAll(/^\+.*\n/gm, "").replaceAll("\n", newline);
      let after = marked.replaceAll(/^\+/gm, "").replaceAll("\n", newline);
      if (style.startsWith("ports")) after = after.replace("80 ]", "80, 443 ]");
      const { run, file } = await world(t, before);
      t.equal((await run("promote", "1f1f", "--rule", "shop", "--write")).status, 0, style);
      t.equal(readFileSync(file, "utf8"), after, style);
    }
  }
  const flow = "version: 1\nrules: [{name: shop, dns: {allowed: []}}] # one line";
  const { run, file } = await world(t, flow);
  await run("promote", "1f1f", "--rule", "shop", "--write");
  t.equal(
    readFileSync(file, "utf8"),
    'version: 1\nrules: [{name: shop, dns: {allowed: ["*.cdn.example.com", api.stripe.com]}, network: { outboundPorts: { allowed: [443] } }}] # one line',
  );
});

t.test("names that no rule can hold are left out of it, and told", async (t) => {
  const { run, script, file } = await world(t);
  const [entry] = model.entries.names;
  const names = ["\\042.example.com", "a\\255.example", "192.0.2.1", "good.example"];
  script.others = [
    {
      ...model,
      key: `sha256:${"ab".repeat(32)}`,
      entries: { ...model.entries, names: names.map((name) => ({ ...entry!, name })) },
    },
  ];
  const { status, stdout } = await run("promote", "abab", "--rule", "shop", "--write");
  t.equal(status, 0);
  t.match(stdout, /^3 names that no rule can hold left out: `\\042\.example\.com`/m);
  t.ok(longest(stdout) <= 80);
  t.strictSame(parsePolicy(readFileSync(file, "utf8"), file).policy.rules[0]?.dns?.allowed, [
    "api.stripe.com",
    "good.example",
  ]);
  t.strictSame(
    JSON.parse((await run("promote", "abab", "--rule", "shop", "--json")).stdout).leftOut,
    names.slice(0, 3),
  );
});

t.test("unified diffs: numbers, joined and parted hunks", async (t) => {
  const lines = (...numbers: (number | string)[]) => `${numbers.join("\n")}\n`;
  t.strictSame(unifiedDiff("a\n", "a\n", "x", "y"), []);
  t.strictSame(unifiedDiff("", "a\n", "x", "y"), ["--- x", "+++ y", "@@ -0,0 +1 @@", "+a"]);
  t.strictSame(unifiedDiff("a\nb\n", "a\nc\n", "x", "y").slice(2), ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]);
  const before = lines(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
  const after = lines("new", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12);
  t.strictSame(
    unifiedDiff(before, after, "x", "y").filter((line) => line.startsWith("@@")),
    ["@@ -1,3 +1,4 @@", "@@ -8,5 +9,4 @@"],
  );
});
