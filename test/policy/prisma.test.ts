import fc from "fast-check";
import t from "tap";
import { stringify } from "yaml";
import { TidesmanError } from "../../src/errors.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import { importPrisma, type PrismaImport } from "../../src/policy/prisma/import.ts";

/** Imports, and makes sure that what comes out is accepted as a policy. */
function imported(value: unknown): PrismaImport {
  const result = importPrisma(JSON.stringify(value), "export.json");
  parsePolicy(stringify(result.policy), "policy.yaml");
  return result;
}

const ALL = { name: "All", containers: ["*"], images: ["*"], labels: ["*"], namespaces: ["*"], hosts: ["*"] };
const port = (start: number, end = start, deny = false) => ({ start, end, deny });

t.test("a rule of today's shape", async (t) => {
  const { policy, notes } = imported({
    _id: "containerRuntime",
    learningDisabled: false,
    rules: [
      {
        name: "payments",
        collections: [{ ...ALL, name: "pay", images: ["registry.example/pay*"], clusters: ["*"] }],
        advancedProtectionEffect: "prevent",
        dns: {
          disabled: false,
          defaultEffect: "alert",
          domainList: {
            allowed: ["api.stripe.com", "*.internal.example"],
            denied: ["evil.example"],
            effect: "block",
          },
        },
        network: {
          disabled: false,
          defaultEffect: "alert",
          allowedIPs: ["10.0.0.0/8"],
          deniedIPs: ["203.0.113.0/24"],
          deniedIPsEffect: "prevent",
          listeningPorts: { allowed: [port(8080)], denied: [port(4444, 4450, true)], effect: "alert" },
          outboundPorts: { allowed: [port(443)], denied: null, effect: "disable" },
          modifiedProcEffect: "alert",
          portScanEffect: "alert",
          rawSocketsEffect: "disable",
        },
        processes: { defaultEffect: "alert" },
        wildFireAnalysis: "alert",
      },
    ],
  });
  t.strictSame(policy.rules, [
    {
      name: "payments",
      scope: { images: ["registry.example/pay*"] },
      dns: {
        effect: "alert",
        allowed: ["api.stripe.com", "*.internal.example"],
        denied: ["evil.example"],
        deniedEffect: "block",
        intelligence: "prevent",
      },
      network: {
        effect: "alert",
        outboundAddresses: { allowed: ["10.0.0.0/8"], denied: ["203.0.113.0/24"], deniedEffect: "prevent" },
        outboundPorts: { allowed: [443] },
        listeningPorts: { allowed: [8080], denied: ["4444-4450"], deniedEffect: "alert" },
        portScan: "alert",
        rawSockets: "disable",
        intelligence: "prevent",
      },
    },
  ]);
  t.match(notes, [/^processes, wildFireAnalysis: .*not watched here/]);
});

t.test("a rule of the shape before", async (t) => {
  const { policy, notes } = imported([
    {
      name: "old",
      collections: [ALL],
      advancedProtection: false,
      cloudMetadataEnforcement: true,
      dns: { effect: "prevent", whitelist: ["cdn.example.com"], blacklist: ["github.com"] },
      network: {
        effect: "alert",
        whitelistIPs: [],
        blacklistIPs: ["198.51.100.1"],
        whitelistOutboundPorts: [port(80)],
        blacklistListeningPorts: [port(23)],
        detectPortScan: false,
        skipRawSockets: true,
      },
    },
  ]);
  t.strictSame(policy.rules, [
    {
      name: "old",
      dns: {
        effect: "prevent",
        allowed: ["cdn.example.com"],
        denied: ["github.com"],
        intelligence: "disable",
      },
      network: {
        effect: "alert",
        outboundAddresses: { denied: ["198.51.100.1"] },
        outboundPorts: { allowed: [80] },
        listeningPorts: { denied: [23] },
        portScan: "disable",
        rawSockets: "disable",
        intelligence: "disable",
      },
    },
  ]);
  t.match(notes, [/metadata, deny 169\.254\.169\.254/]);
});

t.test("each collection becomes a rule; everything is no scope", async (t) => {
  const rule = (...collections: object[]) => ({ name: "r", collections, network: { effect: "alert" } });
  const scopes = (...collections: object[]) => {
    const { policy, notes } = imported([rule(...collections)]);
    return { rules: policy.rules.map(({ name, scope }) => [name, scope]), notes };
  };
  const web = { ...ALL, name: "web", containers: ["web*"] };
  t.strictSame(scopes(ALL).rules, [["r", undefined]]);
  t.strictSame(scopes({ name: "All" }).rules, [["r", undefined]]);
  t.strictSame(scopes(web, ALL).rules, [["r", undefined]], "one of them is everything");
  t.strictSame(scopes().rules, [["r", undefined]]);
  t.strictSame(scopes(web, { ...ALL, name: "db", namespaces: ["db"], hosts: ["h1", "-h2"] }).rules, [
    ["r (web)", { containers: ["web*"] }],
    ["r (db)", { namespaces: ["db"], hosts: ["h1", "-h2"] }],
  ]);
  t.strictSame(scopes({ ...web, labels: ["tier:back*", "tier:mid", "app"] }).rules, [
    ["r (web tier)", { containers: ["web*"], labels: { tier: ["back*", "mid"] } }],
    ["r (web app)", { containers: ["web*"], labels: { app: ["*"] } }],
  ]);
  const clusters = scopes({ ...web, clusters: ["eu"] });
  t.match(clusters, {
    rules: [["r", { containers: ["web*"] }]],
    notes: [/`clusters` of collection `web` \(eu\)/],
  });
  t.match(scopes({ name: "mine" }), { rules: [], notes: [/named only/, /fall to the rules behind it/] });
  t.match(scopes({ ...web, labels: ["*app*:x"] }), {
    rules: [],
    notes: [/cannot be asked for by its key/, /alone/, /left out/],
  });
});

