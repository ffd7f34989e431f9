import { createServer } from "node:net";
import t, { type Test } from "tap";
import { Frames, frame } from "../../src/dns/stream.ts";
import { parse, query, record, reply } from "./wire.ts";
import { type Asked, freePort, SECOND, UPSTREAM, World, type WorldOptions } from "./world.ts";

async function world(t: Test, options: WorldOptions = {}): Promise<World> {
  const made = await World.start({ upstreams: [UPSTREAM, SECOND], ...options });
  t.teardown(() => made.close());
  return made;
}

const good = (message: Buffer, address = "198.51.100.7"): Buffer =>
  reply(message, { answers: [record(`${parse(message).questions[0]!.name} 60 A ${address}`)] });

/** Waits for something that real sockets bring about. */
async function until(condition: () => boolean, step: () => void = () => undefined): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("it never happened");
    step();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test("a silent upstream is passed over for the next, whose answer counts", async (t) => {
  const w = await world(t);
  w.onAsked = ({ upstream, message, answer }) => {
    if (upstream === SECOND.address) answer(good(message));
  };
  const replies = w.ask("c1", "a.example");
  t.equal(replies.length, 0);
  w.clock.advance(600);
  t.equal(replies.length, 0);
  w.clock.advance(200);
  t.equal(replies.length, 1);
  t.same(
    w.asked.map(({ upstream }) => upstream),
    [UPSTREAM.address, SECOND.address],
  );
  t.not(
    w.asked[0]!.message.readUInt16BE(0),
    w.asked[1]!.message.readUInt16BE(0),
    "each with an id of its own",
  );
});

t.test("the late reply of one that was passed over still counts", async (t) => {
  const w = await world(t);
  const replies = w.ask("c1", "a.example");
  w.clock.advance(1000);
  t.equal(w.asked.length, 2);
  w.asked[0]!.answer(good(w.asked[0]!.message));
  t.equal(replies.length, 1);
  w.asked[1]!.answer(good(w.asked[1]!.message));
  t.equal(replies.length, 1);
  t.equal(w.dns.stats().unasked, 1);
});

t.test("an upstream that stays silent rests, and is tried again by one lookup at a time", async (t) => {
  const w = await world(t);
  w.onAsked = ({ upstream, message, answer }) => {
    if (upstream === SECOND.address) answer(good(message));
  };
  const firsts = (): number => w.asked.filter(({ upstream }) => upstream === UPSTREAM.address).length;
  for (let index = 0; index < 3; index++) {
    w.ask("c1", `n${index}.example`);
    w.clock.advance(800);
  }
  t.equal(firsts(), 3);
  for (let index = 0; index < 10; index++)
    t.equal(w.ask("c1", `r${index}.example`).length, 1, "answered at once");
  t.equal(firsts(), 3);
  w.clock.advance(1500);
  for (let index = 0; index < 10; index++) w.ask("c1", `s${index}.example`);
  t.equal(firsts(), 4, "one finds out");
  w.onAsked = ({ message, answer }) => answer(good(message));
  w.clock.advance(10_000);
  w.ask("c1", "u0.example");
  w.ask("c1", "u1.example");
  t.equal(firsts(), 6, "it is back");
});

t.test("many who wait for one silence count as one", async (t) => {
  const w = await world(t);
  for (let index = 0; index < 50; index++) w.ask("c1", `n${index}.example`);
  w.clock.advance(750);
  t.equal(w.dns.stats().silences, 1);
});

t.test("a failure is not passed on while another upstream may know better", async (t) => {
  const w = await world(t);
  w.onAsked = ({ upstream, message, answer }) =>
    answer(upstream === SECOND.address ? good(message) : reply(message, { rcode: 2 }));
  t.match(parse(w.ask("c1", "a.example")[0]!), { header: { rcode: 0 }, answers: [{}] });
  w.onAsked = ({ message, answer }) => answer(reply(message, { rcode: 5 }));
  t.equal(parse(w.ask("c1", "b.example")[0]!).header.rcode, 5, "when all fail, what they said");
});

t.test("an upstream that does not understand EDNS is asked without", async (t) => {
  const w = await world(t, { upstreams: [UPSTREAM] });
  w.onAsked = ({ message, answer }) =>
    answer(message[11] === 1 ? reply(message, { rcode: 1 }) : good(message));
  t.equal(w.ask("c1", "a.example").length, 1);
  t.equal(w.asked.length, 2);
});

t.test(
  "one deadline: SERVFAIL when nobody answers, and the upstreams are asked again until then",
  async (t) => {
    const w = await world(t);
    const replies = w.ask("c1", "a.example");
    w.clock.advance(3900);
    t.equal(replies.length, 0);
    w.clock.advance(200);
    t.equal(parse(replies[0]!).header.rcode, 2);
    t.ok(w.asked.length >= 4, `${w.asked.length} asked`);
    t.match(w.dns.stats(), { expired: 1, failed: 1, waiting: 0 });
  },
);

