import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import t, { type Test } from "tap";
import type { AuditFilter } from "../../src/audit/filter.ts";
import type { AuditContainer } from "../../src/audit/record.ts";
import { AuditLog } from "../../src/audit/store.ts";
import { ManualClock } from "../../src/clock.ts";
import { ModelStore } from "../../src/model/store.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type { Finding, Observation, Policy } from "../../src/policy/types.ts";
import { type Replayed, type ResolvedName, replay } from "../../src/replay/replay.ts";
import type { ChangeGroup } from "../../src/replay/tally.ts";
import { connection, lookup, START, web } from "../audit/finding.ts";
import { feedsOf } from "../policy/fixtures.ts";

const DAY = 86_400_000;
const FEEDS = feedsOf([
  { feed: "urlhaus", entry: "evil.example" },
  { feed: "urlhaus", entry: "198.51.100.9" },
]);

function policy(rules: string): Policy {
  const { policy: file } = parsePolicy(`version: 1\nrules:\n${rules}`, "policy.yaml");
  return compilePolicy(file, FEEDS, { revision: 7, host: "h1" });
}
const everything = (sections: string): Policy => policy(`  - { name: all, ${sections} }\n`);

interface World {
  readonly audits: AuditLog;
  readonly models: ModelStore;
  readonly clock: ManualClock;
  /** Filters that audits were asked with. */
  readonly asked: AuditFilter[];
  tell(finding: Finding, container?: AuditContainer): void;
  /** What containers resolved lately, by id. */
  readonly resolved: Map<string, readonly ResolvedName[]>;
  learn(...observations: readonly Observation[]): void;
  replay(before: Policy, after: Policy, containers?: readonly AuditContainer[]): Promise<Replayed>;
}

async function world(t: Test): Promise<World> {
  const clock = new ManualClock(START);
  const folder = t.testdir();
  const fail = (message: string): void => void t.fail(message);
  const audits = await AuditLog.open({
    file: join(folder, "audits.db"),
    host: "h1",
    window: 60_000,
    fold: { after: 2, within: 900_000, summaries: 600_000 },
    queue: 100_000,
    retention: { age: 30 * DAY, size: 1 << 30 },
    clock,
    onNotice: fail,
  });
  const models = new ModelStore({
    file: join(folder, "models.db"),
    clock,
    learningTime: DAY,
    onChange: () => undefined,
    onNotice: fail,
  });
  t.teardown(async () => {
    models.close();
    await audits.close();
  });
  const asked: AuditFilter[] = [];
  const resolved = new Map<string, readonly ResolvedName[]>();
  const internal = new InternalPrefixes([]);
  return {
    audits,
    models,
    clock,
    asked,
    resolved,
    tell: (finding, container = web) => void audits.add({ ...finding, container: container.id }, container),
    learn(...observations) {
      models.running([web]);
      models.observe(observations);
    },
    async replay(before, after, containers = [web]) {
      await audits.flush();
      return replay({
        before,
        after,
        since: START - DAY,
        until: START + DAY,
        audits: (filter) => {
          asked.push(filter);
          return audits.query(filter);
        },
        models: {
          keys: () => models.list().map(({ key }) => key),
          show: (key) => models.show(key),
          view: (key) => models.view(key),
          keyOf: (container) => models.keyOf(container),
        },
        resolved: async (container) => resolved.get(container) ?? [],
        containers,
        internet: (address) => !internal.contains(address, 0, address.length),
        pause: () => setImmediate(),
      });
    },
  };
}

/** `newlyDenied audits 3: all -> all, alert -> prevent; web; lookup of …`. */
function tell({ tally }: Replayed): readonly string[] {
  const one = ({ change, source, count, rules, effects, containers, samples }: ChangeGroup): string =>
    `${change} ${source} ${count}: ${rules.before} -> ${rules.after}, ${effects.before} -> ${effects.after}; ` +
    `${containers.join(" ")}; ${samples.map(({ message }) => message).join(" | ")}`;
  return tally.groups().map(one);
}

const ALERT = everything("dns: { effect: alert }, network: { effect: alert }");
const PREVENT = everything("dns: { effect: prevent }, network: { effect: prevent }");

