/** The rules as text, and what is made of what the commands say. */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { isComplete, parseInstalled, removalText, restoreText } from "../../src/packet/installed.ts";
import { disjointPatterns, type RulesOptions, tableRules } from "../../src/packet/rules.ts";
import { Ruleset } from "../../src/packet/ruleset.ts";
import { createSets } from "../../src/packet/sets.ts";
import { mayConcern, parseGeneration } from "../../src/packet/watch.ts";
import type { RunResult } from "../../src/run.ts";
import { CONFIG } from "./world.ts";

function options(failMode: "open" | "closed"): RulesOptions {
  return { config: CONFIG, dns: { port: 5303, redirect: true, rate: 1000 }, failMode };
}

/** What a text has to be: the file of that name beside this one, rewritten first when UPDATE_EXPECTED is set. */
function expected(name: string, actual: string): string {
  const file = new URL(`./expected/${name}`, import.meta.url);
  if (process.env.UPDATE_EXPECTED !== undefined) writeFileSync(file, actual);
  return readFileSync(file, "utf8");
}

t.test("text", async (t) => {
  for (const failMode of ["open", "closed"] as const) {
    for (const family of [4, 6] as const) {
      const text = restoreText(new Map(), tableRules(family, options(failMode)), ["docker0", "br-+"]);
      t.equal(text, expected(`ipv${family}-${failMode}.rules`, text));
      t.equal(text.includes("--queue-bypass"), failMode === "open");
      t.equal(text.includes("tm-alive"), failMode === "open");
    }
  }
  for (const family of [4, 6] as const) {
    t.equal(createSets(family), expected(`ipv${family}.sets`, createSets(family)));
  }
  const direct = tableRules(4, { ...options("open"), dns: { port: 53, redirect: false, rate: 1000 } });
  t.same(
    direct.map(({ table }) => table),
    ["mangle", "filter"],
    "no redirection, no nat",
  );
});

t.test("patterns that overlap are one", async (t) => {
  t.same(disjointPatterns(["docker0", "br-+", "br-1234", "br-+", "br+", "docker0"]), ["br+", "docker0"]);
  t.same(disjointPatterns(["+", "docker0"]), ["+"]);
  t.same(
    disjointPatterns(["docker0", "docker01"]),
    ["docker01", "docker0"].sort(),
    "a name is not a pattern",
  );
});

t.test("what stands there is corrected, not piled up", async (t) => {
  const wanted = tableRules(4, options("open"));
  const before = parseInstalled(
    [
      "*mangle",
      ":PREROUTING ACCEPT [0:0]",
      ":OTHER - [0:0]",
      ":TM-PRE - [0:0]",
      "-A PREROUTING -i docker0 -m comment --comment tidesman -j TM-PRE",
      "-A PREROUTING -j OTHER",
      "-A PREROUTING -i docker0 -m comment --comment tidesman -j TM-PRE",
      "-A PREROUTING -i gone0 -m comment --comment tidesman -j TM-PRE",
      "-A TM-PRE -j RETURN",
      "COMMIT",
    ].join("\n"),
  );
  t.notOk(isComplete(before, wanted, ["docker0"]));
  const lines = restoreText(before, wanted, ["docker0", "br-+"]).split("\n");
  t.same(
    lines.filter((line) => /^-[DI] PREROUTING.*TM-PRE/.test(line)),
    [
      "-D PREROUTING -i docker0 -m comment --comment tidesman -j TM-PRE",
      "-D PREROUTING -i gone0 -m comment --comment tidesman -j TM-PRE",
      "-I PREROUTING 1 -i br-+ -m comment --comment tidesman -j TM-PRE",
    ],
  );
  t.notMatch(lines.join("\n"), /OTHER/);
  t.match(removalText(before), /^\*mangle\n:TM-PRE - \[0:0\]\n(-D .*\n){3}-X TM-PRE\nCOMMIT\n$/);
  t.equal(removalText(new Map()), "");
});

t.test("lines of the monitor", async (t) => {
  for (const line of [
    "delete rule ip mangle PREROUTING handle 14",
    "delete chain ip nat TM-DNS",
    "add rule ip6 mangle TM-PRE counter packets 0 bytes 0 return",
    "delete table ip filter",
    "delete rule ip filter INPUT handle 3",
  ]) {
    t.ok(mayConcern(line), line);
  }
  for (const line of [
    "add rule ip nat KUBE-SVC-ABC counter packets 0 bytes 0 jump KUBE-SEP-DEF",
    "delete rule ip nat KUBE-SVC-ABC handle 812",
    "delete rule ip filter FORWARD handle 12",
  ]) {
    t.notOk(mayConcern(line), line);
  }
  t.same(parseGeneration("# new generation 4 by process 18614 (iptables)"), {
    pid: 18614,
    process: "iptables",
  });
  t.equal(parseGeneration("delete rule ip nat X handle 1"), null);
});

t.test("errors name what to do", async (t) => {
  const failing = (results: Readonly<Record<string, Partial<RunResult>>>, warnings: string[] = []): Ruleset =>
    new Ruleset({
      ...options("open"),
      config: CONFIG,
      run: async (command) => ({ status: 0, stdout: "", stderr: "", ...results[command] }),
      clock: new ManualClock(),
      native: { conntrackMark: () => 0 },
      warn: (message) => warnings.push(message),
    });
  await t.rejects(failing({ "iptables-save": { status: 127, stderr: "spawn ENOENT" } }).install([]), {
    code: "TM_RULESET_TOOL_MISSING",
    message: /`iptables-save` was not found; install the package `iptables`/,
  });
  await t.rejects(
    failing({ "iptables-save": { status: 4, stderr: "Permission denied (you must be root)" } }).install([]),
    { code: "TM_NOT_PERMITTED" },
  );
  await t.rejects(
    failing({ ipset: { status: 1, stderr: "ipset v7.17: Error in line 2: Syntax error" } }).install([]),
    { code: "TM_RULESET", message: /`ipset` failed.* at `create tm-known4 hash:ip.*Syntax error/ },
  );
  await t.rejects(
    failing({
      "iptables-restore": { status: 1, stderr: "iptables-restore: line 2 failed" },
      "ip6tables-save": { status: 1 },
    }).install([]),
    { code: "TM_RULESET", message: /at `:TM-PRE - \[0:0\]`/ },
  );
  await t.rejects(failing({}).install(["no/such name"]), { code: "TM_RULESET", message: /`no\/such name`/ });
  const warnings: string[] = [];
  await t.rejects(
    failing({ "ip6tables-save": { status: 127 } }, warnings).install([]),
    { code: "TM_RULESET", message: /changed by somebody else/ },
    "a restore that does nothing is not taken for one",
  );
  t.match(warnings, [/IPv6 is not guarded.*ip6tables-save/], "without ip6tables it goes on, and says so");
});
