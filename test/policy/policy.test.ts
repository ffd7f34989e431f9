import t, { type Test } from "tap";
import { DEFAULT_POLICY, parsePolicy } from "../../src/policy/parse.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type { Decision, FeedIndex, ModelView, Policy, Reason } from "../../src/policy/types.ts";
import {
  answer,
  CONTAINER,
  connection,
  type FeedEntry,
  feedsOf,
  modelOf,
  policyOf,
  query,
} from "./fixtures.ts";

const FEEDS: readonly FeedEntry[] = [
  { feed: "urlhaus", entry: "evil.example" },
  { feed: "urlhaus", entry: "worst.example" },
  { feed: "strict", entry: "worst.example", effect: "block" },
  { feed: "mild", entry: "meh.example", effect: "alert" },
  { feed: "ipsum", entry: "203.0.113.66" },
  { feed: "ipsum", entry: "2001:db8:bad::/48" },
];

/** `effect attackType`, or `clean`, with ` learn`, and the kinds of the reasons in order. */
function outcome({ effect, attackType, verdict, learn, reasons }: Decision): string {
  const drop = effect === "prevent" || effect === "block";
  if (verdict !== (drop ? "drop" : "allow")) throw new Error(`verdict ${verdict} under ${effect}`);
  if ((effect === null) !== (attackType === null)) throw new Error("effect and attack type belong together");
  const kinds = reasons.map(({ kind }) => kind).join(",");
  return `${effect === null ? "clean" : `${effect} ${attackType}`}${learn ? " learn" : ""} [${kinds}]`;
}

interface Row {
  readonly rule: string;
  readonly model?: ModelView | null;
  readonly subject: string;
  readonly expect: string;
}

const LEARNING = modelOf("learning");
const ACTIVE = modelOf("active", ["known.example", "*.cdn.example"], ["443/6"]);

// ------------------------------------------------------------------------------------------------ lookups

t.test("a query: denied, then allowed, then feeds, then the model", async (t) => {
  const all =
    "dns: { effect: prevent, allowed: [ok.example, evil.example], denied: [no.example, '*.evil.example'] }";
  const rows: readonly Row[] = [
    // Each voice alone.
    { rule: all, subject: "free.example", expect: "clean []" },
    { rule: all, subject: "no.example", expect: "prevent explicitlyDeniedDNS [denied]" },
    { rule: all, subject: "ok.example", expect: "clean [allowed]" },
    { rule: all, subject: "meh.example", expect: "alert feedDNS [feed]" },
    { rule: all, subject: "x.example", model: ACTIVE, expect: "prevent unexpectedDNS [model]" },
    { rule: all, subject: "known.example", model: ACTIVE, expect: "clean [model]" },
    { rule: all, subject: "a.cdn.example", model: ACTIVE, expect: "clean [model]" },
    { rule: all, subject: "x.example", model: LEARNING, expect: "clean learn []" },
    { rule: all, subject: "x.example", model: null, expect: "clean []" },
    { rule: all, subject: "x.example", model: modelOf("manual"), expect: "prevent unexpectedDNS [model]" },
    // Two and more.
    { rule: all, subject: "evil.example", expect: "clean [allowed,feed]" },
    { rule: all, subject: "a.evil.example", expect: "prevent explicitlyDeniedDNS [denied,feed]" },
    {
      rule: all,
      subject: "a.evil.example",
      model: ACTIVE,
      expect: "prevent explicitlyDeniedDNS [denied,feed,model]",
    },
    { rule: all, subject: "evil.example", model: ACTIVE, expect: "clean [allowed,feed,model]" },
    { rule: all, subject: "ok.example", model: ACTIVE, expect: "clean [allowed,model]" },
    { rule: all, subject: "ok.example", model: LEARNING, expect: "clean learn [allowed]" },
    { rule: all, subject: "meh.example", model: ACTIVE, expect: "alert feedDNS [feed,model]" },
    // Never learned: what a deny list or a feed names, allowed or not.
    { rule: all, subject: "no.example", model: LEARNING, expect: "prevent explicitlyDeniedDNS [denied]" },
    { rule: all, subject: "evil.example", model: LEARNING, expect: "clean [allowed,feed]" },
    { rule: all, subject: "meh.example", model: LEARNING, expect: "alert feedDNS [feed]" },
    // Both lists match: deny wins, whichever is narrower.
    {
      rule: "dns: { effect: prevent, allowed: ['a.b.example'], denied: ['*.b.example'] }",
      subject: "a.b.example",
      expect: "prevent explicitlyDeniedDNS [denied,allowed]",
    },
    {
      rule: "dns: { effect: prevent, allowed: ['*.b.example'], denied: ['a.b.example'] }",
      subject: "a.b.example",
      expect: "prevent explicitlyDeniedDNS [denied,allowed]",
    },
  ];
  check(t, rows, (policy, row) => {
    return policy.decide(query(policy.profileFor(CONTAINER, row.model ?? null), row.subject));
  });
});

