/** What only many lookups or connections show together is never learned: not after it was seen, and not what came before. */
import t, { type Test } from "tap";
import { parseAddress } from "../src/address.ts";
import { ManualClock } from "../src/clock.ts";
import { loadConfig } from "../src/config.ts";
import { ContainerTable } from "../src/container/table.ts";
import type { Container } from "../src/container/types.ts";
import { bareAnswer } from "../src/dns/answer.ts";
import { Findings, type FindingsOptions } from "../src/findings.ts";
import { LookupWatch } from "../src/lookup-watch.ts";
import { ModelStore } from "../src/model/store.ts";
import { nameToWire } from "../src/name.ts";
import { createFakeNative } from "../src/native/fake.ts";
import { type ParsedPacket, parsedPacket } from "../src/packet/parse.ts";
import { compilePolicy } from "../src/policy/policy.ts";
import type { Finding, Observation } from "../src/policy/types.ts";
import { PortScans } from "../src/port-scans.ts";

const HOUR = 3_600_000;
const KEY = "sha256:aa11aa11";
const CONTAINER: Container = {
  ...{
    id: "c1",
    name: "web",
    image: "docker.io/library/shop:1",
    imageDigest: KEY,
    namespace: null,
    labels: {},
  },
  ...{ pid: 1, startedAt: 1, networkMode: "bridge", networkNamespace: "/proc/1/ns/net", state: "running" },
  networks: [],
};

/** Findings with a real store of models, and what came out of them. */
function world(t: Test) {
  const clock = new ManualClock(10 * HOUR);
  const models = new ModelStore({
    file: `${t.testdir()}/models.db`,
    clock,
    learningTime: HOUR,
    onChange: () => undefined,
    onNotice: (message) => t.fail(message),
  });
  t.teardown(() => models.close());
  models.running([CONTAINER]);
  const told: Finding[] = [];
  const findings = new Findings({
    audits: { take: (finding: Finding) => told.push(finding) },
    incidents: { observe: () => undefined },
    registry: { find: () => CONTAINER },
    models,
    clock,
  } as unknown as FindingsOptions);
  const look = (...names: string[]): void => {
    const observed = { kind: "name", model: KEY, container: "c1", time: clock.now() } as const;
    models.observe(names.map((name): Observation => ({ ...observed, name })));
  };
  const connect = (container: string, ...ports: number[]): void => {
    const observed = { model: KEY, container, protocol: 6, time: clock.now() } as const;
    models.observe(
      ports.flatMap((port): Observation[] => [
        { ...observed, kind: "outboundPort", port },
        { ...observed, kind: "internalDestination", subnet: "10.0.0.0/24", port },
      ]),
    );
  };
  const held = () => {
    const entries = models.show(KEY)?.entries;
    return {
      names: entries?.names.map(({ name }) => name),
      ports: entries?.outboundPorts.map(({ port }) => port),
      inside: entries?.internalDestinations.map(({ port }) => port),
    };
  };
  const find = (more: Partial<Finding>): void =>
    findings.audit({
      ...{ time: clock.now(), type: "dns", attackType: "suspiciousDNS", effect: "alert", container: "c1" },
      ...{ rule: "r", message: "m", dns: null, connection: null, reasons: [], revision: 1, count: 1 },
      ...more,
    });
  return { clock, models, told, look, connect, held, find };
}

const tunnel = { reasons: [{ kind: "detection", subject: "evil.example" }] } as const;

t.test("names of a tunnel leave the model that learned them, and its audit says so", async (t) => {
  const w = world(t);
  w.look(
    "evil.example",
    "www.notevil.example",
    ...Array.from({ length: 9 }, (_, at) => `x${at}.t.evil.example`),
  );
  t.strictSame(w.held().names, ["*.t.evil.example", "evil.example", "www.notevil.example"]);
  w.find(tunnel);
  t.strictSame(w.held().names, ["www.notevil.example"]);
  t.match(w.told[0]?.reasons[1], { kind: "model", message: "2 entries learned of it withdrawn" });
  w.look("x.evil.example");
  w.find(tunnel);
  t.equal(w.told[1]?.reasons.length, 1, "a flood of findings looks once a second");
  w.clock.advance(1000);
  w.find(tunnel);
  t.strictSame(w.held().names, ["www.notevil.example"]);
});

