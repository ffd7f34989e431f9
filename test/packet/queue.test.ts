import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import type { NetworkConfig } from "../../src/config.ts";
import { ContainerTable, type Resident } from "../../src/container/table.ts";
import type { Container } from "../../src/container/types.ts";
import { createFakeNative, type FakeNative } from "../../src/native/fake.ts";
import type { FakePacket } from "../../src/native/fake-queue.ts";
import { NF } from "../../src/native/types.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { type PacketDependencies, type PacketHandler, startPackets } from "../../src/packet/queue.ts";
import type {
  ConnectionEvent,
  Decision,
  Finding,
  ModelView,
  Observation,
  Policy,
  Profile,
} from "../../src/policy/types.ts";
import { fragmentHeader, icmp, ipv4, ipv6, tcp, udp } from "./build.ts";

const ALLOWED = 0x10000;
const DENIED = 0x20000;
const GOOD = "203.0.113.10";
const BAD = "203.0.113.66";

const config: NetworkConfig = {
  queue: 5303,
  queueLength: 1024,
  markMask: 0x30000,
  interfaces: ["docker0"],
  connectionRate: 500,
  connectionBurst: 1000,
  holdTime: 200,
  holdLimit: 4,
  internal: [],
};

function container(id: string, vethIndex: number, addresses: readonly string[], startedAt = 1): Container {
  return {
    id,
    name: `name-${id}`,
    image: "docker.io/library/nginx:latest",
    imageDigest: "sha256:0",
    namespace: null,
    labels: {},
    state: "running",
    pid: 1,
    startedAt,
    networkNamespace: "",
    networks: [
      { id: "n", name: "bridge", bridge: "docker0", vethIndex, veth: `veth${vethIndex}`, addresses },
    ],
    networkMode: "bridge",
  };
}

interface World {
  readonly clock: ManualClock;
  readonly native: FakeNative;
  readonly table: ContainerTable;
  readonly handler: PacketHandler;
  readonly events: ConnectionEvent[];
  readonly findings: { finding: Finding; resident: Resident }[];
  readonly observations: Observation[];
  readonly unknown: [number, string][];
  readonly failures: [string, number][];
  add(id: string, vethIndex: number, addresses: readonly string[], profile?: Partial<Profile>): Resident;
  /** What became of a packet: its verdict, or undefined while it is held. */
  send(packet: FakePacket): { code: number; mark: number | null } | undefined;
  idOf(packet: FakePacket): number;
  verdictOf(id: number): { code: number; mark: number | null } | undefined;
}

const NONE: Decision = {
  verdict: "allow",
  effect: null,
  attackType: null,
  rule: "r",
  reasons: [],
  learn: false,
  revision: 7,
};

/** Says no to BAD as a rule with the effect of the network section would. */
function judge(event: ConnectionEvent): Decision {
  const { destination, profile } = event;
  if (destination.at(-1) !== 66) return { ...NONE, learn: event.internet };
  const effect = profile.networkEffect;
  if (effect === "disable") return NONE;
  return {
    ...NONE,
    verdict: effect === "alert" ? "allow" : "drop",
    effect,
    attackType: "explicitlyDeniedIP",
    reasons: [{ kind: "denied", list: "network.outboundAddresses.denied", entry: BAD, match: "address" }],
  };
}

