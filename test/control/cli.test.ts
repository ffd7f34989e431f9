import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { loadConfig } from "../../src/config.ts";
import type { FileReaders } from "../../src/control/cli/context.ts";
import { TidesmanError } from "../../src/errors.ts";
import { DEFAULT_POLICY, parsePolicy } from "../../src/policy/parse.ts";
import { importPrisma } from "../../src/policy/prisma/import.ts";
import { SHIPPED_FEEDS } from "../../src/settings.ts";
import { audit, fold, longest, policy, type Ran, replay, Script, serve, status, within } from "./scripted.ts";

/** A control server and a way to ask it with the real command. Socket paths are short, so the folder is too. */
async function world(
  t: Test,
): Promise<{ script: Script; run: (...args: string[]) => Promise<Ran>; runtime: string }> {
  const runtime = mkdtempSync(join(tmpdir(), "tm-cli-"));
  const script = new Script();
  const { server } = await serve(runtime, script);
  t.teardown(async () => {
    await server.close();
    rmSync(runtime, { recursive: true, force: true });
  });
  return { script, runtime, run: (...args) => within(["--runtime-dir", runtime, ...args]) };
}

const READING: readonly (readonly [args: string, status: number, expected: RegExp])[] = [
  ["status", 0, /^packets +5,000: 4,900 allowed/m],
  ["status", 0, /^incidents +3 open: 2 portScan, 1 commandAndControl; 1 acknowledged$/m],
  ["containers", 0, /^web-frontend.*running.*172\.17/m],
  ["models", 0, /nginx:1\.27 +learning +50 %/],
  ["models list", 0, /nginx:1\.27/],
  ["models show 1f1f", 0, /api\.stripe\.com +12/],
  ["models diff 1f1f 1f1f", 0, /hold the same/],
  ["models lock 1f1f", 0, /is now learning and locked/],
  ["audits", 0, /prevent feedDNS web\n {4}lookup of n2\.evil/],
  ["feeds", 0, /urlhaus +domain +suffix +rule's +123,456 +in use/],
  ["feeds list", 0, /urlhaus/],
  ["feeds update", 0, /urlhaus/],
  ["feeds show urlhaus", 0, /added +2: \.new\.example/],
  ["feeds test urlhaus x.evil.example", 1, /listed by urlhaus: evil\.example \(suffix\)/],
  ["feeds test all good.example", 0, /not listed by any feed/],
  ["feeds rollback", 0, /in force again; held until/],
  ["feeds approve urlhaus", 0, /urlhaus/],
  ["incidents", 0, /portScan +open +web/],
  ["incidents list --all", 0, /01KB00000000/],
  ["incidents show 01KB", 0, /scanned 26 ports of 203\.0\.113\.10/],
  ["incidents ack 01KB", 0, /state +acknowledged/],
  ["incidents close 01KB --note done", 0, /note +done/],
  ["incidents show 01KB", 0, /tidesman evidence 20261124T023339497Z-c0ffeec0ffee/],
  ["evidence", 0, /^20261124T023339497Z-c0ffeec0ffee +web +killed +lookup/m],
  ["evidence web", 0, /4711 +1 +4700 +0 .*\/bin\/sh +sh -c/],
  ["policy", 0, /^ {2}- name: payments$/m],
  ["policy show", 0, /^# revision 17/],
  ["policy reload", 0, /^revision 18 is in force, before it was 17; 2 rules$/m],
  ["why web ok.test", 0, /would be allowed/],
  ["why miner ok.test", 1, /would be allowed, were it not blocked$/m],
  ["why web evil.example", 1, /would be dropped: feedDNS \(prevent\) by rule `payments`/],
  ["why web 203.0.113.1:25", 1, /203\.0\.113\.1:25\/tcp/],
  ["why web 203.0.113.1:25", 1, /^ {2}- detected by network\.unresolved$/m],
  ["why web [2001:db8::1]:443/tcp", 0, /2001:db8::1/],
  ["status", 0, /^exempt +web-frontend.* may reach/m],
  ["allow --list", 0, /^web-front.* +\.a-name-that-is.*alice/m],
  [
    "allow web evil.example --for 1h30m",
    0,
    /may reach evil\.example\s+until\s+2026-.*\nnote: the container is b/s,
  ],
  ["allow web 203.0.113.1:25", 0, /may reach\s+203\.0\.113\.1:25\s+until/],
  ["allow web --withdraw", 0, /is judged again/],
  ["unblock miner", 0, /^miner is no longer blocked/],
];

t.test("every command: exit status, text of 80 columns without colours, and JSON", async (t) => {
  const { script, run } = await world(t);
  script.stored = [audit(1), audit(2, { count: 1_234, message: `lookup of ${"x".repeat(200)}` }), audit(2)];
  for (const [args, expected, pattern] of READING) {
    const text = await run(...args.split(" "));
    t.equal(text.status, expected, args);
    t.equal(text.stderr, "", args);
    t.match(text.stdout, pattern, args);
    t.ok(longest(text.stdout) <= 80, `${args}: ${longest(text.stdout)} columns`);
    t.notMatch(text.stdout, "\u001b", `${args}: no escapes`);
    const json = await run(...args.split(" "), "--json");
    t.equal(json.status, expected, `${args} --json`);
    for (const line of json.stdout.trimEnd().split("\n"))
      t.type(JSON.parse(line), "object", `${args} --json`);
  }
});

t.test("JSON is what the API says", async (t) => {
  const { script, run } = await world(t);
  script.stored = [audit(1), audit(2)];
  t.same(JSON.parse((await run("status", "--json")).stdout), status);
  t.same(JSON.parse((await run("policy", "--json")).stdout), policy);
  const lines = (await run("audits", "--json")).stdout.trimEnd().split("\n");
  t.same(
    lines.map((line) => JSON.parse(line)),
    script.stored,
  );
});

t.test("a fold says whom it stands for", async (t) => {
  const { script, run } = await world(t);
  script.stored = [fold(1)];
  t.match((await run("audits")).stdout, /prevent feedDNS web and 1 other x9\n {4}many alike in 2 containers/);
});

t.test("nothing to show is said, and is no JSON line", async (t) => {
  const { script, run } = await world(t);
  script.containers = async () => [];
  script.feeds = async () => [];
  script.models = async () => [];
  for (const command of ["audits", "containers", "feeds", "models"]) {
    const text = await run(command);
    t.equal(text.status, 0);
    t.match(text.stdout, /^(No audits|There are no|Nothing was learned)/);
    t.equal((await run(command, "--json")).stdout, "");
  }
});

t.test("usage errors: exit status 2, one message, nothing asked of the daemon", async (t) => {
  const { script, run } = await world(t);
  const wrong = [
    "statsu",
    "status --colour",
    "status extra",
    "why web",
    "audits --since 0",
    "why web evil.example:443",
    "why web 1.2.3.4:99999",
    "models show",
    "feeds test x",
    "audits --limit 0",
    "audits --limit x",
    "audits --since soon",
    "audits --effect disable",
    "audits --attack-type foo",
    "--config",
    "unblock",
    "allow",
    "allow web",
    "allow web evil.example --for soon",
    "allow web evil.example --for 0s",
    "allow --list --withdraw",
    "allow --withdraw",
    "policy replay --since soon",
    "policy replay --since 2126-01-01",
    "policy replay extra",
  ];
  for (const args of wrong) {
    const { status, stdout, stderr } = await run(...args.split(" "));
    t.equal(status, 2, args);
    t.equal(stdout, "", args);
    t.match(stderr, /^tidesman: .* \(TM_USAGE\)\n/, args);
  }
  t.match((await run("statsu")).stderr, /Did you mean status\?/);
  t.same(script.calls, []);
  const none = await within([]);
  t.equal(none.status, 2);
  t.match(none.stderr, /^Usage: tidesman/);
});

t.test("help and version", async (t) => {
  for (const args of [
    ["--help"],
    ["help"],
    ["help", "audits"],
    ["audits", "--help"],
    ["models", "show", "--help"],
  ]) {
    const { status, stdout, stderr } = await within(args);
    t.equal(status, 0, args.join(" "));
    t.match(stdout, /^Usage: tidesman/);
    t.equal(stderr, "");
    t.ok(longest(stdout) <= 80);
  }
  const help = (await within(["help"])).stdout;
  for (const command of [
    "daemon",
    "status",
    "check",
    "why",
    "containers",
    "models",
    "audits",
    "feeds",
    "policy",
    "unblock",
  ]) {
    t.match(help, new RegExp(`^  ${command} `, "m"));
  }
  t.match((await within(["--version"])).stdout, /^\d+\.\d+\.\d+\n$/);
  t.match((await within(["version"])).stdout, /^tidesman \d+\.\d+\.\d+ on Node\.js v\d+/);
  t.match(JSON.parse((await within(["version", "--json"])).stdout), { version: /^\d/ });
});

t.test("no daemon: every command that needs it ends with 3 and says what to do", async (t) => {
  const runtime = join(t.testdir(), "nowhere");
  for (const [args] of READING) {
    // What is done on the disk needs no daemon.
    if (/^feeds (?:update|test|rollback|approve)/.test(args)) continue;
    const { status, stdout, stderr } = await within(["--runtime-dir", runtime, ...args.split(" ")]);
    t.equal(status, 3, args);
    t.equal(stdout, "", args);
    t.match(stderr, /cannot be reached at .*systemctl start tidesman.* \(TM_UNREACHABLE\)\n$/, args);
  }
});

t.test("doctor: warnings and what cannot be told are no problem", async (t) => {
  const runtime = join(t.testdir(), "nowhere");
  const readers: FileReaders = {
    config: loadConfig,
    policy: parsePolicy,
    feeds: () => ({ feeds: [], notices: [] }),
    prisma: importPrisma,
    defaultPolicy: DEFAULT_POLICY,
    shippedFeeds: SHIPPED_FEEDS,
  };
  const { status, stdout, stderr } = await within(["--runtime-dir", runtime, "doctor"], async () => readers);
  t.equal(status, 0);
  t.equal(stderr, "");
  t.match(stdout, /^queue {3}warning: packets found it full\n {8}do: raise it$/m);
  t.match(stdout, /^clock {3}not told: it cannot be told$/m);
  t.match(stdout, /^0 problems, 1 warning, 1 ok, 1 could not be told$/m);
});

t.test("the daemon's own errors keep their code and exit status", async (t) => {
  const { script, run } = await world(t);
  t.match(await run("why", "nobody", "a.example"), {
    status: 1,
    stderr: /no container `nobody`.*\(TM_NOT_FOUND\)/,
  });
  t.match(await run("models", "show", "zz"), { status: 1, stderr: /\(TM_NOT_FOUND\)/ });
  t.match(await run("evidence", "nobody"), { status: 1, stderr: /no evidence.*\(TM_NOT_FOUND\)/ });
  t.match(await run("unblock", "web"), { status: 1, stderr: /\(TM_NOT_FOUND\)/ });
  script.failure = new TidesmanError(
    "TM_POLICY",
    "policy.yaml:3:5: rules[0].nam: unknown key\npolicy.yaml:9:1: more",
  );
  const refused = await run("policy", "reload");
  t.equal(refused.status, 2);
  t.match(
    refused.stderr,
    /^tidesman: the policy was refused, the running one stays:\npolicy\.yaml:3:5: .*\npolicy\.yaml:9:1: more \(TM_POLICY\)\n$/,
  );
  script.failure = new Error("a defect");
  t.match(await run("status"), { status: 1, stderr: /its log says why \(TM_INTERNAL\)/ });
});

t.test("allow: what is asked of the daemon, and by whom", async (t) => {
  const { script, run } = await world(t);
  await run("allow", "web", "*.evil.example", "--for", "1h30m", "--note", "INC-1", "--force");
  await run("allow", "web", "evil.example");
  await run("allow", "web", "evil.example", "--withdraw");
  t.same(script.calls, [
    'exempt *.evil.example {"force":true,"time":5400000,"note":"INC-1"}',
    'exempt evil.example {"force":false,"time":3600000,"note":null}',
    "withdraw evil.example",
  ]);
  t.match(await run("allow", "nobody", "a.example"), { status: 1, stderr: /\(TM_NOT_FOUND\)/ });
  t.match(await run("allow", "nobody", "--withdraw"), { status: 1, stderr: /\(TM_NOT_FOUND\)/ });
  t.match((await run("allow", "nobody", "--list")).stdout, /^There are no exemptions/);
});

t.test(
  "policy replay: 1 when something would go otherwise, and the file is the one of --policy",
  async (t) => {
    const { script, run, runtime } = await world(t);
    const folder = t.testdir({ "strict.yaml": "# strict\n", "same.yaml": "version: 1\n" });
    const changed = await run("policy", "replay", "--policy", `${folder}/strict.yaml`, "--since", "2d");
    t.equal(changed.status, 1);
    t.match(changed.stdout, /^audits +1,234 findings in 320 audits since 2026-/m);
    t.match(changed.stdout, /^newly denied: 9 findings \(alert -> block\)$/m);
    t.match(changed.stdout, /rule `payments, stricter`, in force rule `payments`/);
    t.match(changed.stdout, /web-2, web-3 and\s+3\s+more/);
    t.match(changed.stdout, /- lookup of api\.example \(A\) is in denied names \(api\.example\) x8/);
    t.ok(longest(changed.stdout) <= 80);
    t.notMatch(changed.stdout, "\u001b");
    const since = Number(script.calls.at(-1)?.split(" ")[1]);
    t.ok(Math.abs(Date.now() - 2 * 86_400_000 - since) < 60_000);

    const same = await run("--policy", `${folder}/same.yaml`, "policy", "replay");
    t.equal(same.status, 0);
    t.match(same.stdout, /^Nothing of it would go otherwise\.$/m);
    const json = await run("policy", "replay", "--policy", `${folder}/strict.yaml`, "--json");
    t.equal(json.status, 1);
    t.same(JSON.parse(json.stdout), replay(`${folder}/strict.yaml`, true));

    t.match(await run("policy", "replay", "--policy", `${folder}/none`), {
      status: 2,
      stderr: /TM_POLICY_MISSING/,
    });
    script.failure = new TidesmanError("TM_POLICY", "new.yaml:3:5: rules[0].nam: unknown key");
    t.match(await run("policy", "replay", "--policy", `${folder}/same.yaml`), {
      status: 2,
      stderr: /unknown key/,
    });
    const away = [
      "--runtime-dir",
      join(runtime, "nowhere"),
      "policy",
      "replay",
      "--policy",
      `${folder}/same.yaml`,
    ];
    t.equal((await within(away)).status, 3);
  },
);

t.test("feeds update: 1 when a feed is not in use", async (t) => {
  const { script, run } = await world(t);
  script.feedError = "cannot be read: ENOENT";
  const { status, stdout } = await run("feeds", "update");
  t.equal(status, 1);
  t.match(stdout, /urlhaus: cannot be read: ENOENT/);
});

t.test("big lists come in pages and whole; the newest without --since", async (t) => {
  const { script, run } = await world(t);
  script.stored = Array.from({ length: 12_345 }, (_, index) => audit(index));
  const all = (await run("audits", "--since", "3650d", "--json")).stdout.trimEnd().split("\n");
  t.equal(all.length, 12_345);
  t.equal(JSON.parse(all[0]!).id, script.stored[0]?.id);
  t.equal(JSON.parse(all.at(-1)!).id, script.stored.at(-1)?.id);
  t.equal((await run("audits", "--json")).stdout.trimEnd().split("\n").length, 100);
  const few = (await run("audits", "--since", "3650d", "--limit", "7", "--json")).stdout
    .trimEnd()
    .split("\n");
  t.equal(few.length, 7);
  t.equal(JSON.parse(few.at(-1)!).id, script.stored.at(-1)?.id);
});
