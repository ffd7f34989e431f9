import t, { type Test } from "tap";
import type { Effect } from "../../src/policy/types.ts";
import { askedName, type Message, parse, type QueryParts, query, record, reply, TYPES } from "./wire.ts";
import { type Asked, model, World, type WorldOptions } from "./world.ts";

async function world(t: Test, options: WorldOptions = {}): Promise<World> {
  const made = await World.start(options);
  t.teardown(() => made.close());
  return made;
}

/** An upstream that answers with records written as `NAME TTL TYPE DATA`; `@` is the name asked for. */
function answering(...records: string[]): (asked: Asked) => void {
  return ({ message, answer }) => {
    const name = askedName(message).toLowerCase();
    answer(reply(message, { answers: records.map((text) => record(text.replaceAll("@", name))) }));
  };
}
const nameError = ({ message, answer }: Asked): void =>
  answer(reply(message, { rcode: 3, authorities: [record("example 300 SOA ns.example h.example 60")] }));

function only(replies: readonly Buffer[]): Message {
  if (replies.length !== 1) throw new Error(`${replies.length} replies`);
  return parse(replies[0]!);
}

/** Extended DNS error codes in the reply. */
function extendedErrors(message: Buffer): number[] {
  const at = message.indexOf(Buffer.from([0, 15, 0, 2]));
  return at < 0 ? [] : [message.readUInt16BE(at + 4)];
}

const denying = (effect: Effect, ...denied: string[]) => ({
  version: 1 as const,
  rules: [{ name: "strict", dns: { effect, denied } }],
});

t.test("a lookup is forwarded, answered, cached, and its TTL counts down", async (t) => {
  const w = await world(t);
  w.onAsked = answering("@ 60 A 198.51.100.7");
  const first = only(w.ask("c1", "WWW.Example.com", 1, { id: 77 }));
  t.equal(first.header.id, 77);
  t.equal(first.questions[0]!.name, "WWW.Example.com");
  t.match(first.answers[0], { ttl: 60, address: "198.51.100.7" });
  t.match(first.header, { qr: 1, rd: 1, ra: 1, aa: 0, tc: 0, rcode: 0 });
  w.clock.advance(10_000);
  const second = only(w.ask("c1", "www.EXAMPLE.com", 1, { id: 78, edns: 1232 }));
  t.equal(second.questions[0]!.name, "www.EXAMPLE.com");
  t.equal(second.answers[0]!.ttl, 50);
  t.equal(second.additionals.length, 1);
  t.equal(w.asked.length, 1);
  t.match(w.dns.stats(), { lookups: 2, shortcuts: 1, sent: 1 });
  w.clock.advance(51_000);
  w.ask("c1", "www.example.com");
  t.equal(w.asked.length, 2);
});

t.test("what goes upstream is the question alone, with our EDNS", async (t) => {
  const w = await world(t);
  const options = [0, 8, 0, 8, 0, 1, 24, 0, 10, 1, 2, 3, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
  w.ask("c1", "www.ExAmple.com", 1, { edns: 4096, dnssec: true, options, flags: 0x0010 });
  const { message } = w.asked[0]!;
  t.equal(askedName(message), "www.ExAmple.com", "case is kept");
  t.equal(message.length, query("www.example.com", 1, { edns: 1232 }).length, "no options");
  t.equal(message.readUInt16BE(2), 0x0130, "RD set, AD set, CD copied");
  const tail = message.subarray(message.length - 11);
  t.same([...tail], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0], "size, version 0, DO copied");
});

t.test("query denied: nothing leaves the host", async (t) => {
  for (const effect of ["prevent", "block"] as const) {
    const w = await world(t, { policy: denying(effect, ".evil.example") });
    t.same(w.ask("c1", "a.evil.example"), []);
    t.equal(w.asked.length, 0);
    t.match(w.findings, [
      {
        type: "dns",
        attackType: "explicitlyDeniedDNS",
        effect,
        container: "c1",
        rule: "strict",
        message: "lookup of a.evil.example (A) is in denied names (.evil.example)",
        dns: { name: "a.evil.example", type: "A", answers: [], rcode: null },
        revision: 1,
        count: 1,
      },
    ]);
    w.onAsked = answering("@ 60 A 198.51.100.7");
    t.equal(
      w.ask("c1", "good.example").length,
      effect === "block" ? 0 : 1,
      "a container that is cut gets nothing",
    );
    t.equal(w.ask("c2", "good.example").length, 1);
  }
});