function world(
  changes: Partial<PacketDependencies> = {},
  decide: (event: ConnectionEvent) => Decision = judge,
): World {
  const clock = new ManualClock(1_000_000);
  const native = createFakeNative(clock);
  const table = new ContainerTable();
  const events: ConnectionEvent[] = [];
  const findings: World["findings"] = [];
  const observations: Observation[] = [];
  const unknown: [number, string][] = [];
  const failures: [string, number][] = [];
  const policy: Policy = {
    revision: 7,
    profileFor: () => {
      throw new Error("not asked for by the packet queue");
    },
    withFeeds: () => policy,
    weigh: () => {
      throw new Error("not asked for by the packet queue");
    },
    decide(event) {
      if (event.kind !== "connection") throw new Error("not a connection");
      events.push({ ...event, destination: event.destination.slice() });
      return decide(event);
    },
  };
  const internal = new InternalPrefixes(["172.17.0.0/16"]);
  const handler = startPackets({
    native,
    clock,
    config,
    failMode: "open",
    lookupsRedirected: true,
    dnsPort: 5303,
    table,
    policy: () => policy,
    internal: () => internal,
    names: () => ["good.example"],
    report: (finding, resident) => findings.push({ finding, resident }),
    observe: (observation) => observations.push(observation),
    unknown: (index, source) => unknown.push([index, source]),
    failed: (error, count) => failures.push([error.message, count]),
    ...changes,
  });
  const queue = native.queue(5303);
  const idOf = (packet: FakePacket): number => queue.deliver(packet)[0]!;
  const verdictOf: World["verdictOf"] = (id) => {
    const verdict = queue.verdictOf(id);
    return verdict && { code: verdict.code, mark: verdict.mark };
  };
  return {
    clock,
    native,
    table,
    handler,
    events,
    findings,
    observations,
    unknown,
    failures,
    add(id, vethIndex, addresses, profile = {}) {
      const resident = table.upsert(container(id, vethIndex, addresses));
      resident.profile = {
        index: 0,
        rule: "r",
        model: null,
        dnsEffect: "disable",
        networkEffect: "prevent",
        suspicious: "disable",
        portScan: "disable",
        ...profile,
      };
      handler.containersChanged();
      return resident;
    },
    idOf,
    verdictOf,
    send: (packet) => verdictOf(idOf(packet)),
  };
}

/** From the container at veth 7 unless said otherwise. */
function from(payload: Uint8Array, rest: Partial<FakePacket> = {}): FakePacket {
  return { payload, inDevice: 3, physInDevice: 7, ...rest };
}
const C1 = "172.17.0.2";
const C1_6 = "2001:db8:d0::2";

t.test("a connection is decided and its outcome written to the mark", async (t) => {
  const w = world();
  w.add("c1", 7, [C1, C1_6]);
  t.same(w.send(from(ipv4(C1, GOOD, tcp(40000, 443)))), { code: NF.REPEAT, mark: ALLOWED });
  t.same(w.send(from(ipv4(C1, BAD, tcp(40000, 443)))), { code: NF.REPEAT, mark: DENIED });
  t.same(
    w.send(from(ipv4(C1, GOOD, udp(1, 123)), { mark: 0xabc30005 })),
    { code: NF.REPEAT, mark: 0xabc10005 },
    "bits of others stay",
  );
  t.match(w.events[0], {
    kind: "connection",
    protocol: 6,
    port: 443,
    internet: true,
    names: ["good.example"],
  });
  t.same([...w.events[0]!.destination], [203, 0, 113, 10]);
  t.same(w.send(from(ipv6(C1_6, "2001:db8::66", udp(1, 123)))), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.events.at(-1)?.destination.length, 16);
  w.send(from(ipv6(C1_6, "::ffff:10.0.0.1", udp(1, 123))));
  t.match(w.events.at(-1), { internet: false, port: 123 });
  t.equal(w.events.at(-1)?.destination.length, 4, "an IPv4-mapped address is judged as IPv4");
  w.send(from(ipv4(C1, "172.17.0.3", icmp(1, 8))));
  t.match(w.events.at(-1), { protocol: 1, port: 8, internet: false });
  t.match(w.findings[0]?.finding, {
    type: "connection",
    attackType: "explicitlyDeniedIP",
    effect: "prevent",
    container: "c1",
    rule: "r",
    message: /203\.0\.113\.66:443\/tcp/,
    connection: {
      protocol: "tcp",
      source: C1,
      sourcePort: 40000,
      destination: BAD,
      port: 443,
      names: ["good.example"],
    },
    revision: 7,
    count: 1,
  });
  t.match(w.handler.stats(), { packets: 6, allowed: 5, denied: 1, held: 0 });
});

