import fc from "fast-check";
import t from "tap";
import { parseAddress } from "../../src/address.ts";
import { parseAnswer } from "../../src/dns/answer.ts";
import {
  parseQuery,
  QUERY_IGNORE,
  QUERY_OK,
  Query,
  RCODE,
  rcodeName,
  readName,
  TYPE,
} from "../../src/dns/message.ts";
import { nameToWire, wireToName } from "../../src/name.ts";
import { typeName } from "../../src/record-type.ts";
import { askedType, parse, query, questionEnd, record, reply, wire } from "./wire.ts";

const BOUNDS = { minTTL: 0, maxTTL: 86_400, maxNegativeTTL: 900 };
const SEED = 12345;

function read(message: Uint8Array, at = 0): { result: number; query: Query } {
  const bytes = new Uint8Array(at + message.length + 8).fill(0xaa);
  bytes.set(message, at);
  const parsed = new Query();
  return { result: parseQuery(bytes, at, message.length, parsed, SEED), query: parsed };
}

function answerTo(asked: Buffer, message: Buffer): ReturnType<typeof parseAnswer> {
  const name = asked.subarray(12, questionEnd(asked) - 4);
  const folded = nameToWire(wireToName(name)) ?? new Uint8Array();
  return parseAnswer(message, 0, message.length, questionEnd(asked), folded, askedType(asked), BOUNDS);
}

const label = fc.string({ unit: fc.constantFrom(..."abcXYZ019-_"), minLength: 1, maxLength: 20 });
const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."));

t.test("a query reads as the independent codec reads it", async () => {
  fc.assert(
    fc.property(
      name,
      fc.constantFrom(1, 2, 5, 15, 16, 28, 33, 65),
      fc.option(fc.integer({ min: 0, max: 65_535 })),
      fc.boolean(),
      fc.integer({ min: 0, max: 9 }),
      (asked, type, size, dnssec, at) => {
        const message = query(asked, type, size === null ? {} : { edns: size, dnssec });
        const { result, query: parsed } = read(message, at);
        const theirs = parse(message);
        return (
          result === QUERY_OK &&
          wireToName(parsed.key) === theirs.questions[0]!.name.toLowerCase() &&
          parsed.type === theirs.questions[0]!.type &&
          parsed.end === questionEnd(message) &&
          parsed.edns === (size !== null) &&
          parsed.size === Math.max(size ?? 512, 512) &&
          (parsed.flags & 1) === (size !== null && dnssec ? 1 : 0)
        );
      },
    ),
    { numRuns: 500 },
  );
});

t.test("case does not change what a query is known by; type, DO and CD do", async (t) => {
  const hash = (message: Buffer): number => read(message).query.hash;
  t.equal(hash(query("WwW.ExAmPlE", 1)), hash(query("www.example", 1, { id: 9 })));
  const others = [
    query("www.example", 28),
    query("www.example", 1, { edns: 1232, dnssec: true }),
    query("www.example", 1, { flags: 0x0110 }),
    query("www.exampl.e", 1),
  ];
  for (const other of others) t.not(hash(other), hash(query("www.example", 1)));
});