t.test("a query: effects and their overrides", async (t) => {
  const rows: readonly Row[] = [
    { rule: "dns: {}", subject: "evil.example", expect: "alert feedDNS [feed]" },
    { rule: "network: {}", subject: "evil.example", model: LEARNING, expect: "clean []" },
    {
      rule: "dns: { effect: disable, denied: [a.example] }",
      subject: "a.example",
      model: LEARNING,
      expect: "clean []",
    },
    { rule: "dns: { effect: disable }", subject: "x.example", model: ACTIVE, expect: "clean []" },
    {
      rule: "dns: { effect: disable, denied: [a.example], deniedEffect: block }",
      subject: "a.example",
      expect: "block explicitlyDeniedDNS [denied]",
    },
    {
      rule: "dns: { effect: disable, denied: [a.example], deniedEffect: block }",
      subject: "x.example",
      model: ACTIVE,
      expect: "clean []",
    },
    {
      rule: "dns: { effect: disable, denied: [a.example], deniedEffect: block }",
      subject: "x.example",
      model: LEARNING,
      expect: "clean []",
    },
    {
      rule: "dns: { effect: disable, intelligence: prevent }",
      subject: "evil.example",
      expect: "prevent feedDNS [feed]",
    },
    {
      rule: "dns: { effect: prevent, denied: [a.example], deniedEffect: disable }",
      subject: "a.example",
      expect: "clean []",
    },
    {
      rule: "dns: { effect: alert, denied: [a.example], deniedEffect: prevent }",
      subject: "a.example",
      expect: "prevent explicitlyDeniedDNS [denied]",
    },
    { rule: "dns: { effect: prevent, intelligence: disable }", subject: "evil.example", expect: "clean []" },
    { rule: "dns: { effect: prevent, intelligence: disable }", subject: "worst.example", expect: "clean []" },
    {
      rule: "dns: { effect: block, intelligence: prevent }",
      subject: "evil.example",
      expect: "prevent feedDNS [feed]",
    },
    // The feed's own effect goes before the rule's; of several hits the most severe decides.
    { rule: "dns: { effect: block }", subject: "meh.example", expect: "alert feedDNS [feed]" },
    { rule: "dns: { effect: alert }", subject: "worst.example", expect: "block feedDNS [feed,feed]" },
    {
      rule: "dns: { effect: block }",
      subject: "x.example",
      model: ACTIVE,
      expect: "block unexpectedDNS [model]",
    },
    {
      rule: "dns: { effect: alert }",
      subject: "x.example",
      model: ACTIVE,
      expect: "alert unexpectedDNS [model]",
    },
  ];
  check(t, rows, (policy, row) => {
    return policy.decide(query(policy.profileFor(CONTAINER, row.model ?? null), row.subject));
  });
});

interface AnswerRow extends Row {
  readonly leadsTo: readonly string[];
  readonly rcode?: number;
  readonly type?: number;
}