t.test("what cannot be taken over is left out and told", async (t) => {
  const { policy, notes } = imported([
    { name: "off", disabled: true, collections: [ALL] },
    {
      name: "Same",
      collections: [ALL],
      dns: { disabled: true, defaultEffect: "alert" },
      network: { defaultEffect: "" },
    },
    {
      name: "same",
      collections: [ALL],
      dns: {
        effect: "alert",
        whitelist: ["*.com", "http://x/", "a.example", "A.example"],
        blacklist: ["a.example"],
      },
      network: {
        effect: "alert",
        whitelistIPs: ["nowhere"],
        whitelistOutboundPorts: [port(0), port(70_000)],
      },
    },
  ]);
  t.strictSame(policy.rules, [
    { name: "Same", dns: { effect: "disable" }, network: { effect: "disable" } },
    { name: "same 2", dns: { effect: "alert", denied: ["a.example"] }, network: { effect: "alert" } },
  ]);
  t.match(notes, [
    /^rule `off`: disabled there/,
    /^rule `Same`: network: has no effect/,
    /`\*\.com` allows all below `com`/,
    /`http:\/\/x\/`/,
    /allowed and denied; denied/,
    /`nowhere`/,
    /`0`/,
    /`70000`/,
  ]);
});

t.test(
  "odd exports: a byte order mark, no rules, lists without an effect beside them, ranges that contradict",
  async (t) => {
    const bom = importPrisma(`\ufeff${JSON.stringify({ _id: "containerRuntime", rules: null })}`, "x.json");
    t.strictSame(bom, { policy: { version: 1, rules: [] }, notes: [] });
    const { policy, notes } = imported([
      {
        name: "lists",
        collections: [ALL],
        dns: { domainList: { denied: ["evil.example"], effect: "prevent" } },
        network: {
          defaultEffect: "alert",
          outboundPorts: {
            allowed: [port(0, 65_535), port(25, 25, true)],
            denied: [port(23)],
            effect: "block",
          },
        },
      },
    ]);
    t.strictSame(policy.rules, [
      {
        name: "lists",
        dns: { effect: "disable", denied: ["evil.example"], deniedEffect: "prevent" },
        network: {
          effect: "alert",
          outboundPorts: { allowed: ["1-65535"], denied: [23], deniedEffect: "block" },
        },
      },
    ]);
    t.match(notes, [
      /^rule `lists`: dns: has no effect; `disable`/,
      /`25` is allowed and says `deny`; left out/,
    ]);
  },
);

t.test("what is no export is refused, with its places", async (t) => {
  const refusal = (text: string): string => {
    try {
      importPrisma(text, "x.json");
    } catch (error) {
      if (error instanceof TidesmanError && error.code === "TM_POLICY") return error.message;
      throw error;
    }
    return "";
  };
  t.match(refusal("rules:"), /^x\.json: is no JSON/);
  t.match(
    refusal('{ "_id": "hostRuntime", "rules": [{ "name": "h", "dns": { "deny": ["a.example"] } }] }'),
    /^x\.json: is the policy `hostRuntime`; the container runtime policy .* is needed$/,
  );
  t.match(refusal("{}"), /^x\.json: rules: /);
  t.match(refusal('{"rules":[{"name":"a","dns":{"effect":"ban"}}]}'), /^x\.json: rules\.0\.dns\.effect: /);
});

t.test("whatever the entries are, the outcome is accepted", async () => {
  const text = fc.oneof(
    fc.constantFrom("__proto__:a", "a:b", "a:-"),
    fc.string({ maxLength: 12 }),
    fc.constantFrom("*", "a.b", "*.a.b", ".com", "10.0.0.0/8", "::/0", "-x"),
  );
  const list = fc.array(text, { maxLength: 4 });
  const ports = fc.array(
    fc.record({ start: fc.integer({ min: -1, max: 70_000 }), end: fc.integer({ min: -1, max: 70_000 }) }),
  );
  const rule = fc.record({
    name: fc.string({ maxLength: 300 }),
    collections: fc.array(
      fc.record({ name: text, containers: list, images: list, labels: list, namespaces: list, hosts: list }),
      { maxLength: 3 },
    ),
    dns: fc.record({ effect: fc.constantFrom("", "alert", "block"), whitelist: list, blacklist: list }),
    network: fc.record({
      defaultEffect: fc.constantFrom("disable", "prevent"),
      allowedIPs: list,
      deniedIPs: list,
      outboundPorts: fc.record({ allowed: ports, denied: ports, effect: fc.constantFrom("alert", "") }),
    }),
  });
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 3 }), (rules) => {
      imported(rules);
    }),
    { numRuns: 500 },
  );
});