t.test("what is malformed is refused as the RFCs say", async (t) => {
  const plain = query("www.example.com", 1);
  const with_ = (change: (message: Buffer) => Buffer | undefined): Buffer => {
    const copy = Buffer.from(plain);
    return change(copy) ?? copy;
  };
  const cases: readonly [string, Buffer, number, boolean][] = [
    ["empty", Buffer.alloc(0), QUERY_IGNORE, true],
    ["11 bytes", plain.subarray(0, 11), QUERY_IGNORE, true],
    ["a response", query("a", 1, { flags: 0x8180 }), QUERY_IGNORE, false],
    ["header alone", plain.subarray(0, 12), RCODE.FORMERR, true],
    ["opcode STATUS", query("a", 1, { flags: 0x1000 }), RCODE.NOTIMP, true],
    ["opcode UPDATE", query("a", 1, { flags: 0x2800 }), RCODE.NOTIMP, true],
    ["no question", with_((m) => void m.writeUInt16BE(0, 4)), RCODE.FORMERR, true],
    ["two questions", with_((m) => void m.writeUInt16BE(2, 4)), RCODE.FORMERR, true],
    ["256 questions", with_((m) => void m.writeUInt16BE(256, 4)), RCODE.FORMERR, true],
    ["an answer record", with_((m) => void m.writeUInt16BE(1, 6)), RCODE.FORMERR, true],
    ["an authority record", with_((m) => void m.writeUInt16BE(1, 8)), RCODE.FORMERR, true],
    ["OPT counted but absent", with_((m) => void m.writeUInt16BE(1, 10)), RCODE.FORMERR, true],
    ["two additional records", with_((m) => void m.writeUInt16BE(2, 10)), RCODE.FORMERR, true],
    ["trailing byte", Buffer.concat([plain, Buffer.from([0])]), RCODE.FORMERR, true],
    ["cut in the type", plain.subarray(0, plain.length - 3), RCODE.FORMERR, true],
    ["cut in a label", plain.subarray(0, 15), RCODE.FORMERR, true],
    ["a pointer to itself", with_((m) => m.fill(0xc0, 12, 13).fill(12, 13, 14)), RCODE.FORMERR, true],
    ["a forward pointer", with_((m) => m.fill(0xc0, 12, 13).fill(30, 13, 14)), RCODE.FORMERR, true],
    ["a label type 01", with_((m) => m.fill(0x41, 12, 13)), RCODE.FORMERR, true],
    ["a truncated query", query("a", 1, { flags: 0x0300 }), RCODE.FORMERR, true],
    ["class CHAOS", query("version.bind", 16, { class: 3 }), RCODE.REFUSED, false],
    ["class HESIOD", query("a", 1, { class: 4 }), RCODE.REFUSED, true],
    ["class ANY", query("a", 1, { class: 255 }), RCODE.REFUSED, true],
    ["AXFR", query("a", TYPE.AXFR), RCODE.REFUSED, false],
    ["IXFR", query("a", TYPE.IXFR), RCODE.REFUSED, false],
    ["type 0", query("a", 0), RCODE.FORMERR, true],
    ["type OPT", query("a", 41), RCODE.FORMERR, true],
    ["type TSIG", query("a", 250), RCODE.NOTIMP, true],
    ["EDNS version 1", query("a", 1, { edns: 1232, version: 1 }), RCODE.BADVERS, false],
    [
      "an option past its record",
      query("a", 1, { edns: 1232, options: [0, 8, 0, 9, 1] }),
      RCODE.FORMERR,
      true,
    ],
    ["half an option", query("a", 1, { edns: 1232, options: [0, 8, 0] }), RCODE.FORMERR, true],
    [
      "bytes behind OPT",
      Buffer.concat([query("a", 1, { edns: 1232 }), Buffer.from([1])]),
      RCODE.FORMERR,
      true,
    ],
    ["name over 255", query(Array(64).fill("abc").join("."), 1), RCODE.FORMERR, true],
  ];
  for (const [what, message, expected, isFault] of cases) {
    const { result, query: parsed } = read(message);
    t.equal(result, expected, what);
    t.equal(parsed.fault !== "", isFault, `${what}: ${parsed.fault}`);
  }
  t.equal(read(query(`${"a".repeat(63)}.example`, 1)).result, QUERY_OK);
  t.equal(read(query(`${Array(63).fill("abc").join(".")}.a`, 1)).result, QUERY_OK, "a name of 255 bytes");
  t.equal(read(query("a", 1, { edns: 4096, options: [0, 8, 0, 4, 0, 1, 24, 0] })).result, QUERY_OK);
});

t.test("no bytes make the parsers throw or read past the message", async () => {
  const asked = query("www.example.com", 1);
  const good = reply(asked, {
    answers: [record("www.example.com 60 CNAME a.example.com"), record("a.example.com 60 A 198.51.100.7")],
    authorities: [record("example.com 60 SOA ns.example.com root.example.com 300")],
  });
  fc.assert(
    fc.property(
      fc.constantFrom(asked, good, query("www.example.com", 1, { edns: 1232, options: [0, 10, 0, 2, 1, 2] })),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 6 }),
      fc.nat(400),
      (base, changes, length) => {
        const message = Buffer.from(base.subarray(0, length > 300 ? base.length : length));
        for (const [at, byte] of changes) if (message.length > 0) message[at % message.length] = byte;
        read(message);
        if (message.length >= questionEnd(asked)) answerTo(asked, message);
        return true;
      },
    ),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      read(bytes);
      if (bytes.length >= questionEnd(asked)) answerTo(asked, Buffer.from(bytes));
      return readName(bytes, 0, bytes.length >> 1, bytes.length, new Uint8Array(256)) <= bytes.length;
    }),
    { numRuns: 3000 },
  );
});

t.test("an answer's chain and addresses are laid out", async (t) => {
  const asked = query("www.example.com", 1);
  const answer = answerTo(
    asked,
    reply(asked, {
      answers: [
        record("b.example.org 30 A 198.51.100.8"),
        record("www.example.com 300 CNAME A.Example.NET"),
        record("a.example.net 200 CNAME b.example.org"),
        record("b.example.org 30 A 198.51.100.7"),
      ],
      authorities: [record("example.org 10 NS ns.example.org")],
      additionals: [record("ns.example.org 5 A 203.0.113.1")],
    }),
  );
  t.same(
    answer?.hops.map((hop) => wireToName(hop)),
    ["a.example.net", "b.example.org"],
  );
  t.same(
    answer?.addresses.map((bytes) => [...bytes]),
    [
      [198, 51, 100, 8],
      [198, 51, 100, 7],
    ],
  );
  t.match(answer, { lifetime: 30, answerCount: 4, authorityCount: 0 });
  t.equal(parse(answer!.bytes.subarray(0, answer!.length)).answers.length, 4);
});