t.test("alert: answered, and told once with the answer", async (t) => {
  const w = await world(t, { policy: denying("alert", ".evil.example") });
  w.onAsked = answering("@ 60 A 198.51.100.7");
  for (const expected of [1, 2]) {
    t.equal(only(w.ask("c1", "evil.example")).answers.length, 1);
    t.equal(w.findings.length, expected, "a cached answer is told again");
  }
  t.match(w.findings[0], { effect: "alert", dns: { answers: ["198.51.100.7"], rcode: "NOERROR" } });
  t.match(w.dns.stats(), { shortcuts: 0, cached: 1, sent: 1 });
});

t.test("the same found about question and answer is told once", async (t) => {
  const w = await world(t, { policy: denying("alert", ".evil.example") });
  w.onAsked = answering("@ 60 CNAME b.evil.example", "b.evil.example 60 A 198.51.100.7");
  t.equal(only(w.ask("c1", "a.evil.example")).answers.length, 2);
  t.match(w.findings, [{ attackType: "explicitlyDeniedDNS", count: 1, dns: { name: "a.evil.example" } }]);
  t.equal(w.findings.length, 1);
  t.match(w.findings[0]?.reasons, [{ entry: ".evil.example" }, { subject: "b.evil.example" }]);
});

t.test("alert for a lookup that nobody answers is told too", async (t) => {
  const w = await world(t, { policy: denying("alert", ".evil.example") });
  const replies = w.ask("c1", "evil.example");
  t.equal(w.findings.length, 0);
  w.clock.advance(5000);
  t.equal(only(replies).header.rcode, 2);
  t.match(w.findings, [{ dns: { rcode: "SERVFAIL" } }]);
});

t.test("every hop and every address of the answer is decided", async (t) => {
  const policy = { version: 1 as const, rules: [{ name: "r", dns: { effect: "prevent" as const } }] };
  const w = await world(t, { policy, feed: ["evil.example", "203.0.113.9"] });
  const cases: readonly [string[], string][] = [
    [
      ["@ 60 CNAME b.example", "b.example 60 CNAME x.evil.example", "x.evil.example 60 A 198.51.100.7"],
      "is an alias of x.evil.example, which is listed by feed urlhaus (evil.example)",
    ],
    [
      ["@ 60 A 198.51.100.7", "@ 60 A 203.0.113.9"],
      "is answered with 203.0.113.9, which is listed by feed urlhaus",
    ],
    [["@ 60 AAAA ::ffff:203.0.113.9"], "is answered with 203.0.113.9, which is listed by feed urlhaus"],
    [
      ["@ 60 HTTPS 1 . ipv4hint=203.0.113.9"],
      "is answered with 203.0.113.9, which is listed by feed urlhaus",
    ],
    [
      ["@ 60 HTTPS 0 pool.evil.example"],
      "is an alias of pool.evil.example, which is listed by feed urlhaus (evil.example)",
    ],
  ];
  for (const [index, [records, message]] of cases.entries()) {
    w.onAsked = answering(...records);
    w.findings.length = 0;
    t.same(
      w.ask("c1", `q${index}.example`, record(records[0]!).type === 5 ? 1 : record(records[0]!).type),
      [],
    );
    t.equal(w.findings.length, 1);
    t.ok(w.findings[0]!.message.endsWith(message), w.findings[0]!.message);
    t.equal(w.dns.stats().bindings, 0, "nothing is bound that was not answered");
  }
});

t.test("the decision is each container's own, also on a cached and on a shared answer", async (t) => {
  const policy = {
    version: 1 as const,
    rules: [
      {
        name: "strict",
        scope: { containers: ["c1"] },
        dns: { effect: "prevent" as const, denied: ["b.example"] },
      },
      { name: "lax", dns: { effect: "alert" as const } },
    ],
  };
  const w = await world(t, { policy });
  const records = ["@ 60 CNAME b.example", "b.example 60 A 198.51.100.7"];
  // Both ask for the same name at the same time: one exchange, two verdicts.
  const [strict, lax] = [w.ask("c1", "a.example"), w.ask("c2", "a.example")];
  t.equal(w.asked.length, 1);
  t.equal(w.dns.stats().coalesced, 1);
  answering(...records)(w.asked[0]!);
  t.equal(strict.length, 0);
  t.equal(only(lax).answers.length, 2);
  // And from the cache, in both orders.
  for (const [container, expected] of [
    ["c2", 1],
    ["c1", 0],
    ["c2", 1],
  ] as const) {
    t.equal(w.ask(container, "a.example").length, expected, container);
  }
  t.equal(w.asked.length, 1);
  t.same(w.names("c2", "198.51.100.7"), ["a.example", "b.example"]);
  t.same(w.names("c1", "198.51.100.7"), []);
  t.ok(w.findings.every(({ container }) => container === "c1"));
});

