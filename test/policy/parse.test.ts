import fc from "fast-check";
import t from "tap";
import { TidesmanError } from "../../src/errors.ts";
import { DEFAULT_POLICY, type Notice, parsePolicy } from "../../src/policy/parse.ts";
import { mayBlock, POLICY_SCHEMA } from "../../src/policy/schema.ts";

/** Lines of the error that `text` gives, without the file; empty when it is accepted. */
function problems(text: string): readonly string[] {
  try {
    parsePolicy(text, "policy.yaml");
  } catch (error) {
    if (!(error instanceof TidesmanError) || error.code !== "TM_POLICY") throw error;
    const lines = error.message.split("\n");
    for (const line of lines)
      if (!/^policy\.yaml:\d+:\d+: ./.test(line)) throw new Error(`without a place: ${line}`);
    return lines.map((line) => line.replace("policy.yaml:", ""));
  }
  return [];
}
/** The same for one rule with these sections, one a line. */
function inRule(...sections: readonly string[]): readonly string[] {
  return problems(ruleText(sections));
}
function notices(...sections: readonly string[]): readonly string[] {
  return parsePolicy(ruleText(sections), "policy.yaml").notices.map(told);
}
function ruleText(sections: readonly string[]): string {
  return ["version: 1", "rules:", "  - name: r", ...sections.map((line) => `    ${line}`), ""].join("\n");
}
function told({ level, line, column, field, message }: Notice): string {
  return `${level} ${line}:${column} ${field} ${message}`;
}

const COMPLETE = `version: 1
rules:
  - name: payments
    scope: { images: ["registry.example/pay*"], labels: { tier: backend, zone: [a, "-b"] }, hosts: [h1], containers: ["*"], namespaces: [x] }
    dns:
      effect: prevent
      allowed: [api.stripe.com, "*.internal.example"]
      denied: [".example.net"]
      deniedEffect: block
      intelligence: prevent
      suspicious: alert
      force: false
    network:
      effect: alert
      outboundAddresses: { allowed: [10.0.0.0/8, "2001:db8::/32"], denied: [203.0.113.0/24], deniedEffect: prevent }
      outboundPorts:     { allowed: [443, "8000-8100"], denied: [25], deniedEffect: prevent }
      listeningPorts:    { allowed: [8080], denied: [4444], deniedEffect: alert }
      intelligence: prevent
      unresolved: disable
      portScan: alert
      rawSockets: alert
  - name: Default - alert on suspicious runtime behavior
    dns: { effect: disable }
    network: { effect: alert }
`;

t.test("every field of the language is read", async (t) => {
  const { policy, notices } = parsePolicy(COMPLETE, "policy.yaml");
  t.same(policy.rules[0], {
    name: "payments",
    scope: {
      images: ["registry.example/pay*"],
      labels: { tier: "backend", zone: ["a", "-b"] },
      hosts: ["h1"],
      containers: ["*"],
      namespaces: ["x"],
    },
    dns: {
      effect: "prevent",
      allowed: ["api.stripe.com", "*.internal.example"],
      denied: [".example.net"],
      deniedEffect: "block",
      intelligence: "prevent",
      suspicious: "alert",
      force: false,
    },
    network: {
      effect: "alert",
      outboundAddresses: {
        allowed: ["10.0.0.0/8", "2001:db8::/32"],
        denied: ["203.0.113.0/24"],
        deniedEffect: "prevent",
      },
      outboundPorts: { allowed: [443, "8000-8100"], denied: [25], deniedEffect: "prevent" },
      listeningPorts: { allowed: [8080], denied: [4444], deniedEffect: "alert" },
      intelligence: "prevent",
      unresolved: "disable",
      portScan: "alert",
      rawSockets: "alert",
    },
  });
  t.same(structuredClone(policy), policy, "plain data");
  t.same(
    notices.map(({ level, field }) => `${level} ${field}`),
    [],
  );
});

t.test("the policy without a file is one that a file could hold", async (t) => {
  t.same(POLICY_SCHEMA.parse(DEFAULT_POLICY), DEFAULT_POLICY);
});

