/** The proxy on the real addon and real sockets of loopback, which plays the guarded bridge. */
import { createSocket } from "node:dgram";
import { readdirSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import t, { type Test } from "tap";
import { formatAddress } from "../../src/address.ts";
import { systemClock } from "../../src/clock.ts";
import { ContainerTable } from "../../src/container/table.ts";
import { type DnsDependencies, type DnsServer, startDns } from "../../src/dns/server.ts";
import type { UpstreamAddress } from "../../src/dns/upstream-server.ts";
import { loadNative } from "../../src/native/native.ts";
import type { Native } from "../../src/native/types.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import { parse, query, record, reply } from "./wire.ts";
import { dnsConfig, feedOf, freePort } from "./world.ts";

let native: Native | null = null;
let missing = "";
try {
  native = loadNative();
} catch (error) {
  missing = error instanceof Error ? error.message : String(error);
}
const skip = native === null ? `the addon cannot be loaded: ${missing}` : false;
const ipv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === "::1"),
);

/** A UDP server on loopback that answers as told; null: silence. */
async function upstreamServer(t: Test, answer: (message: Buffer) => Buffer | null): Promise<UpstreamAddress> {
  const socket = createSocket("udp4");
  socket.on("message", (message, peer) => {
    const made = answer(message);
    if (made !== null) socket.send(made, peer.port, peer.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  t.teardown(() => socket.close());
  return { address: "127.0.0.1", port: socket.address().port };
}

interface Host {
  readonly dns: DnsServer;
  readonly port: number;
  readonly findings: string[];
}

async function host(
  t: Test,
  upstreams: readonly UpstreamAddress[],
  serves: (index: number) => boolean,
  sockets?: DnsDependencies["sockets"],
): Promise<Host> {
  const table = new ContainerTable();
  for (const [index, addresses] of [["127.0.1.1", "::1"], ["127.0.1.2"]].entries()) {
    table.upsert({
      id: `c${index + 1}`,
      name: `c${index + 1}`,
      image: "docker.io/library/test:latest",
      imageDigest: "sha256:1",
      namespace: null,
      labels: {},
      state: "running",
      pid: index + 1,
      startedAt: 1,
      networkNamespace: "",
      networks: [{ id: "n", name: "n", bridge: "lo", vethIndex: 1000 + index, veth: "v", addresses }],
      networkMode: "bridge",
    });
  }
  const policy = compilePolicy(
    {
      version: 1,
      rules: [
        {
          name: "strict",
          scope: { containers: ["c1"] },
          dns: { effect: "prevent", denied: [".evil.example"] },
        },
        { name: "lax", dns: { effect: "alert" } },
      ],
    },
    feedOf("f", []),
    { revision: 1, host: "host" },
  );
  table.assign((container) => policy.profileFor(container, null));
  const findings: string[] = [];
  for (let attempt = 0; ; attempt++) {
    const port = await freePort();
    try {
      const dns = await startDns({
        native: native!,
        clock: systemClock,
        config: dnsConfig({ port, deadline: 3000, retryAfter: 100 }),
        upstreams,
        table,
        policy: () => policy,
        serves,
        bridgeAddress: (address) => (formatAddress(address).startsWith("127.") ? 1 : 0),
        unknown: () => undefined,
        report: ({ message }) => findings.push(message),
        observe: () => undefined,
        ...(sockets === undefined ? {} : { sockets }),
      });
      t.teardown(() => dns.close());
      return { dns, port, findings };
    } catch (error) {
      if (attempt > 5) throw error;
    }
  }
}

/** Our open sockets: what the link in /proc says, to the descriptor. */
function openSockets(): Map<string, number> {
  const sockets = new Map<string, number>();
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      if (link.startsWith("socket:")) sockets.set(link, Number(fd));
    } catch {
      // The descriptor that listed the folder is gone by now.
    }
  }
  return sockets;
}

interface Reply {
  readonly message: Buffer;
  readonly from: string;
}

/** Asks over UDP from an address of loopback; the list grows when the reply comes. */
async function send(t: Test, port: number, message: Buffer, from: string, to: string): Promise<Reply[]> {
  const socket = createSocket(from.includes(":") ? "udp6" : "udp4");
  const replies: Reply[] = [];
  socket.on("message", (received, peer) => replies.push({ message: received, from: peer.address }));
  t.teardown(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, from, resolve));
  await new Promise<void>((resolve) => socket.send(message, port, to, () => resolve()));
  return replies;
}