t.test("a reload changes verdicts at once, without a purge", async (t) => {
  const w = await world(t);
  w.onAsked = answering("@ 600 A 198.51.100.7");
  for (let count = 0; count < 3; count++) t.equal(w.ask("c1", "a.example").length, 1);
  t.equal(w.dns.stats().shortcuts, 2);
  w.load(denying("prevent", "a.example"));
  t.equal(w.ask("c1", "a.example").length, 0);
  w.load(denying("prevent", "b.example"));
  t.equal(w.ask("c1", "a.example").length, 1);
  t.equal(w.asked.length, 1);
});

t.test("policy that changes while a lookup is under way decides it", async (t) => {
  const w = await world(t);
  const replies = w.ask("c1", "a.example");
  w.load(denying("prevent", "a.example"));
  answering("@ 60 A 198.51.100.7")(w.asked[0]!);
  t.equal(replies.length, 0);
  t.match(w.findings, [{ effect: "prevent", attackType: "explicitlyDeniedDNS" }]);
});

t.test("a container without a rule is answered, bound, and not judged", async (t) => {
  const policy = {
    version: 1 as const,
    rules: [
      {
        name: "other",
        scope: { containers: ["c9"] },
        dns: { effect: "prevent" as const, denied: ["a.example"] },
      },
    ],
  };
  const w = await world(t, { policy, feed: ["a.example"] });
  w.onAsked = answering("@ 60 A 198.51.100.7");
  for (let count = 0; count < 2; count++) t.equal(w.ask("c1", "a.example").length, 1);
  t.equal(w.findings.length, 0);
  t.equal(w.dns.stats().shortcuts, 1);
  t.same(w.names("c1", "198.51.100.7"), ["a.example"]);
  w.send("c1", Buffer.from("0000010000020000000000000161000001000100", "hex"));
  t.equal(w.findings.length, 0, "nor are its malformed messages told");
  t.equal(w.dns.stats().malformed, 1);
});

t.test("how a prevented lookup is answered", async (t) => {
  const policy = denying("prevent", "evil.example");
  const ask = async (preventResponse: World["config"]["preventResponse"], type: number) => {
    const w = await world(t, {
      policy,
      config: { preventResponse, sinkhole: { ipv4: "192.0.2.66", ipv6: "2001:db8::66" } },
    });
    return w.ask("c1", "evil.example", type, { edns: 1232 })[0];
  };
  t.equal(await ask("drop", 1), undefined);
  const nxdomain = (await ask("nxdomain", 1))!;
  t.match(parse(nxdomain), { header: { rcode: 3 }, answers: [], authorities: [{ type: 6, ttl: 10 }] });
  const refused = (await ask("refused", 1))!;
  t.match(parse(refused), { header: { rcode: 5 }, answers: [], authorities: [] });
  const sinkhole = (await ask("sinkhole", 1))!;
  t.match(parse(sinkhole), {
    header: { rcode: 0 },
    answers: [{ name: "evil.example", ttl: 10, address: "192.0.2.66" }],
  });
  const sinkhole6 = (await ask("sinkhole", 28))!;
  t.match(parse(sinkhole6).answers, [{ type: 28 }]);
  const noData = (await ask("sinkhole", 16))!;
  t.match(parse(noData), { header: { rcode: 0 }, answers: [], authorities: [{ type: 6 }] });
  for (const message of [nxdomain, refused, sinkhole, sinkhole6, noData])
    t.same(extendedErrors(message), [15]);
});