t.test("an answer: every hop and every address", async (t) => {
  const rule =
    "dns: { effect: prevent, allowed: [ok.example, okhop.example, '*.evil.example'], denied: ['.no.example'] }";
  const network = `${rule}\nnetwork: { effect: block, outboundAddresses: { allowed: [203.0.113.66], denied: [198.51.100.0/24] } }`;
  const alert = "dns: { effect: alert, denied: ['.no.example'] }";
  const A = ["192.0.2.1"];
  const rows: readonly AnswerRow[] = [
    { rule, subject: "x.example", leadsTo: A, expect: "clean []" },
    { rule, subject: "x.example", leadsTo: ["h.example", ...A], expect: "clean []" },
    {
      rule,
      subject: "x.example",
      leadsTo: ["h.example", "a.no.example", ...A],
      expect: "prevent explicitlyDeniedDNS [denied]",
    },
    { rule, subject: "x.example", leadsTo: ["evil.example", ...A], expect: "prevent feedDNS [feed]" },
    { rule, subject: "x.example", leadsTo: ["203.0.113.66"], expect: "prevent feedIP [feed]" },
    { rule, subject: "x.example", leadsTo: ["2001:db8:bad::1"], expect: "prevent feedIP [feed]" },
    // A deny on a hop wins over an allow of the question; a feed does not.
    {
      rule,
      subject: "ok.example",
      leadsTo: ["no.example"],
      expect: "prevent explicitlyDeniedDNS [denied,allowed]",
    },
    { rule, subject: "ok.example", leadsTo: ["evil.example", ...A], expect: "clean [allowed,feed]" },
    { rule, subject: "ok.example", leadsTo: ["203.0.113.66"], expect: "clean [allowed,feed]" },
    { rule, subject: "ok.example", leadsTo: A, expect: "clean [allowed]" },
    // An allowed hop speaks for itself alone.
    { rule, subject: "x.example", leadsTo: ["a.evil.example", ...A], expect: "clean [allowed,feed]" },
    {
      rule,
      subject: "x.example",
      leadsTo: ["okhop.example", "evil.example"],
      expect: "prevent feedDNS [feed]",
    },
    // The network section: an allowed address silences feeds, a denied one is left to the connection.
    { rule: network, subject: "x.example", leadsTo: ["203.0.113.66"], expect: "clean [allowed,feed]" },
    { rule: network, subject: "x.example", leadsTo: ["198.51.100.1"], expect: "clean []" },
    // The most severe effect decides, all reasons are kept, the deciding one first.
    {
      rule,
      subject: "x.example",
      leadsTo: ["meh.example", "no.example", "203.0.113.66"],
      expect: "prevent explicitlyDeniedDNS [denied,feed,feed]",
    },
    {
      rule,
      subject: "x.example",
      leadsTo: ["no.example", "worst.example"],
      expect: "block feedDNS [feed,feed,denied]",
    },
    // The question's own findings were told at the query; they come back only if they would drop.
    { rule: alert, subject: "a.no.example", leadsTo: A, expect: "clean [denied]" },
    { rule: alert, subject: "evil.example", leadsTo: A, expect: "clean [feed]" },
    { rule, subject: "a.no.example", leadsTo: A, expect: "prevent explicitlyDeniedDNS [denied]" },
    { rule, subject: "evil.example", leadsTo: A, expect: "prevent feedDNS [feed]" },
    { rule, subject: "x.example", leadsTo: A, model: ACTIVE, expect: "clean []" },
    // Learning: only what was answered and is clean.
    { rule, subject: "x.example", leadsTo: A, model: LEARNING, expect: "clean learn []" },
    { rule, subject: "x.example", leadsTo: ["h.example"], model: LEARNING, expect: "clean learn []" },
    { rule, subject: "ok.example", leadsTo: A, model: LEARNING, expect: "clean learn [allowed]" },
    { rule, subject: "x.example", leadsTo: [], model: LEARNING, expect: "clean []" },
    { rule, subject: "x.example", leadsTo: ["h.example"], rcode: 3, model: LEARNING, expect: "clean []" },
    { rule, subject: "x.example", leadsTo: [], rcode: 2, model: LEARNING, expect: "clean []" },
    { rule, subject: "x.example", leadsTo: [], type: 16, model: LEARNING, expect: "clean learn []" },
    { rule, subject: "x.example", leadsTo: [], type: 16, rcode: 3, model: LEARNING, expect: "clean []" },
    {
      rule,
      subject: "ok.example",
      leadsTo: ["evil.example"],
      model: LEARNING,
      expect: "clean [allowed,feed]",
    },
    { rule: alert, subject: "a.no.example", leadsTo: A, model: LEARNING, expect: "clean [denied]" },
    {
      rule: "dns: { effect: disable, intelligence: prevent }",
      subject: "x.example",
      leadsTo: A,
      model: LEARNING,
      expect: "clean []",
    },
    {
      rule: "dns: { effect: disable }",
      subject: "evil.example",
      leadsTo: ["203.0.113.66"],
      expect: "clean []",
    },
    {
      rule: "dns: { effect: prevent, intelligence: disable }",
      subject: "x.example",
      leadsTo: ["evil.example", "203.0.113.66"],
      expect: "clean []",
    },
  ];
  check(t, rows, (policy, row) => {
    const profile = policy.profileFor(CONTAINER, row.model ?? null);
    return policy.decide(answer(profile, row.subject, row.leadsTo, row.rcode ?? 0, row.type ?? 1));
  });
});