async function ask(t: Test, port: number, message: Buffer, from: string, to = "127.0.0.1"): Promise<Reply> {
  const replies = await send(t, port, message, from, to);
  await until(() => replies.length > 0);
  return replies[0]!;
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("it never happened");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const good = (message: Buffer): Buffer =>
  reply(message, { answers: [record(`${parse(message).questions[0]!.name} 60 A 198.51.100.7`)] });

t.test("a lookup through real sockets, answered from the address asked", { skip }, async (t) => {
  let asked = 0;
  const upstream = await upstreamServer(t, (message) => {
    asked++;
    return good(message);
  });
  const { dns, port, findings } = await host(t, [upstream], (index) => index === 1);
  for (const to of ["127.0.0.1", "127.0.0.9"]) {
    const { message, from } = await ask(t, port, query("a.example", 1, { id: 5 }), "127.0.1.1", to);
    t.equal(from, to);
    t.match(parse(message), { header: { id: 5, rcode: 0 }, answers: [{ address: "198.51.100.7" }] });
  }
  t.equal(asked, 1);
  if (ipv6) t.equal((await ask(t, port, query("a.example", 1), "::1", "::1")).from, "::1");
  await ask(t, port, query("x.evil.example", 1), "127.0.1.2");
  const silent = await send(t, port, query("x.evil.example", 1), "127.0.1.1", "127.0.0.1");
  await until(() => dns.stats().prevented === 1);
  await ask(t, port, query("b.example", 1), "127.0.1.1");
  t.equal(silent.length, 0);
  t.same(findings, ["lookup of x.evil.example (A) is in denied names (.evil.example)"]);
  t.match(dns.stats(), { errors: 0, notServed: 0 });
});

t.test("failover from a port where nobody listens", { skip }, async (t) => {
  const nobody = { address: "127.0.0.1", port: await freePort() };
  const upstream = await upstreamServer(t, good);
  const { port } = await host(t, [nobody, upstream], (index) => index === 1);
  const names = ["a", "b", "c", "d", "e"];
  const replies = await Promise.all(
    names.map((name) => ask(t, port, query(`${name}.example`, 1), "127.0.1.1")),
  );
  t.ok(replies.every(({ message }) => parse(message).answers.length === 1));
});

t.test("an interface that is not guarded is not served", { skip }, async (t) => {
  const upstream = await upstreamServer(t, good);
  const { dns, port } = await host(t, [upstream], () => false);
  const replies = await send(t, port, query("a.example", 1), "127.0.1.1", "127.0.0.1");
  await until(() => dns.stats().notServed === 1);
  t.equal(replies.length, 0);
});

t.test("a bound descriptor is used instead of a socket of our own", { skip }, async (t) => {
  const upstream = await upstreamServer(t, good);
  const arena = native!.openUdpArena({ slots: 1, slotSize: 64, maxSends: 1, rounds: 1 }, () => undefined);
  t.teardown(() => arena.close());
  const before = openSockets();
  const options = {
    family: 4,
    address: "127.0.0.1",
    port: 0,
    firstSlot: 0,
    batch: 1,
    buffer: 65_536,
  } as const;
  const given = arena.open(options);
  const [, fd = -1] = [...openSockets()].find(([link]) => !before.has(link)) ?? [];
  const { dns } = await host(t, [upstream], (index) => index === 1, { udp: [fd], tcp: [] });
  // It was duplicated; from here on the proxy alone reads from it.
  arena.close();
  await ask(t, given.port, query("a.example", 1), "127.0.1.1");
  t.equal(dns.stats().lookups, 1);
});

t.test("a port in use is told as such", { skip }, async (t) => {
  const upstream = await upstreamServer(t, good);
  const { port } = await host(t, [upstream], () => true);
  const again = startDns({
    native: native!,
    clock: systemClock,
    config: dnsConfig({ port }),
    upstreams: [upstream],
    table: new ContainerTable(),
    policy: () => compilePolicy({ version: 1, rules: [] }, feedOf("f", []), { revision: 1, host: "h" }),
    serves: () => true,
    bridgeAddress: () => 1,
    unknown: () => undefined,
    report: () => undefined,
    observe: () => undefined,
  });
  await t.rejects(again, { code: "TM_PORT_IN_USE" });
});