t.test("negative answers are kept as RFC 2308 says", async (t) => {
  const w = await world(t);
  w.onAsked = nameError;
  t.equal(only(w.ask("c1", "no.example")).header.rcode, 3);
  w.clock.advance(20_000);
  const cached = only(w.ask("c1", "no.example"));
  t.match(cached, { header: { rcode: 3 }, authorities: [{ type: 6, ttl: 40 }] });
  t.equal(w.asked.length, 1);
  w.clock.advance(41_000);
  w.ask("c1", "no.example");
  t.equal(w.asked.length, 2);
  w.onAsked = ({ message, answer }) => answer(reply(message, { rcode: 2 }));
  t.equal(only(w.ask("c1", "bad.example")).header.rcode, 2);
  t.equal(only(w.ask("c1", "bad.example")).header.rcode, 2);
  t.equal(
    w.asked.filter(({ message }) => askedName(message) === "bad.example").length,
    2,
    "SERVFAIL is not kept",
  );
});

t.test("TTL 0 is not kept, minTTL raises it", async (t) => {
  for (const [minTTL, asked] of [
    [0, 2],
    [5, 1],
  ] as const) {
    const w = await world(t, { config: { cache: { minTTL } } });
    w.onAsked = answering("@ 0 A 198.51.100.7");
    t.equal(only(w.ask("c1", "a.example")).answers[0]!.ttl, minTTL);
    w.ask("c1", "a.example");
    t.equal(w.asked.length, asked);
    t.same(w.names("c1", "198.51.100.7"), ["a.example"], "bound all the same");
  }
});

t.test("sections that nobody asked for do not reach the container", async (t) => {
  const w = await world(t);
  w.onAsked = ({ message, answer }) =>
    answer(
      reply(message, {
        answers: [record("a.example 60 A 198.51.100.7")],
        authorities: [record("example 60 NS ns.example")],
        additionals: [record("ns.example 60 A 203.0.113.1")],
      }),
    );
  t.match(only(w.ask("c1", "a.example")), { answers: [{}], authorities: [], additionals: [] });
});

t.test("replies fit the asker, else they are truncated", async (t) => {
  const w = await world(t);
  w.onAsked = answering(...Array.from({ length: 60 }, (_, index) => `@ 60 A 198.51.100.${index}`));
  for (const again of [false, true]) {
    const plain = w.ask("c1", "big.example")[0]!;
    t.equal(plain.length, query("big.example", 1).length, `again: ${again}`);
    t.match(parse(plain), { header: { tc: 1, rcode: 0 }, answers: [] });
    const large = w.ask("c1", "big.example", 1, { edns: 4096 })[0]!;
    t.match(parse(large).header, { tc: 0 });
    t.equal(parse(large).answers.length, 60);
    const small = w.ask("c1", "big.example", 1, { edns: 900 })[0]!;
    t.match(parse(small), { header: { tc: 1 }, answers: [] });
  }
});

t.test("AD and CD", async (t) => {
  const w = await world(t);
  w.onAsked = ({ message, answer }) =>
    answer(reply(message, { flags: 0x20, answers: [record("a.example 60 A 198.51.100.7")] }));
  const bits = (parts: QueryParts): number => w.ask("c1", "a.example", 1, parts)[0]![3]! & 0x30;
  t.equal(bits({}), 0, "not for those who would not understand it");
  t.equal(bits({ flags: 0x0120 }), 0x20);
  t.equal(bits({ edns: 1232, dnssec: true }), 0x20);
  t.equal(bits({ flags: 0x0110 }), 0x10);
  t.equal(bits({ flags: 0x0130 }), 0x30);
});

t.test("the canary, ANY, transfers, other classes and operations never leave the host", async (t) => {
  const w = await world(t);
  t.equal(only(w.ask("c1", "Use-Application-DNS.net")).header.rcode, 3);
  t.match(only(w.ask("c1", "a.example", 255)), { header: { rcode: 0 }, answers: [{ type: 13, ttl: 3600 }] });
  t.equal(only(w.ask("c1", "a.example", TYPES.AXFR)).header.rcode, 5);
  t.equal(only(w.ask("c1", "version.bind", 16, { class: 3 })).header.rcode, 5);
  t.equal(w.findings.length, 0);
  t.equal(only(w.ask("c1", "a.example", 1, { flags: 0x2800 })).header.rcode, 4);
  t.same(w.ask("c1", "a.example", 1, { flags: 0x8000 }), [], "a response is no query");
  t.equal(w.asked.length, 0);
});