t.test("what an earlier image knew stays, and so does what a model that judges holds", async (t) => {
  const w = world(t);
  w.look("cdn.evil.example");
  w.clock.advance(HOUR);
  w.find(tunnel);
  t.strictSame(w.held().names, ["cdn.evil.example"], "active");
  w.models.running([{ ...CONTAINER, imageDigest: "sha256:bb22bb22" }]);
  const begun = () => w.models.show("sha256:bb22bb22")?.names;
  t.equal(begun(), 1);
  w.find(tunnel);
  t.equal(begun(), 1);
});

t.test("ports and places of a scan leave the model, those of others and of before stay", async (t) => {
  const w = world(t);
  w.connect("c1", 443);
  w.clock.advance(HOUR / 2);
  w.connect("c2", 80);
  w.models.change(KEY, { action: "manual" });
  w.clock.advance(HOUR);
  w.connect("c1", ...Array.from({ length: 30 }, (_, index) => 5000 + index));
  w.find({
    type: "portScan",
    attackType: "verticalPortScan",
    reasons: [{ kind: "detection", subject: "x" }],
  });
  t.strictSame(w.held(), { names: [], ports: [80, 443], inside: [80, 443] });
  t.match(w.told[0]?.reasons[1], { message: "60 entries learned of it withdrawn" });
});

t.test("a container that scans teaches no ports until it has rested", async (t) => {
  const clock = new ManualClock(HOUR);
  const sender = { container: { id: "c1" } };
  const scans = new PortScans({
    native: createFakeNative(clock),
    clock,
    detector: { seed: 1 },
    detected: () => undefined,
    failed: (error) => t.fail(error.message),
  });
  t.teardown(() => scans.close());
  const bytes = Uint8Array.from([...parseAddress("172.17.0.2")!, ...parseAddress("203.0.113.9")!]);
  const probe = (port: number): void => {
    const packet: ParsedPacket = {
      ...parsedPacket(),
      ...{ addressLength: 4, sourceOffset: 0, destinationOffset: 4, protocol: 6, hasPorts: true },
      ...{ sourcePort: 40_000, destinationPort: port, tcpFlags: 2 },
    };
    scans.contact(sender, packet, bytes, { dropped: false, named: false });
  };
  for (let port = 1; port <= 60; port++) probe(port);
  t.equal(scans.isScanning(sender), false, "nothing is known yet");
  clock.advance(5000);
  t.equal(scans.isScanning(sender), true);
  clock.advance(9 * 60_000);
  probe(61);
  clock.advance(9 * 60_000);
  t.equal(scans.isScanning(sender), true, "it goes on");
  probe(61);
  clock.advance(2 * 60_000);
  t.equal(scans.isScanning(sender), false, "a target that it knows is no scan");
  probe(62);
  t.equal(scans.isScanning(sender), false);
});

t.test("of a container that asks for generated names the one that exists is doubted", async (t) => {
  const policy = compilePolicy(
    { version: 1, rules: [{ name: "r", dns: { effect: "alert" } }] },
    { domain: () => [], address: () => [] },
    { revision: 1, host: "h" },
  );
  const clock = new ManualClock(HOUR);
  const resident = new ContainerTable().upsert(CONTAINER);
  resident.profile = policy.profileFor(CONTAINER, null);
  const found: Finding[] = [];
  const { watch } = new LookupWatch({
    clock,
    seed: 1,
    config: loadConfig(null, "tidesman.yaml", "h1").detectors,
    policy: () => policy,
    report: (finding) => found.push(finding),
  });
  const ask = (name: string, rcode: number): string => {
    clock.advance(1000);
    const lookup = { name: nameToWire(name)!, type: 1 };
    const asked = watch("query", resident, lookup, null);
    return asked === "clean"
      ? watch("answer", resident, lookup, bareAnswer(new Uint8Array(100), rcode))
      : asked;
  };
  t.equal(ask("xkqzvbwpjhtrdg.com", 0), "clean", "one name says nothing");
  const drawn = "qxzkvj wqpzxk zjxqvk kqzwxj vxqzjk".split(" ");
  for (const first of drawn) for (const last of drawn) ask(`${first}${last}.net`, 3);
  t.equal(found.length, 1);
  t.equal(ask("kzqxjvwpbzkqxh.com", 0), "told");
  t.equal(ask("weather-service.com", 0), "clean");
  t.equal(found.length, 1, "for the name alone nothing is told");
  clock.advance(2 * HOUR);
  t.equal(ask("kzqxjvwpbzkqxh.com", 0), "clean", "not for ever");
});