t.test("hints and aliases of HTTPS records are addresses and hops", async (t) => {
  const asked = query("example.com", 65);
  const hints = "ipv4hint=198.51.100.7,10.0.0.1 ipv6hint=2001:db8::1,::ffff:192.0.2.1";
  const answer = answerTo(
    asked,
    reply(asked, { answers: [record(`example.com 60 HTTPS 1 svc.example.net ${hints}`)] }),
  );
  t.same(
    answer?.hops.map((hop) => wireToName(hop)),
    ["svc.example.net"],
  );
  t.same(
    answer?.addresses.map((bytes) => Buffer.from(bytes)),
    ["198.51.100.7", "10.0.0.1", "2001:db8::1", "192.0.2.1"].map((text) => Buffer.from(parseAddress(text)!)),
  );
});

t.test("DNAME targets are hops", async (t) => {
  const asked = query("www.old.example", 1);
  const answer = answerTo(
    asked,
    reply(asked, {
      answers: [
        record("old.example 60 DNAME new.example"),
        record("www.old.example 60 CNAME www.new.example"),
        record("www.new.example 60 A 198.51.100.7"),
      ],
    }),
  );
  t.same(
    answer?.hops.map((hop) => wireToName(hop)),
    ["www.new.example", "new.example"],
  );
});

t.test("answers that are malformed, or answer something else, are none", async (t) => {
  const asked = query("www.example.com", 1);
  const bad = (...answers: string[]): Buffer => reply(asked, { answers: answers.map(record) });
  const loop = bad("www.example.com 60 TYPE2 c000");
  const pointsAhead = bad("www.example.com 60 TYPE5 c0ff");
  t.equal(answerTo(asked, bad("other.example.com 60 A 198.51.100.7")), null, "an owner not asked for");
  t.equal(answerTo(asked, bad("www.example.com 60 TYPE1 c63364")), null, "an address of three bytes");
  t.equal(answerTo(asked, bad("www.example.com 60 TYPE28 c6336407")), null, "AAAA of four bytes");
  t.equal(answerTo(asked, loop), null, "a pointer into the header");
  t.equal(answerTo(asked, pointsAhead), null, "a pointer past the message");
  t.equal(answerTo(asked, bad("www.example.com 60 TYPE5 0161c00c00")), null, "bytes behind a name");
  t.equal(answerTo(asked, bad("www.example.com 60 TYPE65 000101")), null, "a target cut short is no record");
  const good = bad("www.example.com 60 A 198.51.100.7");
  t.equal(answerTo(asked, Buffer.concat([good, Buffer.from([0])])), null, "trailing bytes");
  t.equal(answerTo(asked, good.subarray(0, good.length - 1)), null, "cut short");
  const counted = Buffer.from(good);
  counted.writeUInt16BE(2, 6);
  t.equal(answerTo(asked, counted), null, "more records counted than there are");
  const chain = Array.from({ length: 20 }, (_, link) => `n${link}.example 60 CNAME n${link + 1}.example`);
  t.equal(answerTo(asked, bad("www.example.com 60 CNAME n0.example", ...chain)), null, "an endless chain");
  t.not(answerTo(asked, bad("www.example.com 60 CNAME www.example.com")), null, "a loop of one ends");
});

t.test("lifetimes: bounds, RFC 2308, RFC 2181", async (t) => {
  const asked = query("www.example.com", 1);
  const lifetime = (parts: Parameters<typeof reply>[1]): number =>
    answerTo(asked, reply(asked, parts))!.lifetime;
  t.equal(lifetime({ answers: [record("www.example.com 9999999 A 198.51.100.7")] }), 86_400);
  t.equal(lifetime({ answers: [record("www.example.com 4294967295 A 198.51.100.7")] }), 0, "top bit set");
  t.equal(lifetime({ answers: [] }), 0, "no data and no SOA is not kept");
  const soa = (ttl: number, minimum: number) => [
    record(`example.com ${ttl} SOA ns.example.com h.example.com ${minimum}`),
  ];
  t.equal(lifetime({ authorities: soa(300, 60) }), 60);
  t.equal(lifetime({ authorities: soa(30, 60) }), 30);
  t.equal(lifetime({ rcode: 3, authorities: soa(3600, 3600) }), 900, "no longer than maxNegativeTTL");
  t.equal(
    lifetime({ answers: [record("www.example.com 20 CNAME a.example.com")], authorities: soa(300, 60) }),
    20,
    "an alias without data lives as its shortest part",
  );
  t.equal(
    lifetime({ rcode: 2, answers: [record("www.example.com 60 A 198.51.100.7")] }),
    0,
    "SERVFAIL is not kept",
  );
});

t.test("mnemonics", async (t) => {
  t.equal(typeName(1), "A");
  t.equal(typeName(65), "HTTPS");
  t.equal(typeName(65_280), "TYPE65280");
  t.equal(rcodeName(3), "NXDOMAIN");
  t.equal(rcodeName(9), "RCODE9");
  t.equal(wire("a.b").length, 5);
});
