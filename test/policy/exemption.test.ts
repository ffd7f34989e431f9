import fc from "fast-check";
import t from "tap";
import { describe } from "../../src/policy/describe.ts";
import { Exemptions, parseExempt } from "../../src/policy/exemption.ts";
import type { PolicyEvent, Profile } from "../../src/policy/types.ts";
import {
  answer,
  CONTAINER,
  connection,
  listening,
  modelOf,
  policyOf,
  query,
  rawSocket,
  wireOf,
} from "./fixtures.ts";

const UNTIL = Date.UTC(2026, 10, 24, 3, 33, 39);

function exempt(...entries: readonly string[]): Exemptions {
  return new Exemptions(entries.map((entry) => ({ entry, until: UNTIL })));
}

const POLICY = policyOf(
  `dns: { effect: prevent, denied: [.denied.example], deniedEffect: block, suspicious: prevent }
network:
  effect: prevent
  outboundAddresses: { denied: [203.0.113.0/24, "2001:db8::/32"], deniedEffect: block }
  outboundPorts: { denied: [25], allowed: [443] }
  listeningPorts: { denied: [4444], deniedEffect: block }
  unresolved: prevent
  rawSockets: block`,
  [
    { feed: "f", entry: "evil.example" },
    { feed: "f", entry: "198.51.100.9" },
  ],
);
const ACTIVE = modelOf("active", ["known.example"], ["443/6"]);

t.test("a target is a name pattern or an address, in one form", async (t) => {
  const forms: readonly (readonly [text: string, entry: string])[] = [
    ["Evil.Example", "evil.example"],
    [".b\u00fccher.example", ".xn--bcher-kva.example"],
    ["*.evil.example", "*.evil.example"],
    ["203.0.113.9", "203.0.113.9"],
    ["203.0.113.9:443", "203.0.113.9:443"],
    ["203.0.113.9:53/UDP", "203.0.113.9:53/udp"],
    ["2001:DB8:0::1", "2001:db8::1"],
    ["[2001:db8::1]", "2001:db8::1"],
    ["[2001:db8::1]:443/tcp", "[2001:db8::1]:443/tcp"],
    ["::ffff:203.0.113.9", "203.0.113.9"],
  ];
  for (const [text, entry] of forms) {
    const parsed = parseExempt(text);
    t.equal(typeof parsed === "string" ? parsed : parsed.entry, entry, text);
    t.same(parseExempt(entry), parsed, `${entry} stays`);
  }
  for (const [text, message] of [
    ["203.0.113.9:0", /has no port/],
    ["203.0.113.9:65536", /has no port/],
    ["203.0.113.9:1/icmp", /protocol without ports/],
    ["203.0.113.0/24", /is a prefix/],
    ["https://evil.example/", /URL/],
    ["evil.example:443", /port/],
    ["e*il.example", /wildcard inside/],
    ["", /empty/],
  ] as const) {
    t.match(parseExempt(text), message, text);
  }
});

/** What is decided of the event with these exemptions: effect, attack type, and who spoke first. */
function outcome(entries: readonly string[], event: (profile: Profile) => PolicyEvent): string {
  const decision = POLICY.decide(event(POLICY.profileFor(CONTAINER, ACTIVE, exempt(...entries))));
  const { effect, attackType, reasons } = decision;
  return `${effect} ${attackType} ${reasons.map(({ kind }) => kind).join(",")}`;
}

t.test("an exemption goes before every list, feed and model; all that spoke stays told", async (t) => {
  const asks = (name: string) => (profile: Profile) => query(profile, name);
  const rows: readonly (readonly [string, readonly string[], (profile: Profile) => PolicyEvent, string])[] = [
    ["denied", ["a.denied.example"], asks("a.denied.example"), "null null operator,denied,model"],
    ["denied, below", [".denied.example"], asks("b.denied.example"), "null null operator,denied,model"],
    ["another", ["a.denied.example"], asks("b.denied.example"), "block explicitlyDeniedDNS denied,model"],
    ["feed", ["*.evil.example"], asks("x.evil.example"), "null null operator,feed,model"],
    ["model", ["new.example"], asks("new.example"), "null null operator,model"],
    ["nothing against it", ["known.example"], asks("known.example"), "null null operator,model"],
    [
      "all that the name leads to",
      ["www.example"],
      (profile) =>
        answer(profile, "www.example", ["a.denied.example", "evil.example", "198.51.100.9", "10.0.0.1"]),
      "null null operator,denied,feed,feed,detection",
    ],
    [
      "what lies behind a hop",
      ["mid.example"],
      (profile) => answer(profile, "www.example", ["mid.example", "evil.example", "198.51.100.9"]),
      "null null operator,feed,feed",
    ],
    [
      "and not what came before",
      ["mid.example"],
      (profile) => answer(profile, "www.example", ["a.denied.example", "mid.example", "198.51.100.9"]),
      "block explicitlyDeniedDNS denied,operator",
    ],
    [
      "an address is not held against the lookup",
      ["198.51.100.9:443"],
      (profile) => answer(profile, "www.example", ["198.51.100.9"]),
      "null null operator,feed",
    ],
    [
      "but another is",
      ["10.0.0.1"],
      (profile) => answer(profile, "www.example", ["10.0.0.1", "198.51.100.9"]),
      "prevent feedIP feed,operator",
    ],
    [
      "a connection to an address of the name, on any port",
      [".denied.example"],
      (profile) => connection(profile, "203.0.113.7:25/6", { names: ["x.example", "a.denied.example"] }),
      "null null operator,denied,denied,model",
    ],
    [
      "not to one of another name",
      [".denied.example"],
      (profile) => connection(profile, "203.0.113.7:443/6", { names: ["x.example"] }),
      "block explicitlyDeniedIP denied,allowed,model",
    ],
    [
      "an address on all ports, never resolved",
      ["203.0.113.7"],
      (profile) => connection(profile, "203.0.113.7:25/6", { names: [] }),
      "null null operator,denied,denied,model,detection",
    ],
    [
      "on its port",
      ["203.0.113.7:443/tcp"],
      (profile) => connection(profile, "203.0.113.7:443/6"),
      "null null operator,denied,allowed,model",
    ],
    [
      "not on another",
      ["203.0.113.7:443/tcp"],
      (profile) => connection(profile, "203.0.113.7:443/17"),
      "block explicitlyDeniedIP denied,allowed,model",
    ],
  ];
  for (const [title, entries, event, expected] of rows) t.equal(outcome(entries, event), expected, title);
});