t.test("malformed messages are refused, counted and told, a few in a second", async (t) => {
  const w = await world(t);
  const two = query("a.example", 1);
  two.writeUInt16BE(2, 4);
  for (let count = 0; count < 50; count++) t.equal(w.send("c1", two)[0]!.readUInt16BE(2) & 15, 1);
  t.equal(w.dns.stats().malformed, 50);
  t.equal(w.findings.length, 2);
  t.match(w.findings[0], {
    attackType: "malformedDNS",
    effect: "alert",
    message: "malformed lookup: not exactly one question",
    dns: null,
  });
  w.send("c2", two);
  t.equal(w.findings.length, 3, "each container for itself");
  w.clock.advance(1000);
  w.ask("c1", "a.example", 1, { class: 4 });
  t.match(w.findings[3], { dns: { name: "a.example", type: "A", rcode: "REFUSED" } });
  w.send("c1", Buffer.from([1, 2, 3]));
  t.equal(w.asked.length, 0);
});

t.test("names that were answered are taught once, and never those that are not", async (t) => {
  const w = await world(t);
  w.models.set("c1", model("sha256:c1", true));
  w.load({ version: 1, rules: [{ name: "r", dns: { effect: "alert" } }] });
  w.onAsked = answering("@ 600 A 198.51.100.7");
  for (let count = 0; count < 3; count++) w.ask("c1", "A.example");
  w.clock.advance(100_000);
  w.ask("c1", "a.example");
  t.match(w.observations, [{ kind: "name", model: "sha256:c1", container: "c1", name: "a.example" }]);
  t.equal(w.observations.length, 1, "not again for the same answer");
  w.onAsked = nameError;
  w.ask("c1", "no.example");
  w.onAsked = answering();
  w.ask("c1", "empty.example", 16);
  t.equal(w.observations.length, 1);
});

t.test("only guarded interfaces are served", async (t) => {
  const w = await world(t);
  t.same(w.send("c1", query("a.example", 1), "172.17.0.11", 3), []);
  t.equal(w.dns.stats().notServed, 1);
  t.equal(w.asked.length, 0);
});

t.test("an unknown source waits until it is known, bounded in number and time", async (t) => {
  const w = await world(t);
  w.onAsked = answering("@ 60 A 198.51.100.7");
  const waiting = [w.ask("c5", "a.example"), w.ask("c5", "b.example")];
  t.same(w.unknown, ["172.17.0.15"], "asked about once");
  t.equal(w.dns.stats().held, 2);
  w.dns.containersChanged();
  t.equal(waiting[0]!.length, 0);
  w.add("c5");
  w.dns.containersChanged();
  t.equal(only(waiting[0]!).questions[0]!.name, "a.example");
  t.equal(only(waiting[1]!).questions[0]!.name, "b.example");
  t.same(w.names("c5", "198.51.100.7"), ["b.example", "a.example"]);

  const late = w.ask("c6", "a.example");
  w.clock.advance(2500);
  w.add("c6");
  w.dns.containersChanged();
  t.equal(late.length, 0);
  t.equal(w.dns.stats().unknownDropped, 1);

  for (let count = 0; count < 100; count++) w.ask("c7", "a.example");
  t.equal(w.dns.stats().held, 32);
});

t.test("a container's lookups are limited by rate, and by what is under way", async (t) => {
  const w = await world(t, { config: { rate: 10, maxInFlight: 8 } });
  w.onAsked = answering("@ 60 A 198.51.100.7");
  let answered = 0;
  for (let count = 0; count < 30; count++) answered += w.ask("c1", "a.example").length;
  t.equal(answered, 10);
  t.equal(w.dns.stats().limited, 20);
  t.equal(w.ask("c2", "a.example").length, 1, "not the others'");
  w.clock.advance(500);
  answered = 0;
  for (let count = 0; count < 30; count++) answered += w.ask("c1", "a.example").length;
  t.equal(answered, 5);

  const busy = await world(t, { config: { maxInFlight: 8 }, containers: ["c1", "c2", "c3"] });
  const replies = Array.from({ length: 20 }, (_, index) => busy.ask("c1", `n${index}.example`));
  t.equal(busy.dns.stats().waiting, 4, "one container may fill half");
  t.equal(only(replies[4]!).header.rcode, 2);
  for (let index = 0; index < 20; index++) busy.ask("c2", `n${index}.example`);
  t.equal(busy.dns.stats().waiting, 8);
  t.equal(only(busy.ask("c3", "z.example")).header.rcode, 2);
  t.equal(busy.dns.stats().overloaded, 16 + 16 + 1);
  busy.clock.advance(5000);
  t.equal(busy.dns.stats().waiting, 0);
  t.equal(only(replies[0]!).header.rcode, 2);
});