t.test("the same policy changes nothing, and what was judged is told", async (t) => {
  const w = await world(t);
  w.tell(lookup("evil.example", START, { effect: "alert" }));
  w.tell({ ...connection("198.51.100.9", 443), effect: "alert", attackType: "feedIP" });
  w.learn({ kind: "name", model: "sha256:1111", container: web.id, name: "good.example", time: START });
  const replayed = await w.replay(ALERT, ALERT);
  t.same(tell(replayed), []);
  t.match(replayed.sample, { audits: 2, findings: 2, unjudged: 0, drifted: 0, models: 1, entries: 1 });
});

t.test("newly denied and no longer denied, by rule and image, with the counts of audits", async (t) => {
  const w = await world(t);
  for (let index = 0; index < 3; index++) w.tell(lookup("evil.example", START + index, { effect: "alert" }));
  w.tell({ ...connection("198.51.100.9", 443), effect: "alert", attackType: "feedIP" });
  t.same(tell(await w.replay(ALERT, PREVENT)), [
    "newlyDenied audits 3: all -> all, alert -> prevent; web; lookup of evil.example (A) is listed by feed urlhaus",
    "newlyDenied audits 1: all -> all, alert -> prevent; web; connection to 198.51.100.9:443/tcp is listed by feed urlhaus",
  ]);
  const allowing = policy(`  - name: other
    dns: { effect: prevent, allowed: [.evil.example] }
    network: { effect: block }\n`);
  const replayed = await w.replay(PREVENT, allowing);
  t.same(tell(replayed), [
    "newlyBlocked audits 1: all -> other, prevent -> block; web; connection to 198.51.100.9:443/tcp is listed by feed urlhaus",
    "noLongerDenied audits 3: all -> other, prevent -> null; web; lookup of evil.example (A) is listed by feed urlhaus",
  ]);
  t.match(replayed.tally.totals, {
    newlyBlocked: { audits: 1, models: 0 },
    noLongerDenied: { audits: 3, models: 0 },
    newlyDenied: { audits: 0, models: 0 },
  });
  t.equal(replayed.sample.drifted, 4, "told as alerts then, which the policy in force would not do");
  const silent = everything("dns: { effect: disable }, network: { effect: disable }");
  t.match(tell(await w.replay(silent, ALERT)), [/^newlyAudited audits 3/, /^newlyAudited audits 1/]);
  t.match(tell(await w.replay(ALERT, silent)), [/^noLongerAudited audits 3/, /^noLongerAudited audits 1/]);
});

t.test("a lookup is judged with all it led to", async (t) => {
  const w = await world(t);
  const answers = ["edge.cdn.example", "198.51.100.9", "10.0.0.1"];
  const dns = { name: "www.shop.example", type: "AAAA", answers, rcode: "NOERROR" };
  w.tell(lookup("www.shop.example", START, { dns, effect: "alert", attackType: "feedIP" }));
  const after = everything("dns: { effect: alert, denied: [.cdn.example], deniedEffect: block }");
  t.match(tell(await w.replay(ALERT, after)), [
    /alert -> block; web; lookup of www.shop.example \(AAAA\) is an alias of edge\.cdn\.example, which is in denied/,
  ]);
});