t.test("reasons of hops and addresses say what they are about", async (t) => {
  const policy = policyOf("dns: { effect: prevent, denied: ['.no.example'] }", FEEDS);
  const profile = policy.profileFor(CONTAINER, null);
  t.same(policy.decide(answer(profile, "x.example", ["a.no.example", "203.0.113.66"])).reasons, [
    { kind: "denied", list: "dns.denied", entry: ".no.example", match: "suffix", subject: "a.no.example" },
    { kind: "feed", feed: "ipsum", entry: "203.0.113.66", match: "address", subject: "203.0.113.66" },
  ]);
  const hits = policy.decide(query(profile, "worst.example")).reasons.map(({ feed }) => feed);
  t.same(hits, ["strict", "urlhaus"], "the most severe feed first");
  t.same(policy.decide(query(profile, "no.example")).reasons, [
    { kind: "denied", list: "dns.denied", entry: ".no.example", match: "suffix" },
  ]);
});

// ------------------------------------------------------------------------------------------------ connections

interface ConnectionRow extends Row {
  readonly internet?: boolean;
  readonly names?: readonly string[];
}

t.test("a connection: its address and its port", async (t) => {
  const rule = `network:
  effect: alert
  outboundAddresses: { allowed: [192.0.2.0/24, 203.0.113.66], denied: [198.51.100.0/24, 192.0.2.9], deniedEffect: prevent }
  outboundPorts: { allowed: [443, "8000-8100"], denied: [25, 8080], deniedEffect: block }`;
  const plain = "network: { effect: prevent }";
  const unresolved =
    "network: { effect: alert, unresolved: prevent, outboundAddresses: { allowed: [192.0.2.0/24] } }";
  const lan = { internet: false };
  const rows: readonly ConnectionRow[] = [
    // The address.
    { rule, subject: "203.0.113.1:80/6", expect: "clean []" },
    { rule, subject: "198.51.100.1:80/6", expect: "prevent explicitlyDeniedIP [denied]" },
    { rule, subject: "192.0.2.1:80/6", expect: "clean [allowed]" },
    { rule, subject: "192.0.2.9:80/6", expect: "prevent explicitlyDeniedIP [denied,allowed]" },
    { rule, subject: "203.0.113.66:80/6", expect: "clean [allowed,feed]" },
    { rule: plain, subject: "203.0.113.66:80/6", expect: "prevent feedIP [feed]" },
    { rule: plain, subject: "2001:db8:bad::1:80/6", expect: "prevent feedIP [feed]" },
    { rule: plain, subject: "203.0.113.66:8/1", expect: "prevent feedIP [feed]" },
    { rule: plain, subject: "203.0.113.66:80/6", ...lan, expect: "prevent feedIP [feed]" },
    {
      rule: "network: { effect: prevent, intelligence: disable }",
      subject: "203.0.113.66:80/6",
      expect: "clean []",
    },
    {
      rule: "network: { effect: disable, intelligence: block }",
      subject: "203.0.113.66:80/6",
      expect: "block feedIP [feed]",
    },
    // The port, of Internet destinations, TCP, UDP and SCTP.
    { rule, subject: "203.0.113.1:25/6", expect: "block explicitlyDeniedOutboundPort [denied]" },
    { rule, subject: "203.0.113.1:25/17", expect: "block explicitlyDeniedOutboundPort [denied]" },
    { rule, subject: "203.0.113.1:25/132", expect: "block explicitlyDeniedOutboundPort [denied]" },
    { rule, subject: "203.0.113.1:25/1", expect: "clean []" },
    { rule, subject: "10.0.0.1:25/6", ...lan, expect: "clean []" },
    { rule, subject: "203.0.113.1:8080/6", expect: "block explicitlyDeniedOutboundPort [denied,allowed]" },
    { rule, subject: "203.0.113.1:443/6", expect: "clean [allowed]" },
    { rule, subject: "203.0.113.1:443/6", model: modelOf("active"), expect: "clean [allowed,model]" },
    { rule, subject: "203.0.113.1:22/6", model: ACTIVE, expect: "alert unexpectedOutboundPort [model]" },
    { rule: plain, subject: "203.0.113.1:443/6", model: ACTIVE, expect: "clean [model]" },
    {
      rule: plain,
      subject: "203.0.113.1:443/17",
      model: ACTIVE,
      expect: "prevent unexpectedOutboundPort [model]",
    },
    { rule: plain, subject: "203.0.113.1:8/1", model: ACTIVE, expect: "clean []" },
    { rule: plain, subject: "10.0.0.1:22/6", model: ACTIVE, ...lan, expect: "clean []" },
    {
      rule: "network: { effect: disable, intelligence: alert }",
      subject: "203.0.113.1:22/6",
      model: ACTIVE,
      expect: "clean []",
    },
    // One about the other: an allowed address silences the model, not a denied port; an allowed port silences no feed.
    { rule, subject: "192.0.2.1:22/6", model: ACTIVE, expect: "clean [allowed,model]" },
    { rule, subject: "192.0.2.1:25/6", expect: "block explicitlyDeniedOutboundPort [denied,allowed]" },
    {
      rule: "network: { effect: prevent, outboundPorts: { allowed: [443] } }",
      subject: "203.0.113.66:443/6",
      expect: "prevent feedIP [feed,allowed]",
    },
    // Several findings: the most severe decides, all reasons are kept.
    { rule, subject: "198.51.100.1:25/6", expect: "block explicitlyDeniedOutboundPort [denied,denied]" },
    {
      rule: "network: { effect: prevent, outboundAddresses: { denied: [203.0.113.66] }, outboundPorts: { denied: [25] } }",
      subject: "203.0.113.66:25/6",
      expect: "prevent explicitlyDeniedIP [denied,feed,denied]",
    },
    {
      rule: "network: { effect: prevent, outboundPorts: { denied: [25] } }",
      subject: "203.0.113.66:25/6",
      expect: "prevent explicitlyDeniedOutboundPort [denied,feed]",
    },
    { rule: plain, subject: "203.0.113.66:22/6", model: ACTIVE, expect: "prevent feedIP [feed,model]" },
    // Destinations the container never resolved.
    { rule: plain, subject: "203.0.113.1:80/6", names: [], expect: "clean []" },
    {
      rule: unresolved,
      subject: "203.0.113.1:80/6",
      names: [],
      expect: "prevent unresolvedDestination [detection]",
    },
    { rule: unresolved, subject: "203.0.113.1:80/6", expect: "clean []" },
    { rule: unresolved, subject: "10.0.0.1:80/6", names: [], ...lan, expect: "clean []" },
    { rule: unresolved, subject: "192.0.2.1:80/6", names: [], expect: "clean [allowed]" },
    {
      rule: unresolved,
      subject: "203.0.113.1:8/1",
      names: [],
      expect: "prevent unresolvedDestination [detection]",
    },
    {
      rule: "network: { effect: prevent, unresolved: prevent }",
      subject: "203.0.113.66:22/6",
      names: [],
      model: ACTIVE,
      expect: "prevent feedIP [feed,model,detection]",
    },
    {
      rule: "network: { effect: disable, unresolved: alert }",
      subject: "203.0.113.1:22/6",
      names: [],
      model: LEARNING,
      expect: "alert unresolvedDestination [detection]",
    },
    // Learning.
    { rule, subject: "203.0.113.1:22/6", model: LEARNING, expect: "clean learn []" },
    { rule, subject: "192.0.2.1:22/6", model: LEARNING, expect: "clean learn [allowed]" },
    { rule, subject: "203.0.113.66:22/6", model: LEARNING, expect: "clean [allowed,feed]" },
    {
      rule,
      subject: "203.0.113.1:25/6",
      model: LEARNING,
      expect: "block explicitlyDeniedOutboundPort [denied]",
    },
    { rule, subject: "10.0.0.1:22/6", model: LEARNING, ...lan, expect: "clean []" },
    {
      rule: unresolved,
      subject: "203.0.113.1:22/6",
      names: [],
      model: LEARNING,
      expect: "prevent unresolvedDestination [detection]",
    },
    // Sections and lists that do not speak.
    {
      rule: "dns: { effect: prevent }",
      subject: "203.0.113.66:25/6",
      names: [],
      model: LEARNING,
      expect: "clean []",
    },
    {
      rule: "network: { effect: disable }",
      subject: "203.0.113.66:25/6",
      model: LEARNING,
      expect: "clean []",
    },
    {
      rule: "network: { effect: disable, outboundPorts: { denied: [25], deniedEffect: prevent } }",
      subject: "203.0.113.66:25/6",
      expect: "prevent explicitlyDeniedOutboundPort [denied]",
    },
    {
      rule: "network: { effect: prevent, outboundAddresses: { denied: [203.0.113.1], deniedEffect: disable } }",
      subject: "203.0.113.1:25/6",
      expect: "clean []",
    },
  ];
  check(t, rows, (policy, row) => {
    const profile = policy.profileFor(CONTAINER, row.model ?? null);
    const { internet = true, names = ["x.example"] } = row;
    return policy.decide(connection(profile, row.subject, { internet, names }));
  });
});

