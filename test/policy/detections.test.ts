/** What rules make of detections, of public names that lead inside, and of lookups that go past the proxy. */
import t from "tap";
import { parseAddress } from "../../src/address.ts";
import { nameToWire } from "../../src/name.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import type { AnswerEvent, ConnectionEvent, Decision, FeedIndex } from "../../src/policy/types.ts";

const NO_FEEDS: FeedIndex = { domain: () => [], address: () => [] };
const FACTS = { id: "c", name: "c", image: "i", imageDigest: "", namespace: null, labels: {} };

function rule(more: Partial<RuleFile>) {
  const policy = compilePolicy({ version: 1, rules: [{ name: "r", ...more }] }, NO_FEEDS, {
    revision: 1,
    host: "h",
  });
  return { policy, profile: policy.profileFor(FACTS, null) };
}

function wire(name: string): Uint8Array {
  return nameToWire(name) ?? new Uint8Array(1);
}

const told = ({ effect, attackType, verdict }: Decision): string => `${attackType} ${effect} ${verdict}`;

t.test("detections take the effect that the rule has for them", async (t) => {
  const { policy, profile } = rule({
    dns: { effect: "alert", suspicious: "prevent", allowed: [".backup.example"] },
    network: { effect: "alert", portScan: "prevent" },
  });
  const reasons = [{ kind: "detection", message: "much" } as const];
  const weigh = (name: string) => policy.weigh(profile, "suspiciousDNS", wire(name), reasons);
  t.equal(told(weigh("x.evil.example")), "suspiciousDNS prevent drop");
  t.equal(told(weigh("x.backup.example")), "null null allow", "an allowed name is not suspicious");
  t.equal(
    told(policy.weigh(profile, "verticalPortScan", null, reasons)),
    "verticalPortScan alert allow",
    "what has happened cannot be prevented",
  );
  const plain = rule({ network: { effect: "prevent" } });
  t.equal(
    told(plain.policy.weigh(plain.profile, "horizontalPortScan", null, [])),
    "horizontalPortScan alert allow",
  );
  t.equal(
    told(plain.policy.weigh(plain.profile, "suspiciousDNS", null, [])),
    "null null allow",
    "no dns section",
  );
  const off = rule({ dns: { effect: "disable" }, network: { effect: "disable" } });
  t.equal(told(off.policy.weigh(off.profile, "horizontalPortScan", null, [])), "null null allow");
});

t.test("a public name that leads inside", async (t) => {
  const { policy, profile } = rule({
    dns: { effect: "alert", suspicious: "prevent", allowed: ["nas.example"] },
  });
  const answer = (name: string, ...addresses: string[]): Decision => {
    const event: AnswerEvent = {
      ...{ kind: "answer", profile, name: wire(name), type: 1, rcode: 0, hops: [] },
      addresses: addresses.map((address) => parseAddress(address)!),
    };
    return policy.decide(event);
  };
  const cases: readonly [name: string, address: string, found: boolean][] = [
    ["evil.example", "10.0.0.5", true],
    ["evil.example", "127.0.0.1", true],
    ["evil.example", "169.254.169.254", true],
    ["evil.example", "192.168.1.1", true],
    ["evil.example", "fe80::1", true],
    ["evil.example", "::1", true],
    ["evil.example", "64:ff9b::a00:5", true],
    ["evil.example", "64:ff9b::c633:6407", false],
    ["evil.example", "198.51.100.7", false],
    ["evil.example", "0.0.0.0", false],
    ["nas.example", "10.0.0.5", false],
    ["printer.local", "10.0.0.5", false],
    ["db.prod.internal", "10.0.0.5", false],
    ["web", "10.0.0.5", false],
    ["1.0.0.10.in-addr.arpa", "10.0.0.5", false],
  ];
  for (const [name, address, found] of cases) {
    const expected = found ? "dnsRebinding prevent drop" : "null null allow";
    t.equal(told(answer(name, address)), expected, `${name} ${address}`);
  }
  t.match(answer("evil.example", "198.51.100.7", "10.0.0.5").reasons, [{ subject: "10.0.0.5" }]);
});

t.test("lookups that go past the proxy", async (t) => {
  const { policy, profile } = rule({
    dns: { effect: "disable", allowed: [".nextdns.io"] },
    network: {
      effect: "prevent",
      outboundAddresses: { allowed: ["9.9.9.9"] },
    },
  });
  const connect = (address: string, port: number, protocol = 6, names: string[] = []): string => {
    const destination = parseAddress(address)!;
    const event: ConnectionEvent = {
      kind: "connection",
      profile,
      protocol,
      destination,
      port,
      internet: true,
      names,
    };
    return told(policy.decide(event));
  };
  const found = "encryptedDNS prevent drop";
  t.equal(connect("198.51.100.1", 853), found, "TLS");
  t.equal(connect("198.51.100.1", 853, 17), found, "QUIC");
  t.equal(connect("8.8.8.8", 443), found);
  t.equal(connect("2606:4700:4700::1111", 443, 17), found);
  t.equal(connect("198.51.100.1", 443, 6, ["dns.google"]), found, "by the name it was resolved from");
  t.equal(connect("8.8.8.8", 80), "null null allow");
  t.equal(connect("9.9.9.9", 853), "null null allow", "an allowed address");
  t.equal(connect("198.51.100.1", 443, 6, ["shop.example"]), "null null allow");
  t.equal(connect("198.51.100.1", 443, 6, ["dns.nextdns.io"]), "null null allow", "an allowed name");
  t.equal(connect("198.51.100.1", 853, 6, ["a.dns.nextdns.io"]), "null null allow", "whatever the port");
});

t.test("other feeds, the same rules", async (t) => {
  const { policy } = rule({ dns: { effect: "prevent" } });
  const feeds: FeedIndex = {
    domain: () => [{ feed: "f", entry: "evil.example", match: "exact" }],
    address: () => [],
  };
  const next = policy.withFeeds(feeds, 2);
  const profile = next.profileFor(FACTS, null);
  const query = { kind: "query", name: wire("evil.example"), type: 1 } as const;
  t.match(next.decide({ ...query, profile }), { attackType: "feedDNS", revision: 2 });
  t.equal(told(policy.decide({ ...query, profile: policy.profileFor(FACTS, null) })), "null null allow");
});