t.test("all mistakes are told at once, in the order of the file", async (t) => {
  const text = `version: 2
rulez: []
rules:
  - name: a
    scop: {}
    scope: { images: [], labels: { a: 3, b: [] }, hosts: web, containers: ["-", ""] }
    dns:
      efect: alert
      effect: alrt
      force: maybe
      allowed: ["*.com", "a.*.b", A.example, 12, a..b]
      denied: [a.example]
    network:
      outboundAddresses: { allowed: [10.0.0.1/33, foo], denied: 5 }
      outboundPorts: { allowed: [0, 70000, "9-1", 443, true], denied: ["443"] }
      unresolved:
  - name: A
    dns: nope
  - 7
  - { dns: {} }
`;
  t.same(
    problems(text).map((line) => line.split(": ").slice(0, 2).join(" ")),
    [
      "1:10 version",
      "2:1 rulez",
      "5:5 rules[0].scop",
      "6:22 rules[0].scope.images",
      "6:39 rules[0].scope.labels.a",
      "6:45 rules[0].scope.labels.b",
      "6:58 rules[0].scope.hosts",
      "6:76 rules[0].scope.containers[0]",
      "6:81 rules[0].scope.containers[1]",
      "8:7 rules[0].dns.efect",
      "9:15 rules[0].dns.effect",
      "10:14 rules[0].dns.force",
      "11:17 rules[0].dns.allowed[0]",
      "11:26 rules[0].dns.allowed[1]",
      "11:35 rules[0].dns.allowed[2]",
      "11:46 rules[0].dns.allowed[3]",
      "11:50 rules[0].dns.allowed[4]",
      "14:38 rules[0].network.outboundAddresses.allowed[0]",
      "14:51 rules[0].network.outboundAddresses.allowed[1]",
      "14:65 rules[0].network.outboundAddresses.denied",
      "15:34 rules[0].network.outboundPorts.allowed[0]",
      "15:37 rules[0].network.outboundPorts.allowed[1]",
      "15:44 rules[0].network.outboundPorts.allowed[2]",
      "15:51 rules[0].network.outboundPorts.allowed[3]",
      "15:56 rules[0].network.outboundPorts.allowed[4]",
      "16:18 rules[0].network.unresolved",
      "17:11 rules[1].name",
      "18:10 rules[1].dns",
      "19:5 rules[2]",
      "20:5 rules[3].name",
    ],
  );
});

t.test("messages say what is wrong and what is allowed", async (t) => {
  const cases: readonly [readonly string[], string][] = [
    [
      inRule("dns: { efect: alert }"),
      "4:12: rules[0].dns.efect: the key `efect` is not known (did you mean `effect`?); allowed: effect, allowed, denied, deniedEffect, intelligence, suspicious, force",
    ],
    [
      inRule("dns: { effect: alrt }"),
      "4:20: rules[0].dns.effect: `alrt` is not allowed (did you mean `alert`?); allowed: disable, alert, prevent, block",
    ],
    [
      inRule("dns: { effect: }"),
      "4:20: rules[0].dns.effect: is empty; allowed: disable, alert, prevent, block",
    ],
    [
      inRule("dns: { denied: a.example }"),
      "4:20: rules[0].dns.denied: `a.example` is text; a list is needed: [a.example]",
    ],
    [
      inRule("dns: { denied: [12] }"),
      '4:21: rules[0].dns.denied[0]: `12` is a number; text is needed: write it in quotes, "12"',
    ],
    [
      inRule("scope: { images: [] }"),
      "4:22: rules[0].scope.images: is an empty list; leave the key out instead",
    ],
    [inRule("dns:"), "4:9: rules[0].dns: is empty; a mapping is needed, or leave the key out"],
    [problems("rules: []"), "1:1: version: is missing; allowed: 1"],
    [problems("version: 2\nrules: []"), "1:10: version: `2` is not allowed; allowed: 1"],
    [problems("version: '1'\nrules: []"), '1:10: version: "1" is text; write it without quotes'],
  ];
  for (const [lines, line] of cases) t.same(lines, [line]);
});