t.test("alert lets pass and tells", async (t) => {
  const w = world();
  w.add("c1", 7, [C1], { networkEffect: "alert" });
  t.same(w.send(from(ipv4(C1, BAD, tcp(1, 2)))), { code: NF.REPEAT, mark: ALLOWED });
  t.same(w.send(from(ipv4(C1, BAD, tcp(3, 2)))), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.findings.length, 2, "each connection is one of its own");
});

t.test("a refused connection that insists is told once a second, with a count", async (t) => {
  const w = world();
  w.add("c1", 7, [C1]);
  w.add("c2", 8, ["172.17.0.3"]);
  for (let index = 0; index < 5; index++) w.send(from(ipv4(C1, BAD, tcp(1000 + index, 443))));
  w.send(from(ipv4(C1, BAD, tcp(1, 80))));
  w.send(from(ipv4("172.17.0.3", BAD, tcp(1, 443)), { physInDevice: 8 }));
  t.same(
    w.findings.map(({ finding }) => finding.count),
    [1, 1, 1],
    "other ports and containers are their own",
  );
  w.clock.advance(1000);
  t.same(
    w.findings.map(({ finding }) => finding.count),
    [1, 1, 1, 4],
  );
  w.clock.advance(5000);
  t.equal(w.findings.length, 4);
  w.send(from(ipv4(C1, BAD, tcp(9, 443))));
  t.equal(w.findings.length, 5, "forgotten after a quiet second");
  w.send(from(ipv4(C1, BAD, tcp(9, 443))));
  w.handler.close();
  t.equal(
    w.findings.reduce((sum, { finding }) => sum + finding.count, 0),
    9,
    "closing loses none",
  );
});

t.test("a spoofed source is found by the veth", async (t) => {
  const w = world();
  w.add("c1", 7, [C1, C1_6]);
  w.add("c2", 8, ["172.17.0.3"]);
  t.same(
    w.send(from(ipv4("172.17.0.3", GOOD, tcp(1, 2)))),
    { code: NF.DROP, mark: null },
    "no mark: the flow may be c2's",
  );
  t.equal(w.events.length, 0);
  t.equal(w.findings[0]?.resident.container.id, "c1");
  t.match(w.findings[0]?.finding, {
    attackType: "spoofedSource",
    effect: "prevent",
    container: "c1",
    message: /172\.17\.0\.3.*name-c1.*172\.17\.0\.2/,
    connection: { source: "172.17.0.3", destination: GOOD },
  });
  w.table.byId("c1")!.profile = { ...w.table.byId("c1")!.profile!, networkEffect: "alert" };
  t.same(
    w.send(from(ipv4("172.17.0.3", GOOD, tcp(1, 2)))),
    { code: NF.REPEAT, mark: ALLOWED },
    "alert tells and lets pass",
  );
  t.same(
    w.send(from(ipv4("172.17.0.3", "8.8.8.8", udp(1, 53)))),
    { code: NF.DROP, mark: null },
    "but never a lookup",
  );
  t.same(
    w.send(from(ipv4("172.17.0.3", "172.17.0.1", udp(1, 5303)))),
    { code: NF.DROP, mark: null },
    "nor one sent straight to the DNS server's own port",
  );
  t.same(
    w.send(from(ipv4(C1, "172.17.0.1", udp(1, 5303)))),
    { code: NF.REPEAT, mark: ALLOWED },
    "which is a connection like any other from where it belongs",
  );
  w.clock.advance(1000);
  t.equal(
    w.findings.reduce((sum, { finding }) => sum + finding.count, 0),
    4,
  );
  w.table.byId("c1")!.profile = { ...w.table.byId("c1")!.profile!, networkEffect: "disable" };
  const before = w.findings.length;
  t.same(w.send(from(ipv4("172.17.0.9", GOOD, tcp(1, 2)))), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.findings.length, before, "disable judges nothing");
});