t.test("what detectors found is weighed by the rule", async (t) => {
  const w = await world(t);
  const reasons = [{ kind: "detection" as const, subject: "tunnel.example", message: "41 kB" }];
  const told = (name: string, more: Partial<Finding>): void =>
    w.tell(lookup(name, START, { effect: "alert", reasons, ...more }));
  const none = { dns: null, connection: null };
  told("x.tunnel.example", { attackType: "suspiciousDNS", message: "data sent over DNS" });
  told("a", { ...none, type: "portScan", attackType: "verticalPortScan", message: "scanned 26 ports" });
  told("b", { ...none, type: "rawSocket", attackType: "rawSocket", message: "raw socket of ping (pid 1)" });
  told("c", { ...none, attackType: "malformedDNS", message: "malformed lookup: no question" });
  told("d", { ...none, type: "connection", attackType: "spoofedSource", message: "packet with source" });
  const { connection: at } = connection("0.0.0.0", 4444);
  told("e", { dns: null, connection: at, type: "listeningPort", attackType: "unexpectedListeningPort" });
  const after = everything(
    `dns: { effect: disable, suspicious: prevent }, network: { effect: prevent, rawSockets: disable, ` +
      `portScan: block, listeningPorts: { denied: [4444], deniedEffect: block } }`,
  );
  const replayed = await w.replay(ALERT, after);
  t.same(
    tell(replayed).map((text) => text.replace(/ audits 1: all -> all,/, "").replace(/; web;/, ";")),
    [
      "newlyDenied alert -> prevent; data sent over DNS",
      "newlyDenied alert -> prevent; packet with source",
      "newlyBlocked alert -> block; scanned 26 ports",
      "newlyBlocked null -> block; listener on 0.0.0.0:4444/tcp uses a denied port (4444)",
      "noLongerAudited alert -> null; raw socket of ping (pid 1)",
      "noLongerAudited alert -> null; malformed lookup: no question",
    ],
  );
});

t.test("what no rule decided is counted and left alone", async (t) => {
  const w = await world(t);
  const none = { dns: null, connection: null, effect: "alert" as const };
  w.tell(lookup("a", START, { ...none, attackType: "connectionFlood", count: 7 }));
  w.tell(lookup("b", START, { ...none, attackType: "exempted" }));
  w.audits.add(lookup("c", START, { ...none, attackType: "staleFeed", container: null }), null);
  w.tell(lookup("d", START, { ...none, type: "connection", attackType: "unexpectedOutboundPort" }));
  const { sample, tally } = await w.replay(ALERT, PREVENT);
  t.match(sample, { audits: 4, findings: 10, unjudged: 10, drifted: 0 });
  t.same(tally.groups(), []);
});

t.test("scopes see the facts of then; a fold those of each container it stands for", async (t) => {
  const w = await world(t);
  const replica = (number: number): AuditContainer => ({
    ...web,
    id: `web-${number}`,
    name: `web-${number}`,
    labels: { tier: "edge" },
  });
  const two = replica(2);
  // Alike audits of one image: from the third container on they are a fold.
  for (const container of [web, two, replica(3), replica(4), replica(4)])
    w.tell(lookup("evil.example", START + 1, { effect: "alert" }), container);
  const backend =
    policy(`  - { name: backend, scope: { labels: { tier: backend } }, dns: { effect: prevent } }
  - { name: rest, dns: { effect: alert } }\n`);
  const replayed = await w.replay(ALERT, backend, [web, two]);
  t.match(replayed.sample, { audits: 3, findings: 5, guessed: 2 }, "web-4 is gone, its labels with it");
  t.match(tell(replayed), [/^newlyDenied audits 1: all -> backend, alert -> prevent; web; /]);
  const edge = policy("  - { name: edge, scope: { containers: [web-4] }, dns: { effect: prevent } }\n");
  t.match(tell(await w.replay(edge, ALERT, [web, two])), [
    /^newlyAudited audits 3: null -> all, null -> alert; web web-2 web-3; /,
    /^noLongerDenied audits 2: edge -> all, prevent -> alert; web-4; /,
  ]);
});