t.test("text that is no YAML, or more than plain YAML", async (t) => {
  t.match(problems(""), [/^1:1: the file is empty/]);
  t.match(problems("# nothing\n"), [/^1:1: the file is empty/]);
  t.match(problems("a: [\n b: }"), [/^2:5: /]);
  t.match(problems("version: 1\nrules:\n\t- name: x\n"), [/^3:1: tabs are not allowed as indentation/]);
  t.match(problems("version: 1\nversion: 1\nrules: []"), [/^2:1: the key `version` stands here twice/]);
  t.match(problems("---\nversion: 1\nrules: []\n---\na: 1\n"), [/^4:1: source contains multiple documents/]);
  t.match(problems("version: 1\nrules: !!set []\n"), [/^2:8: unresolved tag/]);
  t.match(problems("version: 1\nrules: &a [*a]\n"), [/^2:12: the alias `\*a` stands inside what it names/]);
  t.match(problems("version: 1\nrules: *a\n"), [/^2:8: rules: `\*a` without quotes is a YAML alias/, /./]);
  t.match(problems("? [1]\n: 2\n"), [/^1:3: .*keys must be strings/]);
  t.match(problems(`version: 1\nrules: []\nx: ${"[".repeat(20_000)}`), [/^3:/]);
  t.match(problems("a".repeat(4 * 1024 * 1024 + 1)), [/^1:1: the file has 4194305 characters/]);
});

t.test("a wildcard without quotes is told where it stands, beside all else", async (t) => {
  t.same(
    inRule("dns: { efect: alert, allowed: [a.example, *.b.example], denied: [", "  *.c.example, a..b] }"),
    [
      "4:12: rules[0].dns.efect: the key `efect` is not known (did you mean `effect`?); allowed: effect, allowed, denied, deniedEffect, intelligence, suspicious, force",
      '4:47: rules[0].dns.allowed[1]: `*.b.example` without quotes is a YAML alias, and nothing has that name; write it in quotes: "*.b.example"',
      '5:7: rules[0].dns.denied[0]: `*.c.example` without quotes is a YAML alias, and nothing has that name; write it in quotes: "*.c.example"',
      "5:20: rules[0].dns.denied[1]: `a..b` is no domain name; labels of 1 to 63 bytes, 255 in all, are allowed (`example.com`, `*.example.com`, `.example.com`)",
    ],
  );
  t.match(inRule("dns: { denied: [*, a..b] }"), [
    /denied\[0\]: `\*` without quotes/,
    /denied\[1\]: `a\.\.b`/,
  ]);
  t.match(inRule("scope:", "  images:", "    - *nginx", "dns: {}"), [
    /^6:11: rules\[0\]\.scope\.images\[0\]: `\*nginx` without quotes/,
  ]);
});

t.test("a key that has to be there is not advised to be left out", async (t) => {
  t.same(problems("version: 1\nrules:\n"), ["2:7: rules: is empty; a list is needed"]);
  t.same(inRule("dns: { denied: [a.example, null] }"), [
    "4:32: rules[0].dns.denied[1]: is empty; text is needed",
  ]);
});

t.test("aliases may be used, and their expansion is bounded", async (t) => {
  const text = `version: 1
rules:
  - { name: a, dns: { denied: &list [a.example, b.example] } }
  - { name: b, scope: { hosts: [x] }, dns: { denied: *list, allowed: [.a.example] } }
`;
  t.same(parsePolicy(text, "p").policy.rules[1]?.dns?.denied, ["a.example", "b.example"]);
  const bad = text.replace("b.example", "b..example");
  t.match(
    problems(bad),
    [/^3:49: rules\[0\].dns.denied\[1\]/, /^3:49: rules\[1\].dns.denied\[1\]/],
    "told where it is written",
  );
  const levels = Array.from({ length: 12 }, (_, level) => {
    const inner = level === 0 ? "x" : `*l${level - 1}`;
    return `l${level}: &l${level} [${new Array<string>(10).fill(inner).join(", ")}]`;
  });
  t.match(problems(`version: 1\nrules: []\n${levels.join("\n")}\n`), [/excessive alias count/]);
});

t.test("keys that objects have anyway are no keys", async (t) => {
  t.match(inRule("constructor: 1"), [/^4:5: rules\[0\].constructor: the key `constructor` is not known/]);
  t.match(inRule("scope: { labels: { __proto__: a } }"), [/^4:24: `__proto__` is no key/]);
  t.match(inRule("__proto__: { dns: {} }"), [/`__proto__` is no key/, /rules\[0\].__proto__/]);
  const { policy } = parsePolicy(ruleText(["scope: { labels: { toString: x } }"]), "p");
  t.same(Object.keys(policy.rules[0]?.scope?.labels ?? {}), ["toString"]);
});