t.test("sources that are nobody's address and yet right", async (t) => {
  const w = world();
  w.add("c1", 7, [C1, C1_6]);
  const right = { code: NF.REPEAT, mark: ALLOWED };
  t.same(w.send(from(ipv6("fe80::1234", "ff02::fb", udp(5353, 5353)))), right, "link-local, none known");
  t.same(w.send(from(ipv6("::", "ff02::1:ff00:1", icmp(58, 135)))), right, "duplicate address detection");
  t.same(w.send(from(ipv4("0.0.0.0", "255.255.255.255", udp(68, 67)))), right, "DHCP");
  t.equal(w.handler.stats().spoofed, 0);
  t.same(w.send(from(ipv4("0.0.0.0", GOOD, udp(68, 67)))), { code: NF.DROP, mark: null });
  w.add("c1", 7, [C1, "fe80::42"]);
  t.same(w.send(from(ipv6("fe80::42", "ff02::fb", udp(5353, 5353)))), right);
  t.same(
    w.send(from(ipv6("fe80::1234", "ff02::fb", udp(5353, 5353)))),
    { code: NF.DROP, mark: null },
    "another's",
  );
  t.equal(w.handler.stats().spoofed, 2);
});

t.test("two containers in one network namespace are one sender", async (t) => {
  const w = world();
  w.add("c1", 7, [C1]);
  w.add("c2", 7, [C1]);
  w.add("c1", 0, [C1]);
  t.same(w.send(from(ipv4(C1, GOOD, tcp(1, 2)))), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.handler.stats().spoofed, 0);
});

t.test("lookups are the DNS server's to judge", async (t) => {
  const w = world();
  w.add("c1", 7, [C1, C1_6]);
  t.same(w.send(from(ipv4(C1, BAD, udp(1, 53)))), { code: NF.REPEAT, mark: ALLOWED });
  t.same(w.send(from(ipv6(C1_6, "2001:db8::66", tcp(1, 53)))), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.events.length, 0);
  t.equal(w.handler.stats().lookups, 2);
  const direct = world({ lookupsRedirected: false });
  direct.add("c1", 7, [C1]);
  t.same(
    direct.send(from(ipv4(C1, BAD, udp(1, 53)))),
    { code: NF.REPEAT, mark: DENIED },
    "unless they are not redirected",
  );
});

t.test("an unknown container's packets wait", async (t) => {
  const w = world();
  const first = w.idOf(from(ipv4(C1, GOOD, tcp(1, 2))));
  const second = w.idOf(from(ipv4(C1, BAD, tcp(1, 3))));
  t.equal(w.verdictOf(first), undefined);
  t.same(w.unknown, [[7, C1]], "told once");
  w.add("c2", 8, ["172.17.0.3"]);
  t.same(
    w.send(from(ipv4("172.17.0.3", GOOD, tcp(1, 2)), { physInDevice: 8 })),
    { code: NF.REPEAT, mark: ALLOWED },
    "nobody else waits",
  );
  t.equal(w.verdictOf(first), undefined);
  t.equal(w.handler.stats().held, 2);
  w.add("c1", 7, [C1]);
  t.same(w.verdictOf(first), { code: NF.REPEAT, mark: ALLOWED });
  t.same(w.verdictOf(second), { code: NF.REPEAT, mark: DENIED });
  t.match(w.findings[0]?.finding, { container: "c1", connection: { destination: BAD } });
  w.clock.advance(10_000);
  t.match(w.handler.stats(), { held: 0, heldTotal: 2, expired: 0 });
});

