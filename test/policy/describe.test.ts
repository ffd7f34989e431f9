import t from "tap";
import { describe } from "../../src/policy/describe.ts";
import type { ModelView, PolicyEvent, Profile } from "../../src/policy/types.ts";
import { answer, CONTAINER, connection, feedsOf, modelOf, policyOf, query } from "./fixtures.ts";

const RULE = `dns: { effect: prevent, allowed: [ok.example], denied: [.no.example] }
network:
  effect: prevent
  unresolved: alert
  outboundAddresses: { allowed: [192.0.2.0/24], denied: [203.0.113.0/24] }
  outboundPorts: { allowed: [443], denied: [25] }`;
const FEEDS = [
  { feed: "urlhaus", entry: "evil.example" },
  { feed: "ipsum", entry: "198.51.100.0/28" },
  { feed: "ipsum", entry: "2001:db8:bad::1" },
];

function message(
  event: (profile: Profile) => PolicyEvent,
  model: ModelView | null = null,
  rule = RULE,
): string {
  const policy = policyOf(rule, FEEDS);
  const made = event(policy.profileFor(CONTAINER, model));
  return describe(policy.decide(made), made);
}

t.test("findings in words", async (t) => {
  const active = modelOf("active", ["known.example"], ["8443/6"]);
  const cases: readonly [string, string][] = [
    [message((p) => query(p, "Evil.example")), "lookup of evil.example (A) is listed by feed urlhaus"],
    [
      message((p) => query(p, "a.evil.example", 28)),
      "lookup of a.evil.example (AAAA) is listed by feed urlhaus (evil.example)",
    ],
    [
      message((p) => query(p, "a.no.example", 16)),
      "lookup of a.no.example (TXT) is in denied names (.no.example)",
    ],
    [
      message((p) => query(p, "x.example", 65280), active),
      "lookup of x.example (TYPE65280) is not in the model of its image",
    ],
    [
      message((p) => answer(p, "x.example", ["evil.example"])),
      "lookup of x.example (A) is an alias of evil.example, which is listed by feed urlhaus",
    ],
    [
      message((p) => answer(p, "x.example", ["a.no.example"])),
      "lookup of x.example (A) is an alias of a.no.example, which is in denied names (.no.example)",
    ],
    [
      message((p) => answer(p, "x.example", ["198.51.100.3"])),
      "lookup of x.example (A) is answered with 198.51.100.3, which is listed by feed ipsum (198.51.100.0/28)",
    ],
    [message((p) => answer(p, "evil.example", [])), "lookup of evil.example (A) is listed by feed urlhaus"],
    [
      message((p) => connection(p, "203.0.113.66:443/6")),
      "connection to 203.0.113.66:443/tcp is in denied addresses (203.0.113.0/24)",
    ],
    [
      message((p) => connection(p, "198.51.100.200:25/17")),
      "connection to 198.51.100.200:25/udp uses a denied port (25)",
    ],
    [
      message((p) => connection(p, "2001:db8:bad::1:53/17")),
      "connection to [2001:db8:bad::1]:53/udp is listed by feed ipsum",
    ],
    [
      message((p) => connection(p, "198.51.100.1:8/1")),
      "connection to 198.51.100.1/icmp is listed by feed ipsum (198.51.100.0/28)",
    ],
    [
      message((p) => connection(p, "198.51.100.200:9/6"), active),
      "connection to 198.51.100.200:9/tcp uses a port that is not in the model of its image",
    ],
    [
      message((p) => connection(p, "198.51.100.200:443/132", { names: [] })),
      "connection to 198.51.100.200:443/sctp goes to an address that the container never resolved",
    ],
  ];
  for (const [said, expected] of cases) t.equal(said, expected);
});

t.test("clean decisions in words", async (t) => {
  const active = modelOf("active", ["known.example"], ["8443/6"]);
  const cases: readonly [string, string][] = [
    [
      message((p) => query(p, "ok.example")),
      "lookup of ok.example (A) is allowed by dns.allowed (ok.example)",
    ],
    [
      message((p) => query(p, "known.example"), active),
      "lookup of known.example (A) is in the model of its image (known.example)",
    ],
    [
      message((p) => query(p, "x.example"), modelOf("learning")),
      "lookup of x.example (A) is learned by the model of its image",
    ],
    [message((p) => query(p, "x.example")), "lookup of x.example (A) is allowed: nothing speaks against it"],
    [
      message((p) => query(p, "x.example"), null, "dns: { effect: disable }"),
      "lookup of x.example (A) is not judged: dns.effect is disable",
    ],
    [
      message((p) => query(p, "x.example"), null, "scope: { hosts: [other] }\ndns: {}"),
      "lookup of x.example (A) is not judged: no rule governs the container",
    ],
    [
      message((p) => answer(p, "evil.example", []), null, "dns: {}"),
      "lookup of evil.example (A) was told of when it was asked",
    ],
    [
      message((p) => connection(p, "192.0.2.1:80/6")),
      "connection to 192.0.2.1:80/tcp is allowed by network.outboundAddresses.allowed (192.0.2.0/24)",
    ],
    [
      message((p) => connection(p, "198.51.100.99:8443/6"), active),
      "connection to 198.51.100.99:8443/tcp uses a port that is in the model of its image (8443)",
    ],
    [
      message((p) => connection(p, "198.51.100.99:80/6"), null, "dns: {}"),
      "connection to 198.51.100.99:80/tcp is not judged: network.effect is disable",
    ],
    [
      message((p) => connection(p, "8.8.8.8:443/6"), null, "network: {}"),
      "connection to 8.8.8.8:443/tcp goes around the DNS proxy: 8.8.8.8, the address of a resolver for DNS over HTTPS",
    ],
    [
      message((p) => connection(p, "198.51.100.99:853/17"), null, "network: {}"),
      "connection to 198.51.100.99:853/udp goes around the DNS proxy: 853, the port of DNS over TLS and QUIC",
    ],
    [
      message((p) => connection(p, "198.51.100.99:0/47"), null, "network: {}"),
      "connection to 198.51.100.99/47 is allowed: nothing speaks against it",
    ],
  ];
  for (const [said, expected] of cases) t.equal(said, expected);
});

t.test("an error in words", async (t) => {
  const broken = {
    ...feedsOf([]),
    domain: () => {
      throw new Error("the index is broken");
    },
  };
  const policy = policyOf("dns: {}", broken);
  const event = query(policy.profileFor(CONTAINER, null), "x.example");
  t.equal(
    describe(policy.decide(event), event),
    "lookup of x.example (A) could not be judged and counts as denied: the index is broken",
  );
});
