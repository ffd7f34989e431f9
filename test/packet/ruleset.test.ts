/** The rules: their text, and how they are installed, kept and removed on real tables in a namespace of their own. */
import { readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { isComplete, parseInstalled, removalText, restoreText } from "../../src/packet/installed.ts";
import { disjointPatterns, type RulesOptions, tableRules } from "../../src/packet/rules.ts";
import { Ruleset } from "../../src/packet/ruleset.ts";
import { createSets } from "../../src/packet/sets.ts";
import { mayConcern, parseGeneration } from "../../src/packet/watch.ts";
import type { RunResult } from "../../src/run.ts";
import { GOOD, namespaceRefusal } from "./network.ts";
import { CONFIG, PacketWorld, until } from "./world.ts";

t.setTimeout(110_000);
const refusal = namespaceRefusal();
const skip = refusal === null ? {} : { skip: refusal };

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

t.test("on real tables", skip, async (t) => {
  const world = new PacketWorld("tables", "open");
  t.teardown(() => world.remove());
  const exec = (line: string): string => {
    const [command = "", ...args] = line.split(" ");
    return world.network.exec(command, ...args);
  };
  // What others have there: in IPv4 a Docker-like nat table and a filter rule, in IPv6 nothing at all.
  exec("iptables -t nat -N DOCKER");
  exec("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
  exec("iptables -A INPUT -i lo -j ACCEPT");
  exec("ipset create foreign hash:ip");
  exec("ipset add foreign 192.0.2.1");
  const snapshot = (): string =>
    [exec("iptables-save"), exec("ip6tables-save"), exec("ipset save foreign"), exec("ipset list -n")]
      .join("\n")
      .replace(/^#.*$/gm, "")
      .replace(/\[\d+:\d+\]/g, "");
  const before = snapshot();
  await world.start();
  const installed = snapshot();

  await t.test("installs what others' rules do not notice, once", async (t) => {
    t.ok(await world.host.call("check"));
    t.equal(
      installed.match(/-A PREROUTING .*-j TM-PRE/g)?.length,
      2,
      "once per family, though two patterns cover the bridge",
    );
    t.match(installed, /-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER/);
    await world.host.call("install", []);
    t.equal(snapshot(), installed, "again changes nothing");
    await world.host.call("install", ["eth7"]);
    t.match(snapshot(), /-A PREROUTING -i eth7 -m comment --comment tidesman -j TM-DNS/);
    await world.host.call("install", []);
    t.equal(snapshot(), installed, "an interface that left takes its jumps along");
  });

  await t.test("notices and repairs, and says who", async (t) => {
    const tampered = (count: number): Promise<unknown> =>
      until(
        `${count} repairs`,
        async () => (await world.state()).tampered.length,
        (length) => length >= count,
      );
    await world.host.call("watch");
    // The monitor listens when there is a netfilter socket (12) with groups in the namespace.
    await until(
      "the monitor to listen",
      async () => exec("cat /proc/net/netlink"),
      (sockets) => sockets.split("\n").some((line) => /^\S+ +12 +\d+ +(?!0{8})[0-9a-f]{8} /.test(line)),
    );
    const harms = [
      ["iptables -t mangle -F", /was changed|is gone/],
      [
        "iptables -t nat -D PREROUTING -i tmbr+ -m comment --comment tidesman -j TM-DNS",
        /PREROUTING -i tmbr\+.*is gone/,
      ],
      ["ip6tables -t mangle -I TM-PRE 1 -j RETURN", /chain `TM-PRE` of table `mangle` was changed/],
      ["iptables -D TM-IN 1", /chain `TM-IN` of table `filter` was changed/],
      ["nft flush ruleset", /is gone/],
    ] as const;
    for (const [index, [harm, detail]] of harms.entries()) {
      exec(harm);
      await tampered(index + 1);
      const said = (await world.state()).tampered[index] ?? "";
      t.match(said, detail, harm);
      t.match(
        said,
        new RegExp(`changed by .*${harm.startsWith("nft") ? "nft" : "ip6?tables"}.* \\(pid \\d+\\)`),
      );
      t.notMatch(said, /tables-res/, "it was not us");
      t.ok(await world.host.call("check"));
    }
    // Our own changes, and others' that are none of our business, are not told. The last harm marks their end.
    await world.host.call("install", ["eth7"]);
    await world.host.call("install", []);
    exec("iptables -A FORWARD -i lo -j ACCEPT");
    exec("ipset flush tm-known4");
    exec("iptables -t mangle -F TM-QUEUE");
    await tampered(harms.length + 1);
    const { tampered: all, warnings } = await world.state();
    t.equal(all.length, harms.length + 1);
    t.same(warnings, []);
    await world.host.call("unwatch");
  });

  await t.test("leaves without a trace", async (t) => {
    // The ruleset was flushed above, so what others had is put back as it was.
    exec("iptables -t filter -F");
    exec("iptables -t nat -N DOCKER");
    exec("iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
    exec("iptables -A INPUT -i lo -j ACCEPT");
    await world.host.call("remove", {});
    t.equal(snapshot(), before);
    t.notOk(await world.host.call("check"));
    await world.host.call("remove", {});
    t.equal(snapshot(), before, "twice is as good");
  });
});

t.test("closed mode stays until it is uninstalled", skip, async (t) => {
  const world = new PacketWorld("stays", "closed");
  t.teardown(() => world.remove());
  await world.serve();
  const c1 = world.container(2);
  const save = (): string =>
    `${world.network.exec("iptables-save")}${world.network.exec("ip6tables-save")}${world.network.exec("ipset", "list", "-n")}`;
  const before = save();
  await world.start();
  await world.introduce(2);
  await world.host.call("remove", {});
  await world.host.call("closeHandler");
  t.match(save(), /TM-PRE/);
  t.equal(await c1.call("connect", GOOD, 80, 400), "silent");
  await world.host.call("remove", { uninstall: true });
  t.equal(save(), before);
  t.match(await c1.call("connect", GOOD, 80, 5000), /^open/);
});