for (const failMode of ["open", "closed"] as const) {
  const failed = { code: failMode === "open" ? NF.ACCEPT : NF.DROP, mark: null };
  t.test(`${failMode} mode takes over`, async (t) => {
    const w = world({ failMode });
    t.equal(w.native.queue(5303).options.failOpen, failMode === "open");
    const waiting = Array.from({ length: 4 }, (_, index) =>
      w.idOf(from(ipv4(C1, GOOD, tcp(index, 2)), { physInDevice: 7 + index })),
    );
    t.same(w.send(from(ipv4(C1, GOOD, tcp(9, 2)))), failed, "when too many wait");
    w.clock.advance(199);
    t.equal(w.verdictOf(waiting[0]!), undefined);
    w.clock.advance(1);
    for (const id of waiting) t.same(w.verdictOf(id), failed, "when one has waited in vain");
    t.same(w.send(from(ipv4(C1, GOOD, tcp(9, 2)))), failed, "at once for a stranger");
    t.match(w.handler.stats(), { held: 0, expired: 4, notHeld: 2, failMode: 6 });

    w.add("c1", 7, [C1, C1_6]);
    t.same(w.send(from(Uint8Array.of(0x45, 0, 0, 1))), failed, "for what cannot be read");
    t.same(w.send(from(ipv4(C1, GOOD, udp(1, 2), { fragmentOffset: 8 }))), failed, "for a lone fragment");
    t.same(w.send(from(ipv6(C1_6, "2001:db8::1", udp(1, 2), [fragmentHeader(9, false)]))), failed);
    t.same(
      w.send(from(ipv4(C1, GOOD, { protocol: 47, bytes: new Uint8Array(8) }))),
      { code: NF.REPEAT, mark: failMode === "open" ? ALLOWED : DENIED },
      "for a protocol without ports, for the whole flow",
    );
    t.same(w.send(from(ipv4(C1, BAD, { protocol: 47, bytes: new Uint8Array(8) }))), {
      code: NF.REPEAT,
      mark: DENIED,
    });
    const held = w.idOf(from(ipv4("172.17.0.9", GOOD, tcp(1, 2)), { physInDevice: 70 }));
    w.handler.close();
    t.same(w.verdictOf(held), failed, "for what waits when it closes");
  });

  t.test(`a throw takes ${failMode} mode and the batch goes on`, async (t) => {
    const w = world({ failMode }, (event) => {
      if (event.port === 666) throw new Error("the number of the beast");
      return judge(event);
    });
    w.add("c1", 7, [C1]);
    const queue = w.native.queue(5303);
    const ids = queue.deliver(
      from(ipv4(C1, GOOD, tcp(1, 666))),
      from(ipv4(C1, BAD, tcp(1, 2))),
      from(ipv4(C1, GOOD, tcp(2, 666))),
    );
    t.same(
      ids.map((id) => w.verdictOf(id)),
      [failed, { code: NF.REPEAT, mark: DENIED }, failed],
    );
    t.same(w.failures, [["the number of the beast", 1]], "told once a second");
    w.clock.advance(1000);
    w.send(from(ipv4(C1, GOOD, tcp(1, 666))));
    t.same(w.failures.at(-1), ["the number of the beast", 2]);
    t.equal(w.handler.stats().errors, 3);
    t.equal(queue.stats().callbackErrors, 0);
  });
}

t.test("without bridge ports the address identifies, and that is counted", async (t) => {
  const w = world();
  w.add("c1", 7, [C1]);
  t.same(w.send({ payload: ipv4(C1, GOOD, tcp(1, 2)), inDevice: 3 }), { code: NF.REPEAT, mark: ALLOWED });
  t.equal(w.handler.stats().addressOnly, 1);
  t.same(
    w.send({ payload: ipv4(C1, GOOD, tcp(1, 2)), inDevice: 7 }),
    { code: NF.REPEAT, mark: ALLOWED },
    "a routed veth",
  );
  t.equal(w.handler.stats().addressOnly, 1);
  const waiting = w.idOf({ payload: ipv4("172.17.0.3", GOOD, tcp(1, 2)), inDevice: 3 });
  t.same(w.unknown, [[0, "172.17.0.3"]]);
  w.add("c2", 8, ["172.17.0.3"]);
  t.same(w.verdictOf(waiting), { code: NF.REPEAT, mark: ALLOWED });
});