t.test("rule names are unique, whatever their case", async (t) => {
  const text = "version: 1\nrules:\n  - { name: Web }\n  - { name: ' web' }\n";
  t.same(problems(text), ["4:13: rules[1].name: rules[0] has the name `web` too; each rule needs its own"]);
});

t.test("one pattern in both lists is refused, however it is spelled", async (t) => {
  t.match(inRule("dns: { allowed: [bücher.example], denied: [XN--BCHER-KVA.example.] }"), [
    /^4:22: rules\[0\].dns.allowed\[0\]: `bücher.example` is in `denied` too \(`XN--BCHER-KVA.example.`\)/,
  ]);
  t.match(inRule("network: { outboundAddresses: { allowed: ['10.0.0.1/8'], denied: [10.0.0.0/8] } }"), [
    /is in `denied` too/,
  ]);
  t.match(
    inRule("network: { outboundAddresses: { allowed: ['2001:DB8::/32'], denied: ['2001:db8:0::/32'] } }"),
    [/is in `denied` too/],
  );
  t.match(inRule("network: { outboundPorts: { allowed: ['80-80'], denied: [80] } }"), [/is in `denied` too/]);
  t.match(inRule("network: { listeningPorts: { allowed: [80], denied: ['80'] } }"), [/is in `denied` too/]);
});

t.test("what merely overlaps is accepted and told", async (t) => {
  const catchAll = (lines: readonly string[]) => lines;
  const cases: readonly [string, readonly RegExp[]][] = [
    [
      "dns: { allowed: [a.b.example], denied: ['*.b.example'] }",
      [/^warning 4:22 .*`a.b.example` is never allowed: `denied` holds `\*.b.example`, and deny wins/],
    ],
    [
      "dns: { allowed: ['*.b.example'], denied: [a.b.example] }",
      [/^info 4:47 .*is denied although `allowed` holds `\*.b.example`: deny wins/],
    ],
    [
      "dns: { denied: ['*.b.example', x.a.b.example] }",
      [/^info 4:36 .*is covered by `\*.b.example` of the same list/],
    ],
    ["dns: { denied: [b.example, B.example] }", [/^info 4:32 .*stands in this list twice/]],
    ["dns: { allowed: [b.example], denied: ['*.b.example'] }", []],
    [
      "network: { outboundAddresses: { allowed: [10.1.0.0/16], denied: [10.0.0.0/8] } }",
      [/^warning 4:47 .*never allowed/],
    ],
    [
      "network: { outboundAddresses: { allowed: [10.0.0.0/8], denied: [10.1.0.0/16] } }",
      [/^info .*denied although/],
    ],
    [
      "network: { outboundAddresses: { allowed: [0.0.0.0/0] } }",
      [/^warning .*allows every address of its family/],
    ],
    [
      "network: { outboundAddresses: { denied: [10.1.2.3/8] } }",
      [/^warning 4:46 .*has host bits set; it is read as `10.0.0.0\/8`/],
    ],
    [
      'network: { outboundPorts: { allowed: ["80-100"], denied: ["90-110"] } }',
      [/^warning .*overlaps `90-110` in `denied`: deny wins where they meet/],
    ],
    [
      'network: { outboundPorts: { allowed: ["80-100"], denied: [90] } }',
      [/^info .*`90` is denied although/],
    ],
    ['network: { outboundPorts: { allowed: ["80-90"], denied: ["91-100"] } }', []],
  ];
  for (const [section, expected] of cases) {
    const lines = catchAll(notices(section));
    t.equal(lines.length, expected.length, `${section}: ${lines.join("; ")}`);
    expected.forEach((line, index) => {
      t.match(lines[index], line);
    });
  }
});