// ------------------------------------------------------------------------------------------------ profiles and sharing

t.test("the first rule whose scope matches governs, alone", async (t) => {
  const text = `version: 1
rules:
  - { name: web, scope: { containers: ["web-*"] }, dns: { effect: prevent } }
  - { name: all web images, scope: { images: [nginx], hosts: [h1] }, dns: { effect: alert }, network: { effect: prevent } }
  - { name: elsewhere, scope: { hosts: [h2] }, dns: { effect: block } }
`;
  const { policy: file } = parsePolicy(text, "policy.yaml");
  const policy = compilePolicy(file, feedsOf(FEEDS), { revision: 3, host: "h1" });
  const web = policy.profileFor({ ...CONTAINER, name: "web-1" }, null);
  t.match(web, { rule: "web", dnsEffect: "prevent", networkEffect: "disable" }, "rules do not merge");
  t.match(policy.profileFor(CONTAINER, null), { rule: "all web images", networkEffect: "prevent" });
  const none = policy.profileFor({ ...CONTAINER, image: "docker.io/library/redis:7" }, LEARNING);
  t.match(none, { rule: null, dnsEffect: "disable", networkEffect: "disable" });
  for (const event of [
    query(none, "evil.example"),
    answer(none, "x.example", ["203.0.113.66"]),
    connection(none, "203.0.113.66:25/6"),
  ]) {
    const decision = policy.decide(event);
    t.equal(outcome(decision), "clean []");
    t.match(decision, { rule: null, revision: 3 });
  }
  const elsewhere = compilePolicy(file, feedsOf(FEEDS), { revision: 3, host: "H2" });
  t.equal(elsewhere.profileFor(CONTAINER, null).rule, "elsewhere");
});