t.test("models: names, ports and places that are known are judged too", async (t) => {
  const w = await world(t);
  const about = { model: "sha256:1111", container: web.id, time: START };
  w.learn(
    { kind: "name", name: "api.good.example", ...about },
    { kind: "name", name: "www.shop.example", ...about },
    { kind: "outboundPort", protocol: 6, port: 25, ...about },
    { kind: "outboundPort", protocol: 6, port: 443, ...about },
    { kind: "internalDestination", protocol: 6, port: 5432, subnet: "10.9.0.0/24", ...about },
    { kind: "listeningPort", protocol: 6, port: 4444, ...about },
  );
  const after = policy(`  - name: strict
    scope: { containers: ["web*"] }
    dns: { effect: prevent, denied: [.good.example] }
    network:
      effect: alert
      outboundAddresses: { denied: [10.9.0.0/16], deniedEffect: prevent }
      outboundPorts: { denied: [25], deniedEffect: prevent }
      listeningPorts: { denied: [4444], deniedEffect: block }
  - { name: rest, dns: { effect: alert }, network: { effect: alert } }\n`);
  const others = Array.from({ length: 30 }, (_, index) => ({
    ...web,
    id: `w${index}`,
    name: `web-${index}`,
  }));
  const elsewhere = { ...web, id: "db", name: "db" };
  const replayed = await w.replay(ALERT, after, [web, elsewhere, ...others]);
  t.match(replayed.sample, { models: 1, entries: 6, idleModels: 0, unjudgedEntries: 0 });
  const [first] = replayed.tally.groups();
  t.match(first, { containers: { length: 20 }, moreContainers: 11, count: 1 });
  t.same(
    tell(replayed)
      .map((text) => text.replace(/; web .*?;/, ";"))
      .toSorted(),
    [
      "newlyBlocked models 1: all -> strict, null -> block; listener on 0.0.0.0:4444/tcp uses a denied port (4444)",
      "newlyDenied models 1: all -> strict, null -> prevent; connection to 10.9.0.0:5432/tcp is in denied addresses (10.9.0.0/16)",
      "newlyDenied models 1: all -> strict, null -> prevent; connection to 192.0.2.1:25/tcp uses a denied port (25)",
      "newlyDenied models 1: all -> strict, null -> prevent; lookup of api.good.example (A) is in denied names (.good.example)",
    ],
  );
  const idle = await w.replay(ALERT, after, []);
  t.match(idle.sample, { models: 0, idleModels: 1, entries: 0 });
});

t.test("what containers resolved lately is judged with where it led, whatever became of it", async (t) => {
  const w = await world(t);
  const other = { ...web, id: "other", name: "other", imageDigest: "sha256:2222" };
  w.resolved.set(web.id, [
    { name: "api.good.example", addresses: ["192.0.2.7"] },
    { name: "cdn.shop.example", addresses: ["192.0.2.8", "198.51.100.9"] },
  ]);
  w.resolved.set("other", [{ name: "api.good.example", addresses: ["2001:db8::7"] }]);
  const silent = everything("dns: { effect: disable }");
  const denying = policy(`  - name: strict
    scope: { containers: [web] }
    dns: { effect: prevent, denied: [.good.example] }\n`);
  const replayed = await w.replay(silent, denying, [web, other]);
  t.equal(replayed.sample.lookups, 3);
  t.same(tell(replayed), [
    "newlyDenied lookups 1: all -> strict, null -> prevent; web; lookup of api.good.example (A) is in denied names (.good.example)",
    "newlyDenied lookups 1: all -> strict, null -> prevent; web; lookup of cdn.shop.example (A) is answered with 198.51.100.9, which is listed by feed urlhaus",
  ]);
  t.match(replayed.tally.totals.newlyDenied, { audits: 0, models: 0, lookups: 2 });
});

t.test("a large store: read in pages, and what is remembered is bounded", async (t) => {
  const w = await world(t);
  const count = 5_000;
  for (let index = 0; index < count; index++) {
    const id = `c${index}`;
    const container = { ...web, id, name: id, image: `shop/${index}`, imageDigest: `sha256:${index}` };
    w.tell(lookup(`n${index}.evil.example`, START, { effect: "alert" }), container);
  }
  for (let index = 0; index < 1_000; index++)
    w.tell(lookup(`m${index}.evil.example`, START, { effect: "alert" }), {
      ...web,
      id: `w${index}`,
      name: `w${index}`,
    });
  const { sample, tally } = await w.replay(ALERT, PREVENT);
  t.equal(sample.findings, 6_000);
  t.equal(tally.totals.newlyDenied.audits, 6_000);
  t.ok(w.asked.length >= 6);
  t.ok(w.asked.every(({ limit = 10_000 }) => limit <= 1_000));
  const groups = tally.groups();
  t.equal(groups.length, 500);
  t.equal(tally.omitted + groups.reduce((sum, group) => sum + group.count, 0), 6_000);
  t.ok(groups.every(({ containers, samples }) => containers.length <= 20 && samples.length <= 5));
});
