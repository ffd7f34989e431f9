/** Run by native.test.ts inside a network namespace: what only real sockets have. */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import t from "tap";
import { loadNative } from "../../src/native/native.ts";
import type { UdpArena, UdpSocketOptions } from "../../src/native/types.ts";
import { SLOT } from "../../src/native/types.ts";
import { prepareNamespace } from "./kernel-world.ts";
import { makeNamespace, run, sh } from "./namespace.ts";
import { ADDRESSES, until } from "./world.ts";

prepareNamespace();
const native = loadNative();

function openEcho(): UdpArena {
  const arena: UdpArena = native.openUdpArena(
    { slots: 64, slotSize: 2048, maxSends: 64, rounds: 4 },
    (socket, count) => {
      for (let slot = 0; slot < count; slot++) {
        arena.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = arena.meta[slot * SLOT.STRIDE + SLOT.RECEIVED]!;
        arena.list(slot, socket);
      }
    },
  );
  return arena;
}

function options(family: 4 | 6, more: Partial<UdpSocketOptions> = {}): UdpSocketOptions {
  const address = ADDRESSES[family].first;
  return { family, address, port: 0, firstSlot: 0, batch: 32, buffer: 1 << 22, ...more };
}

/** The descriptor of the UDP socket on that port of ours: its inode in /proc/net/udp, then the link to it. */
function descriptorOf(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const lines = readFileSync("/proc/self/net/udp", "latin1").split("\n");
  const inode = lines
    .map((line) => line.trim().split(/\s+/))
    .find((line) => line[1]?.endsWith(`:${hex}`))?.[9];
  for (const name of readdirSync("/proc/self/fd")) {
    if (Number(name) > 2 && linkOf(name) === `socket:[${inode}]`) return Number(name);
  }
  throw new Error(`no socket on port ${port}`);
}

function linkOf(name: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    // The descriptor of the listing itself, closed by now.
    return "";
  }
}

t.test("any address of the host answers as itself", async (t) => {
  const arena = openEcho();
  const { port } = arena.open(options(4, { address: "0.0.0.0" }));
  for (const address of ["127.0.0.1", "127.0.0.9", ADDRESSES[4].second]) {
    // A connected socket hears a reply only from the address that it asked.
    const client = createSocket("udp4");
    client.connect(port, address);
    await once(client, "connect");
    client.send("hello");
    const [reply] = (await once(client, "message")) as [Buffer];
    t.equal(reply.toString(), "hello", address);
    client.close();
  }
  arena.close();
});

t.test("a link-local question is answered by the interface it came by", async (t) => {
  const far = makeNamespace(t, "far");
  sh(`ip link add tmnear type veth peer name tmfar netns ${far}`);
  for (const place of [["-n", far], []]) {
    const device = place.length > 0 ? "tmfar" : "tmnear";
    const address = place.length > 0 ? "fe80::f" : "fe80::a";
    run("ip", ...place, "link", "set", device, "addrgenmode", "none");
    run("ip", ...place, "link", "set", device, "up");
    run("ip", ...place, "-6", "addr", "add", `${address}/64`, "dev", device, "nodad");
  }
  const near = native.links().find((link) => link.name === "tmnear");
  const there = native.links(`/run/netns/${far}`).find((link) => link.name === "tmfar");
  t.match(near, { kind: "veth", up: true, peer: there?.index, addresses: ["fe80::a/64"] });
  t.match(there, { kind: "veth", peer: near?.index, addresses: ["fe80::f/64"], master: 0 });
  t.match(near?.hardwareAddress ?? "", /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);

  const arena = openEcho();
  const { port } = arena.open(options(6, { address: "::" }));
  const zoned = arena.open(options(6, { address: "fe80::a%tmnear" }));
  const client = `
    const socket = require("node:dgram").createSocket("udp6");
    socket.on("message", (bytes, from) => { console.log(String(bytes), from.address); socket.close(); });
    socket.bind(0, "fe80::f%tmfar", () => socket.send("hello", Number(process.argv[1]), "fe80::a%tmfar"));`;
  for (const asked of [port, zoned.port]) {
    const child = spawn("nsenter", [
      `--net=/run/netns/${far}`,
      process.execPath,
      "-e",
      client,
      String(asked),
    ]);
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    t.equal(line.toString(), "hello fe80::a%tmfar\n");
    await once(child, "exit");
  }
  t.match(arena.stats(), { received: 2, sent: 2, sendErrors: 0 });
  arena.close();
});

t.test("an adopted descriptor is served, and stays the caller's", async (t) => {
  const owner = native.openUdpArena({ slots: 32, slotSize: 64, maxSends: 1, rounds: 1 }, () => undefined);
  const original = owner.open(options(4));
  const arena = openEcho();
  t.throws(() => arena.open(options(6, { fd: descriptorOf(original.port) })), {
    code: "TM_NATIVE_UNSUPPORTED",
  });
  t.throws(() => arena.open(options(4, { fd: 0x7ffffff })), { code: "TM_NATIVE_SYSCALL", message: /EBADF/ });
  const adopted = arena.open(options(4, { fd: descriptorOf(original.port) }));
  t.equal(adopted.port, original.port);
  owner.close();
  const client = createSocket("udp4");
  client.send("hello", adopted.port, ADDRESSES[4].first);
  const [reply] = (await once(client, "message")) as [Buffer];
  t.equal(reply.toString(), "hello");
  client.close();
  arena.close();
});