t.test("containers with one rule and one model share a profile", async (t) => {
  const policy = policyOf("dns: {}");
  const a = policy.profileFor(CONTAINER, LEARNING);
  t.equal(policy.profileFor({ ...CONTAINER, name: "other" }, LEARNING), a);
  const b = policy.profileFor(CONTAINER, ACTIVE);
  const c = policy.profileFor(CONTAINER, null);
  t.same(new Set([a.index, b.index, c.index]), new Set([0, 1, 2]), "indexes are dense");
  t.equal(policy.profileFor(CONTAINER, null), c);
});

t.test("where nothing is found the decision is shared and frozen", async (t) => {
  const rule =
    "dns: { allowed: [ok.example] }\nnetwork: { outboundAddresses: { allowed: [192.0.2.0/24] }, outboundPorts: { allowed: [443] } }";
  const policy = policyOf(rule, FEEDS);
  for (const model of [null, LEARNING, ACTIVE]) {
    const profile = policy.profileFor(CONTAINER, model);
    const events = [
      () => query(profile, "known.example"),
      () => query(profile, "ok.example"),
      () => answer(profile, "known.example", ["h.example", "192.0.2.1"]),
      () => connection(profile, "203.0.113.1:443/6"),
      () => connection(profile, "192.0.2.1:80/6"),
      () => connection(profile, "192.0.2.1:22/17"),
    ];
    for (const event of events) {
      const decision = policy.decide(event());
      t.equal(outcome(decision).startsWith("clean"), true);
      t.equal(policy.decide(event()), decision, "the same object");
      t.ok(
        Object.isFrozen(decision) &&
          Object.isFrozen(decision.reasons) &&
          decision.reasons.every(Object.isFrozen),
      );
    }
  }
});