t.test("replies that do not fit are ignored, and the wait goes on", async (t) => {
  const w = await world(t);
  const replies = w.ask("c1", "www.Example.com");
  const { message } = w.asked[0]!;
  const id = message.readUInt16BE(0);
  const { from, to } = w.native.network.sent.at(-1)!;
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = good(message);
    change(bytes);
    return bytes;
  };
  const lies: readonly [string, Buffer, string?, number?][] = [
    ["wrong id", changed((bytes) => bytes.writeUInt16BE((id + 1) & 0xffff, 0))],
    ["another name", changed((bytes) => bytes.write("x", 13))],
    ["another case", changed((bytes) => bytes.write("e", 17))],
    ["another type", changed((bytes) => bytes.writeUInt16BE(28, 29))],
    ["a query", changed((bytes) => bytes.writeUInt16BE(0x0100, 2))],
    ["no question", changed((bytes) => bytes.writeUInt16BE(0, 4))],
    ["half of it", good(message).subarray(0, 20)],
    ["not asked for", reply(message, { answers: [record("evil.example 60 A 203.0.113.1")] })],
    ["malformed", changed((bytes) => bytes.writeUInt16BE(9, 6))],
    ["from elsewhere", good(message), "192.0.2.99"],
    ["to another of our ports", good(message), to.address, from.port + 1],
  ];
  for (const [what, bytes, source = to.address, port = from.port] of lies) {
    w.native.network.receive({
      from: { address: source, port: 53 },
      to: { address: from.address, port },
      bytes,
    });
    t.equal(replies.length, 0, what);
  }
  w.asked[0]!.answer(good(message));
  t.match(parse(replies[0]!).answers, [{ address: "198.51.100.7" }]);
  t.match(w.dns.stats(), { malformedAnswers: 2 });
  t.ok(w.dns.stats().unasked >= 6);
});

t.test("ids are random, ports are many and change", async (t) => {
  const w = await world(t, { upstreams: [UPSTREAM] });
  w.onAsked = ({ message, answer }) => answer(good(message));
  for (let index = 0; index < 300; index++) {
    w.ask("c1", `n${index}.example`);
    if (index % 50 === 0) w.clock.advance(5000);
  }
  const ids = new Set(w.asked.map(({ message }) => message.readUInt16BE(0)));
  const ports = new Set(
    w.native.network.sent.filter(({ to }) => to.address === UPSTREAM.address).map(({ from }) => from.port),
  );
  t.ok(ids.size > 280, `${ids.size} ids`);
  t.ok(ports.size > 50, `${ports.size} ports`);
});

t.test("identical lookups share one exchange, different ones do not", async (t) => {
  const w = await world(t, { upstreams: [UPSTREAM] });
  const replies = [
    w.ask("c1", "a.example", 1, { id: 1 }),
    w.ask("c2", "A.EXAMPLE", 1, { id: 2 }),
    w.ask("c1", "a.example", 28, { id: 3 }),
    w.ask("c1", "a.example", 1, { id: 4, edns: 1232, dnssec: true }),
  ];
  t.equal(w.asked.length, 3);
  for (const { message, answer } of [...w.asked])
    answer(message.readUInt16BE(27) === 28 ? reply(message, {}) : good(message));
  t.same(
    replies.map((list) => parse(list[0]!).header.id),
    [1, 2, 3, 4],
  );
  t.equal(parse(replies[1]![0]!).questions[0]!.name, "A.EXAMPLE");
});

t.test("a truncated reply is fetched over TCP, many at once on one connection", async (t) => {
  const port = await freePort();
  let connections = 0;
  const asked: string[] = [];
  const server = createServer((socket) => {
    connections++;
    const frames = new Frames();
    socket.on("error", () => socket.destroy());
    socket.on("data", (segment: Buffer) => {
      frames.push(segment, (message) => {
        const { name } = parse(message).questions[0]!;
        asked.push(name);
        const answers = Array.from({ length: 200 }, (_, index) => record(`${name} 60 A 198.51.100.${index}`));
        const framed = frame(reply(message, { answers }));
        // In pieces, so that the length is split too.
        for (const part of [framed.subarray(0, 1), framed.subarray(1, 700), framed.subarray(700)])
          socket.write(part);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const w = await world(t, { upstreams: [{ address: "127.0.0.1", port }] });
  w.onAsked = ({ message, answer }) => answer(reply(message, { flags: 0x0200 }));
  const replies = [w.ask("c1", "a.example"), w.ask("c1", "b.example", 1, { edns: 4096 })];
  await until(() => replies.every((list) => list.length === 1));
  t.match(parse(replies[0]![0]!), { header: { tc: 1 }, answers: [] });
  t.match(parse(replies[1]![0]!), { header: { tc: 1 }, answers: [] }, "over the asker's size still");
  t.same(asked.toSorted(), ["a.example", "b.example"]);
  t.equal(connections, 1);
  t.equal(w.dns.stats().streams, 2);
  t.equal(w.dns.stats().cacheEntries, 2);
});

t.test("TCP that cannot be had: the next upstream, then SERVFAIL", async (t) => {
  const port = await freePort();
  const truncated = ({ message, answer }: Asked): void => answer(reply(message, { flags: 0x0200 }));
  const w = await world(t, { upstreams: [{ address: "127.0.0.1", port }, SECOND] });
  w.onAsked = (asked) => {
    if (asked.upstream === SECOND.address) asked.answer(good(asked.message));
    else truncated(asked);
  };
  const replies = w.ask("c1", "a.example");
  await until(() => replies.length === 1);
  t.equal(parse(replies[0]!).header.rcode, 0);
  const alone = await world(t, { upstreams: [{ address: "127.0.0.1", port }] });
  alone.onAsked = truncated;
  const failed = alone.ask("c1", "a.example");
  await until(() => failed.length === 1);
  t.equal(parse(failed[0]!).header.rcode, 2);
});

t.test("frames are put together wherever the stream is cut", async (t) => {
  const messages = [
    query("a.example", 1),
    Buffer.alloc(0),
    query("b.example", 28),
    Buffer.alloc(70_000 & 0xffff, 7),
  ];
  const stream = Buffer.concat(messages.map((message) => frame(message)));
  for (const size of [1, 2, 3, 7, 100, stream.length]) {
    const frames = new Frames();
    const got: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) {
      frames.push(stream.subarray(at, at + size), (message) => got.push(message));
    }
    t.same(
      got.map((message) => message.length),
      messages.map((message) => message.length),
      `pieces of ${size}`,
    );
  }
});