t.test("a peer that is away is counted, and heard when it is back", async (t) => {
  for (const family of [4, 6] as const) {
    const { second } = ADDRESSES[family];
    const place = createSocket({ type: `udp${family}`, ipv6Only: family === 6 });
    place.bind(0, second);
    await once(place, "listening");
    const { port } = place.address();
    place.close();
    await once(place, "close");

    const arena = openEcho();
    const socket = arena.open(options(family, { peer: { address: second, port } }));
    const ask = (): void => {
      arena.meta[50 * SLOT.STRIDE + SLOT.LENGTH] = 5;
      arena.list(50, socket.index);
      arena.flush();
    };
    ask();
    await until("the refusal was told", () => socket.refused === 1);
    ask();
    ask();
    await until("by the send that it kept waiting, too", () => socket.refused >= 2);
    t.equal(arena.stats().refused, socket.refused);
    t.match(arena.stats(), { sent: 3, sendErrors: 0 });

    const back = createSocket({ type: `udp${family}`, ipv6Only: family === 6 });
    back.bind(port, second);
    await once(back, "listening");
    ask();
    await once(back, "message");
    back.send("hello", socket.port, ADDRESSES[family].first);
    await once(back, "message");
    t.equal(arena.stats().received, 1, "and answered");
    back.close();
    arena.close();
  }
});

t.test("what a socket with a mark sends bears it", async (t) => {
  sh("iptables -t mangle -A OUTPUT -p udp -m mark --mark 0xab -m comment --comment marked");
  const client = createSocket("udp4");
  client.bind(0, ADDRESSES[4].second);
  await once(client, "listening");
  const arena = openEcho();
  const { port } = arena.open(options(4, { mark: 0xab }));
  client.send("hello", port, ADDRESSES[4].first);
  await once(client, "message");
  const listed = run("iptables", "-t", "mangle", "-nvxL", "OUTPUT");
  // The rule that clears marks of new flows stands before it and does not meet a reply.
  t.equal(/^\s*(\d+).*\/\* marked \*\//m.exec(listed)?.[1], "1");
  client.close();
  arena.close();
});

t.test("many datagrams at once are all answered", async (t) => {
  const arena = openEcho();
  const { port } = arena.open(options(4));
  const client = createSocket({ type: "udp4", recvBufferSize: 1 << 22 });
  let replies = 0;
  client.on("message", () => replies++);
  for (let index = 0; index < 2000; index++) client.send(`question ${index}`, port, ADDRESSES[4].first);
  await until("all replies came", () => replies === 2000);
  const stats = arena.stats();
  t.match(stats, { received: 2000, sent: 2000, sendErrors: 0, truncated: 0 });
  t.ok(stats.batches < 2000);
  client.close();
  arena.close();
});

t.test("connections of another namespace are reset at both ends, its listeners stay", async (t) => {
  const inside = makeNamespace(t, "tcp");
  const program = `
    const net = require("node:net");
    const ends = new Set();
    const told = (end) => (error) => { ends.add(end + " " + error.code); if (ends.size === 4) console.log([...ends].sort().join()); };
    for (const host of ["127.0.0.1", "::1"]) {
      const server = net.createServer((socket) => socket.on("error", told("server " + host)));
      server.listen(0, host, () => {
        const client = net.connect(server.address().port, host, () => console.log("connected"));
        client.on("error", told("client " + host));
      });
    }
    process.stdin.on("data", () => {
      const again = require("node:child_process").execSync("ss -ltnH", { encoding: "utf8" });
      console.log("listening " + again.trim().split("\\n").length);
      process.exit();
    });`;
  const child = spawn("nsenter", [`--net=/run/netns/${inside}`, process.execPath, "-e", program]);
  let output = "";
  child.stdout.on("data", (bytes) => (output += bytes));
  await until("both are connected", () => output === "connected\nconnected\n");
  // An end that hears the reset of its other end first is gone before its own turn.
  const destroyed = native.resetConnections(`/run/netns/${inside}`);
  t.ok(destroyed >= 2 && destroyed <= 4);
  await until("all four ends know", () => output.split("\n").length === 4);
  t.match(output, /client 127.0.0.1 ECONN(ABORTED|RESET),client ::1 ECONN/);
  t.equal(native.resetConnections(`/run/netns/${inside}`), 0);
  child.stdin.write("\n");
  await until("the listeners were counted", () => output.includes("listening 2"));
  if (child.exitCode === null) await once(child, "exit");
});

t.test("a path that is no network namespace is said so", async (t) => {
  t.throws(() => native.links("/etc/hostname"), {
    code: "TM_NATIVE_SYSCALL",
    message: /setns.*\/etc\/hostname/,
  });
  t.throws(() => native.resetConnections("/proc/self/ns/mnt"), { code: "TM_NATIVE_SYSCALL" });
});