t.test("a container that is cut off sends nothing", async (t) => {
  const w = world();
  w.add("c1", 7, [C1]).cut = true;
  t.same(w.send(from(ipv4(C1, GOOD, tcp(1, 2)))), { code: NF.DROP, mark: null });
  t.same(w.send(from(ipv4(C1, "8.8.8.8", udp(1, 53)))), { code: NF.DROP, mark: null });
  t.same(w.send(from(Uint8Array.of(1))), { code: NF.DROP, mark: null });
  t.same(
    w.send(from(ipv4("172.17.0.99", GOOD, tcp(1, 2)))),
    { code: NF.DROP, mark: null },
    "nor under an address that it has given itself",
  );
  t.equal(w.handler.stats().cut, 4);
  t.equal(w.findings.length, 0);
});

t.test("ports are learned once", async (t) => {
  const held = new Set<number>();
  const model = { learning: true };
  const view: ModelView = {
    key: "sha256:0",
    state: "learning",
    get learning() {
      return model.learning;
    },
    name: () => null,
    outboundPort: (_protocol, port) => held.has(port),
    listeningPort: () => false,
  };
  const w = world();
  w.add("c1", 7, [C1], { model: view });
  const ports = () => w.observations.filter(({ kind }) => kind === "outboundPort");
  for (const port of [443, 443, 80]) w.send(from(ipv4(C1, GOOD, tcp(1, port))));
  w.send(from(ipv4(C1, GOOD, udp(1, 443))));
  w.send(from(ipv4(C1, "172.17.0.9", tcp(1, 9000))));
  t.same(
    ports().map((one) => one.kind === "outboundPort" && [one.model, one.container, one.protocol, one.port]),
    [
      ["sha256:0", "c1", 6, 443],
      ["sha256:0", "c1", 6, 80],
      ["sha256:0", "c1", 17, 443],
    ],
  );
  t.match(
    w.observations.filter(({ kind }) => kind === "internalDestination"),
    [{ model: "sha256:0", container: "c1", protocol: 6, subnet: "172.17.0.0/24", port: 9000 }],
    "a destination inside, by its subnet",
  );
  w.add("c2", 8, ["172.17.0.3"], { model: view });
  w.send(from(ipv4("172.17.0.3", GOOD, tcp(1, 443)), { physInDevice: 8 }));
  t.equal(ports().length, 4, "by every container");
  model.learning = false;
  w.send(from(ipv4(C1, GOOD, tcp(1, 8443))));
  t.equal(ports().length, 4, "an active model is not taught");
  model.learning = true;
  held.add(443);
  w.clock.advance(60_000);
  w.send(from(ipv4(C1, GOOD, tcp(1, 443))));
  t.equal(ports().length, 4, "nor one that holds the port");
  held.clear();
  w.send(from(ipv4(C1, GOOD, tcp(1, 443))));
  t.equal(ports().length, 5, "one that was made to forget is");
});

t.test("a mask that is not two adjacent bits is refused", async (t) => {
  for (const markMask of [0, 1, 5, 0x70000, 0x80000000, 0x1_8000_0000]) {
    t.throws(() => world({ config: { ...config, markMask } }), { code: "TM_CONFIG" }, markMask.toString(16));
  }
  const high = world({ config: { ...config, markMask: 0xc0000000 } });
  high.add("c1", 7, [C1]);
  t.same(high.send(from(ipv4(C1, BAD, tcp(1, 2)))), { code: NF.REPEAT, mark: 0x80000000 });
});