t.test("public suffixes in an allowed list are refused unless forced", async (t) => {
  for (const entry of [
    "*.com",
    ".com",
    "*.co.uk",
    "*.github.io",
    "*.s3.amazonaws.com",
    "*.xn--p1ai",
    "*.рф",
    "*.compute.amazonaws.com",
    "*",
  ]) {
    t.match(
      inRule(`dns: { allowed: ["${entry}"] }`),
      [/^4:22: rules\[0\].dns.allowed\[0\]: .* allows every name .*set `force: true` in this dns section/],
      entry,
    );
    t.match(
      notices(`dns: { force: true, allowed: ["${entry}"] }`),
      [/^warning .*accepted, since `force` is set/],
      entry,
    );
    t.same(inRule(`dns: { denied: ["${entry}"] }`), [], `${entry} may be denied`);
  }
  for (const entry of [
    "com",
    "*.example.com",
    "*.internal",
    ".local",
    "*.svc.cluster.local",
    "github.io",
    "*.me.github.io",
  ]) {
    t.same(inRule(`dns: { allowed: ["${entry}"] }`), [], entry);
  }
});

t.test("rules that are never reached, and parts that do nothing", async (t) => {
  const text = `version: 1
rules:
  - { name: a, scope: { images: [x] }, dns: {} }
  - { name: b, scope: { images: [X] }, dns: {} }
  - { name: all, scope: { containers: ["*"] }, dns: {} }
  - { name: late, scope: { images: [y] }, dns: {} }
`;
  t.same(parsePolicy(text, "p").notices.map(told), [
    "warning 4:5 rules[1] is never reached: the rule `a` above it has the same scope",
    "warning 6:5 rules[3] is never reached: the rule `all` above it matches every container",
  ]);
  t.match(notices("scope: { images: [x] }", "dns: {}"), [/^info 2:1 rules no rule matches every container/]);
  t.match(notices("scope: {}"), [/^warning 3:5 rules\[0\] has neither `dns` nor `network`/]);
  t.match(notices("dns: { deniedEffect: block }"), [/does nothing without a `denied` list/]);
  t.match(notices("dns: { deniedEffect: disable, denied: [a.example] }"), [
    /the `denied` list is not judged/,
  ]);
  t.match(notices("dns: { effect: disable, denied: [a.example] }"), [
    /is not judged, since the section's effect is `disable`/,
  ]);
  t.match(notices("dns: { effect: disable, allowed: [a.example] }"), [
    /does nothing, since the section's effect is `disable`/,
  ]);
  t.same(notices("dns: { effect: disable, allowed: [a.example], intelligence: alert }"), []);
  t.match(notices("network: { effect: disable, outboundPorts: { denied: [25] } }"), [/is not judged/]);
});

t.test("any text is a policy or refused, in bounded time", async () => {
  const words = [
    "version: 1",
    "rules:",
    "- name: a",
    "dns:",
    "allowed: ",
    "[",
    "]",
    "{",
    "}",
    "*.com",
    "&a ",
    "*a",
    "\n",
    "  ",
    "'",
    '"',
    "#",
    "|",
    "!!x ",
    "? ",
    "<<: ",
    "\t",
    "__proto__: ",
    "null",
    "0x1F",
    ": ",
    "\u0000",
    "ü",
  ];
  const mutated = fc
    .tuple(fc.nat(COMPLETE.length), fc.nat(40), fc.constantFrom(...words))
    .map(([at, cut, word]) => {
      return COMPLETE.slice(0, at) + word + COMPLETE.slice(at + cut);
    });
  const random = fc.array(fc.constantFrom(...words), { maxLength: 30 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(mutated, random, fc.string({ unit: "binary" })), (text) => {
      problems(text);
      return true;
    }),
    { numRuns: 1500 },
  );
});

t.test("whether rules can stop a container", async (t) => {
  const of = (rule: string): boolean =>
    mayBlock(parsePolicy(`version: 1\nrules: [{ name: a, ${rule} }]`, "f").policy);
  t.notOk(of("dns: { effect: prevent, allowed: [block.example] }, network: { effect: alert }"));
  for (const rule of [
    "dns: { effect: block }",
    "dns: { deniedEffect: block, denied: [evil.example] }",
    "dns: { suspicious: block }",
    "network: { rawSockets: block }",
    "network: { outboundAddresses: { denied: [203.0.113.0/24], deniedEffect: block } }",
    "network: { listeningPorts: { denied: [22], deniedEffect: block } }",
  ]) {
    t.ok(of(rule), rule);
  }
});