t.test("it says who allowed it and until when", async (t) => {
  const event = query(POLICY.profileFor(CONTAINER, ACTIVE, exempt(".denied.example")), "a.denied.example");
  const decision = POLICY.decide(event);
  t.match(decision, { verdict: "allow", rule: "r", learn: false });
  t.same(decision.reasons[0], {
    kind: "operator",
    entry: ".denied.example",
    match: "suffix",
    message: "until 2026-11-24T03:33:39.000Z",
  });
  t.equal(
    describe(decision, event),
    "lookup of a.denied.example (A) is allowed by an operator until 2026-11-24T03:33:39.000Z (.denied.example)",
  );
});

t.test("what detectors say of the name is overruled, of the container it is not", async (t) => {
  const profile = POLICY.profileFor(CONTAINER, ACTIVE, exempt(".tunnel.example"));
  const reasons = [{ kind: "detection" as const, subject: "tunnel.example" }];
  t.match(POLICY.weigh(profile, "suspiciousDNS", wireOf("x.tunnel.example"), reasons), { effect: null });
  t.match(POLICY.weigh(profile, "suspiciousDNS", wireOf("x.other.example"), reasons), { effect: "prevent" });
  t.match(POLICY.weigh(profile, "horizontalPortScan", null, reasons), { effect: "alert" });
  t.match(POLICY.decide(listening(profile, "0.0.0.0:4444/6")), { effect: "block" });
  t.match(POLICY.decide(rawSocket(profile)), { effect: "block" });
});

t.test("what cannot be judged passes too, and says so", async (t) => {
  const broken = {
    ...ACTIVE,
    name: () => {
      throw new Error("out of order");
    },
  };
  const ask = (entries: readonly string[]) =>
    POLICY.decide(query(POLICY.profileFor(CONTAINER, broken, exempt(...entries)), "new.example"));
  t.match(ask(["other.example"]), { verdict: "drop", reasons: [{ kind: "error" }] });
  t.match(ask(["new.example"]), { verdict: "allow", reasons: [{ kind: "operator" }, { kind: "error" }] });
});

t.test("a learning model learns what nothing speaks against, and nothing else", async (t) => {
  const profile = POLICY.profileFor(CONTAINER, modelOf("learning"), exempt("*.example"));
  t.equal(POLICY.decide(query(profile, "new.example")).learn, true);
  t.equal(POLICY.decide(query(profile, "evil.example")).learn, false);
});

t.test("profiles: one for each exemptions, rule and model; none of them another's", async (t) => {
  const [one, other] = [exempt("a.example"), exempt("a.example")];
  const plain = POLICY.profileFor(CONTAINER, ACTIVE);
  const mine = POLICY.profileFor(CONTAINER, ACTIVE, one);
  t.equal(POLICY.profileFor(CONTAINER, ACTIVE, one), mine);
  t.equal(POLICY.profileFor(CONTAINER, ACTIVE, null), plain);
  const indexes = [
    plain,
    mine,
    POLICY.profileFor(CONTAINER, ACTIVE, other),
    POLICY.profileFor(CONTAINER, null, one),
  ];
  t.equal(new Set(indexes.map(({ index }) => index)).size, 4);
});

t.test("an exemption only ever lets more through", async () => {
  const names = [
    "a.denied.example",
    "denied.example",
    "evil.example",
    "x.evil.example",
    "new.example",
    "known.example",
  ];
  const places = ["198.51.100.9", "203.0.113.7", "10.0.0.1", "192.0.2.1"];
  const name = fc.constantFrom(...names);
  const place = fc.constantFrom(...places);
  const event = fc.oneof(
    name.map((one) => (profile: Profile) => query(profile, one)),
    fc.tuple(name, fc.array(fc.oneof(name, place), { maxLength: 5 })).map(
      ([one, leadsTo]) =>
        (profile: Profile) =>
          answer(profile, one, leadsTo),
    ),
    fc.tuple(place, fc.constantFrom(25, 443, 853), fc.array(name, { maxLength: 3 })).map(
      ([one, port, by]) =>
        (profile: Profile) =>
          connection(profile, `${one}:${port}/6`, { names: by }),
    ),
  );
  const entry = fc.oneof(
    name,
    name.map((one) => `.${one}`),
    place,
    place.map((one) => `${one}:443`),
  );
  fc.assert(
    fc.property(event, fc.uniqueArray(entry, { minLength: 1, maxLength: 4 }), (make, entries) => {
      const rank = ({ effect }: { effect: string | null }): number =>
        [null, "alert", "prevent", "block"].indexOf(effect);
      const plain = POLICY.decide(make(POLICY.profileFor(CONTAINER, ACTIVE)));
      const exempted = POLICY.decide(make(POLICY.profileFor(CONTAINER, ACTIVE, exempt(...entries))));
      return rank(exempted) <= rank(plain);
    }),
  );
});