t.test("an address that changed hands inherits nothing", async (t) => {
  const w = await world(t);
  const replies = w.ask("c1", "a.example");
  w.remove("c1");
  w.add("c1", 2);
  answering("@ 60 A 198.51.100.7")(w.asked[0]!);
  t.equal(replies.length, 0, "the old life's lookup is not answered to the new one");
  t.same(w.names("c1", "198.51.100.7"), []);
  w.onAsked = answering("@ 60 A 198.51.100.7");
  t.equal(w.ask("c1", "a.example").length, 1);
  t.same(w.names("c1", "198.51.100.7"), ["a.example"]);
  t.equal(w.dns.stats().bindings, 1);
});

t.test("stale answers, when nobody answers", async (t) => {
  const w = await world(t, { config: { cache: { serveStale: 3600 } } });
  w.onAsked = answering("@ 60 A 198.51.100.7");
  w.ask("c1", "a.example");
  w.onAsked = () => undefined;
  w.clock.advance(120_000);
  const replies = w.ask("c1", "a.example", 1, { edns: 1232 });
  t.equal(replies.length, 0);
  w.clock.advance(2000);
  t.match(only(replies).answers, [{ ttl: 30, address: "198.51.100.7" }]);
  t.same(extendedErrors(replies[0]!), [3]);
  w.clock.advance(3000);
  w.onAsked = ({ message, answer }) => answer(reply(message, { rcode: 2 }));
  t.equal(only(w.ask("c1", "a.example", 1, { edns: 512 })).answers.length, 1, "also when it fails");
  w.load(denying("prevent", "a.example"));
  t.equal(w.ask("c1", "a.example").length, 0, "decided like any other");
  w.load(denying("prevent", "b.example"));
  w.clock.advance(3_600_000);
  t.equal(only(w.ask("c1", "a.example")).header.rcode, 2);
});

t.test("a late upstream answer refreshes the cache after a stale one was given", async (t) => {
  const w = await world(t, { config: { cache: { serveStale: 3600 } } });
  w.onAsked = answering("@ 60 A 198.51.100.7");
  w.ask("c1", "a.example");
  w.onAsked = () => undefined;
  w.clock.advance(120_000);
  const replies = w.ask("c1", "a.example");
  w.clock.advance(2000);
  t.equal(replies.length, 1);
  answering("@ 60 A 198.51.100.8")(w.asked.at(-1)!);
  t.equal(replies.length, 1, "no second reply");
  t.match(only(w.ask("c1", "a.example")).answers, [{ address: "198.51.100.8", ttl: 60 }]);
});

t.test("IPv6 askers", async (t) => {
  const w = await world(t);
  w.onAsked = answering("@ 60 AAAA 2001:db8::7");
  t.match(only(w.send("c1", query("a.example", 28), "fd00::1")).answers, [{ type: 28 }]);
  t.same(w.names("c1", "2001:db8::7"), ["a.example"]);
});

t.test("a throw is one lookup's failure", async (t) => {
  const w = await world(t);
  w.onAsked = answering("@ 60 A 198.51.100.7");
  const { policy } = w;
  const rest = { withFeeds: policy.withFeeds, weigh: policy.weigh };
  w.policy = {
    ...rest,
    revision: 99,
    profileFor: (container, view) => policy.profileFor(container, view),
    decide: () => {
      throw new Error("boom");
    },
  };
  t.same(w.ask("c1", "a.example"), []);
  t.match(w.dns.stats(), { errors: 1, lastError: /boom/ });
  const decide: typeof policy.decide = (event) => {
    if (event.kind === "answer") throw new Error("late");
    return policy.decide(event);
  };
  w.policy = {
    ...rest,
    revision: 100,
    profileFor: (container, view) => policy.profileFor(container, view),
    decide,
  };
  t.same(w.ask("c1", "b.example"), []);
  t.match(w.dns.stats(), { errors: 2, lastError: /late/, waiting: 0 });
  w.policy = policy;
  t.equal(w.ask("c1", "a.example").length, 1);
});
