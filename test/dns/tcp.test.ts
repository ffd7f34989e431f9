import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import { Frames, frame } from "../../src/dns/stream.ts";
import { parse, query, record, reply } from "./wire.ts";
import { World, type WorldOptions } from "./world.ts";

async function world(t: Test, options: WorldOptions = {}): Promise<World> {
  const made = await World.start(options);
  t.teardown(() => made.close());
  made.onAsked = ({ message, answer }) =>
    answer(reply(message, { answers: [record(`${parse(message).questions[0]!.name} 60 A 198.51.100.7`)] }));
  return made;
}

interface Peer {
  readonly socket: Socket;
  readonly replies: Buffer[];
  closed: boolean;
}

/** A connection from loopback address 127.0.1.N, which stands for container cN. */
async function dial(t: Test, w: World, from: string, to = "127.0.0.1"): Promise<Peer> {
  const socket = connect({ host: to, port: w.config.port, localAddress: from });
  const peer: Peer = { socket, replies: [], closed: false };
  const frames = new Frames();
  socket.on("data", (segment: Buffer) => frames.push(segment, (message) => void peer.replies.push(message)));
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    peer.closed = true;
  });
  t.teardown(() => socket.destroy());
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  return peer;
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("it never happened");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test("pipelined, in pieces, many on one connection; large answers whole", async (t) => {
  const w = await world(t);
  w.onAsked = ({ message, answer }) => {
    const { name } = parse(message).questions[0]!;
    const count = name.startsWith("big") ? 80 : 1;
    answer(
      reply(message, {
        answers: Array.from({ length: count }, (_, index) => record(`${name} 60 A 198.51.100.${index}`)),
      }),
    );
  };
  const peer = await dial(t, w, "127.0.1.1");
  const stream = Buffer.concat(
    ["a", "big", "b", "a", "big"].map((name, id) => frame(query(`${name}.example`, 1, { id }))),
  );
  for (const byte of stream) peer.socket.write(Buffer.from([byte]));
  await until(() => peer.replies.length === 5);
  const byId = peer.replies.map((message) => parse(message)).toSorted((a, b) => a.header.id - b.header.id);
  t.same(
    byId.map(({ answers }) => answers.length),
    [1, 80, 1, 1, 80],
  );
  t.ok(byId.every(({ header }) => (header as { tc: number }).tc === 0));
  t.same(w.names("c1", "198.51.100.7"), ["big.example"]);
});

t.test("TCP lookups are decided like any", async (t) => {
  const w = await world(t, {
    policy: { version: 1, rules: [{ name: "r", dns: { effect: "prevent", denied: ["evil.example"] } }] },
  });
  const peer = await dial(t, w, "127.0.1.1");
  peer.socket.write(Buffer.concat(["evil.example", "good.example"].map((name) => frame(query(name, 1)))));
  await until(() => peer.replies.length === 1);
  t.equal(parse(peer.replies[0]!).questions[0]!.name, "good.example");
  t.match(w.findings, [{ effect: "prevent", container: "c1" }]);
});

t.test("only bridges' own addresses are served", async (t) => {
  const w = await world(t);
  const peer = await dial(t, w, "127.0.1.1", "127.0.0.2");
  peer.socket.write(frame(query("a.example", 1)));
  await until(() => peer.closed);
  t.equal(peer.replies.length, 0);
  t.match(w.dns.stats(), { connections: 0, refusedConnections: 1 });
});

t.test("connections per container are bounded, idle ones end", async (t) => {
  const w = await world(t, { config: { tcp: { connectionsPerContainer: 2, idleTimeout: 10_000 } } });
  const peers = [await dial(t, w, "127.0.1.1"), await dial(t, w, "127.0.1.1")];
  await until(() => w.dns.stats().connections === 2);
  const third = await dial(t, w, "127.0.1.1");
  await until(() => third.closed);
  const other = await dial(t, w, "127.0.1.2");
  await until(() => w.dns.stats().connections === 3);
  w.clock.advance(8000);
  peers[0]!.socket.write(frame(query("a.example", 1)));
  await until(() => peers[0]!.replies.length === 1);
  // Half a message is no use of the connection.
  peers[1]!.socket.write(Buffer.from([0]));
  w.clock.advance(4000);
  await until(() => peers[1]!.closed && other.closed);
  t.notOk(peers[0]!.closed);
  const again = await dial(t, w, "127.0.1.1");
  again.socket.write(frame(query("a.example", 1)));
  await until(() => again.replies.length === 1);
});

t.test("an unknown peer waits, a forgotten container's connections end", async (t) => {
  const w = await world(t);
  const peer = await dial(t, w, "127.0.1.5");
  peer.socket.write(frame(query("a.example", 1)));
  await until(() => w.unknown.length === 1);
  t.same(w.unknown, ["127.0.1.5"]);
  w.add("c5");
  w.dns.containersChanged();
  await until(() => peer.replies.length === 1);
  w.remove("c5");
  await until(() => peer.closed);
});

t.test("more under way than the pipeline takes: read on when answers come", async (t) => {
  const w = await world(t);
  w.onAsked = () => undefined;
  const peer = await dial(t, w, "127.0.1.1");
  for (let id = 0; id < 200; id++) peer.socket.write(frame(query(`n${id}.example`, 1, { id })));
  await until(() => w.asked.length >= 64);
  let answered = 0;
  await until(() => {
    while (answered < w.asked.length) {
      const { message, answer } = w.asked[answered++]!;
      answer(reply(message, {}));
    }
    return peer.replies.length === 200;
  });
  t.equal(new Set(peer.replies.map((message) => message.readUInt16BE(0))).size, 200);
});