t.test("a model that turns from learning to active is judged by what it is now", async (t) => {
  let learning = true;
  const model: ModelView = {
    ...modelOf("active"),
    get learning() {
      return learning;
    },
  };
  const policy = policyOf("dns: {}\nnetwork: {}");
  const profile = policy.profileFor(CONTAINER, model);
  t.equal(outcome(policy.decide(query(profile, "x.example"))), "clean learn []");
  t.equal(outcome(policy.decide(connection(profile, "203.0.113.1:22/6"))), "clean learn []");
  learning = false;
  t.equal(outcome(policy.decide(query(profile, "x.example"))), "alert unexpectedDNS [model]");
  t.equal(
    outcome(policy.decide(connection(profile, "203.0.113.1:22/6"))),
    "alert unexpectedOutboundPort [model]",
  );
});

t.test("more clean decisions than are kept are still right", async (t) => {
  const model = modelOf("active", ["*.cdn.example"]);
  const many: ModelView = { ...model, name: (bytes) => `n${bytes[1]}-${bytes[2]}-${bytes[3]}.example` };
  const policy = policyOf("dns: {}");
  const profile = policy.profileFor(CONTAINER, many);
  for (let count = 0; count < 20_000; count++) {
    const name = count.toString(36).padStart(3, "0");
    const [reason] = policy.decide(query(profile, `${name}.example`)).reasons;
    const [a, b, c] = Buffer.from(name);
    if (reason?.entry !== `n${a}-${b}-${c}.example`) t.fail(`${name}: ${reason?.entry}`);
  }
});

// ------------------------------------------------------------------------------------------------ errors

t.test("an error inside counts as denied, and never blocks", async (t) => {
  const broken: FeedIndex = {
    domain: () => {
      throw new Error("the index is broken");
    },
    address: () => {
      throw new Error("the index is broken");
    },
  };
  const policy = policyOf("dns: { effect: block }\nnetwork: { effect: alert }", broken);
  const profile = policy.profileFor(CONTAINER, LEARNING);
  const reasons: readonly Reason[] = [{ kind: "error", message: "the index is broken" }];
  const asDenied = { verdict: "drop", effect: "prevent", rule: "r", learn: false, revision: 7, reasons };
  t.match(policy.decide(query(profile, "x.example")), { ...asDenied, attackType: "explicitlyDeniedDNS" });
  t.match(policy.decide(answer(profile, "x.example", [])), {
    ...asDenied,
    attackType: "explicitlyDeniedDNS",
  });
  t.match(policy.decide(connection(profile, "192.0.2.1:1/6")), {
    ...asDenied,
    attackType: "explicitlyDeniedIP",
  });
  const silent = policyOf("dns: { effect: disable }", broken);
  t.equal(
    outcome(silent.decide(query(silent.profileFor(CONTAINER, null), "x.example"))),
    "clean []",
    "nothing is asked",
  );
  const foreign = {
    index: 0,
    rule: "made up",
    model: null,
    dnsEffect: "alert",
    networkEffect: "alert",
    suspicious: "alert",
    portScan: "alert",
  } as const;
  t.match(policy.decide(query(foreign, "x.example")), {
    verdict: "drop",
    rule: "made up",
    reasons: [{ kind: "error" }],
  });
});

t.test("rules that were not checked are refused when compiled", async (t) => {
  const options = { revision: 1, host: "h" };
  const compile = (rule: object) => () => {
    compilePolicy({ version: 1, rules: [{ name: "x", ...rule }] }, feedsOf([]), options);
  };
  t.throws(compile({ dns: { denied: ["a b"] } }), /character/);
  t.throws(compile({ network: { outboundAddresses: { denied: ["x"] } } }), /no address/);
  t.throws(compile({ network: { outboundPorts: { denied: ["x"] } } }), /no port/);
});

t.test("the policy without a file", async (t) => {
  const policy = compilePolicy(DEFAULT_POLICY, feedsOf(FEEDS), { revision: 1, host: "h" });
  const profile = policy.profileFor(CONTAINER, LEARNING);
  t.equal(outcome(policy.decide(query(profile, "evil.example"))), "clean []");
  t.equal(outcome(policy.decide(connection(profile, "203.0.113.66:80/6"))), "alert feedIP [feed]");
  t.equal(profile.rule, "Default - alert on suspicious runtime behavior");
});

function check<R extends Row>(
  t: Test,
  rows: readonly R[],
  decide: (policy: Policy, row: R) => Decision,
): void {
  for (const row of rows) {
    const decision = decide(policyOf(row.rule, FEEDS), row);
    t.equal(outcome(decision), row.expect, `${row.subject} under ${row.rule.replaceAll(/\s+/g, " ")}`);
    t.match(decision, { rule: "r", revision: 7 });
  }
}
