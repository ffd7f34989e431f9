import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { parseAddress, parsePrefix, prefixContains } from "../../src/address.ts";
import { TidesmanError } from "../../src/errors.ts";
import type { FeedList } from "../../src/feed/compile.ts";
import { DomainSet } from "../../src/feed/domain-set.ts";
import { directoryWord, HEADER, nextDirectoryWord, ROW_BUCKETS, ROW_WORDS } from "../../src/feed/format.ts";
import { SuffixHash } from "../../src/feed/hash.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { parseAddresses, parseDomains } from "../../src/feed/parse.ts";
import { PrefixSet } from "../../src/feed/prefix-set.ts";
import type { CompiledFeeds, FeedSource } from "../../src/feed/types.ts";
import { nameToWire } from "../../src/name.ts";
import type { FeedHit, FeedIndex } from "../../src/policy/types.ts";
import { compileFeeds } from "./builds.ts";

const SEED = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const withData = existsSync(DATA) ? {} : { skip: `no real data: ${DATA} does not exist` };

/** A feed of the lines given, parsed and ready to be compiled. */
function feed(
  name: string,
  kind: "domain" | "address",
  lines: string[],
  more: Partial<FeedSource> = {},
): FeedList {
  const source: FeedSource = { name, path: `/${name}`, kind, match: "suffix", enabled: true, ...more };
  const body = Buffer.from(lines.join("\n"));
  const { entries, count } = kind === "domain" ? parseDomains(body, source.match) : parseAddresses(body);
  const status = { name, kind, entries: count, refused: 0, samples: [], loadedAt: 0, error: null };
  return { source, status, entries };
}

const indexes = new WeakMap<CompiledFeeds, FeedIndex>();
function opened(compiled: CompiledFeeds): FeedIndex {
  const index = indexes.get(compiled) ?? openBoth(compiled);
  indexes.set(compiled, index);
  return index;
}

/** The index whose look-ups of names are native, once the one in TypeScript gives the same. */
function openBoth(compiled: CompiledFeeds): FeedIndex {
  const native = openFeeds(compiled);
  const portable = openFeeds(compiled, { portable: true });
  return {
    ...native,
    domain(bytes, offset) {
      const hits = native.domain(bytes, offset);
      const expected = portable.domain(bytes, offset).map(text).join();
      if (hits.map(text).join() !== expected) throw new Error(`${hits.map(text)} instead of ${expected}`);
      return hits;
    },
  };
}

/** Hits on a name as text `feed:entry:match`, the longest entry first. */
function domainHits(compiled: CompiledFeeds, name: string | Uint8Array): string[] {
  const wire = typeof name === "string" ? nameToWire(name) : name;
  if (wire === null) throw new Error(`no name: ${JSON.stringify(name)}`);
  // In the middle of a packet, as it comes.
  const packet = new Uint8Array(wire.length + 20).fill(0xc0);
  packet.set(wire, 12);
  return opened(compiled).domain(packet, 12).map(text);
}

function addressHits(compiled: CompiledFeeds, address: string): string[] {
  const bytes = parseAddress(address);
  if (bytes === null) throw new Error(`no address: ${address}`);
  const packet = new Uint8Array(40).fill(0xff);
  packet.set(bytes, 12);
  return opened(compiled)
    .address(packet, 12, bytes.length === 4 ? 4 : 16)
    .map(text);
}

function text({ feed, entry, match, effect }: FeedHit): string {
  return `${feed}:${entry}:${match}${effect === undefined ? "" : `:${effect}`}`;
}

t.test("suffix and exact entries, case, several feeds", async (t) => {
  const compiled = compileFeeds(
    [
      feed("one", "domain", ["evil.example", "deep.in.evil.example", "bücher.example"], { effect: "block" }),
      feed("two", "domain", ["evil.example", "exact.example", "*.below.example"], { match: "exact" }),
    ],
    SEED,
  );
  t.strictSame(domainHits(compiled, "evil.example"), [
    "one:evil.example:suffix:block",
    "two:evil.example:exact",
  ]);
  t.strictSame(domainHits(compiled, "WWW.Evil.Example"), ["one:evil.example:suffix:block"]);
  t.strictSame(domainHits(compiled, "x.deep.in.evil.example"), [
    "one:deep.in.evil.example:suffix:block",
    "one:evil.example:suffix:block",
  ]);
  t.strictSame(domainHits(compiled, "in.evil.example"), ["one:evil.example:suffix:block"]);
  t.strictSame(domainHits(compiled, "exact.example"), ["two:exact.example:exact"]);
  t.strictSame(domainHits(compiled, "a.exact.example"), []);
  t.strictSame(domainHits(compiled, "a.below.example"), ["two:below.example:suffix"]);
  t.strictSame(domainHits(compiled, "bücher.example"), ["one:xn--bcher-kva.example:suffix:block"]);
  for (const name of ["example", ".", "notevil.example", "evil.example.com", "evil-example.com"]) {
    t.strictSame(domainHits(compiled, name), [], name);
  }
});

t.test("bytes that are no name, or a name with a dot inside a label, hit nothing", async (t) => {
  const compiled = compileFeeds([feed("one", "domain", ["evil.example", "b.evil.example"])], SEED);
  const index = opened(compiled);
  t.strictSame(domainHits(compiled, "b\\.evil.example"), [], "`b.evil` as one label");
  t.strictSame(domainHits(compiled, "a\\010evil.example"), []);
  t.strictSame(
    domainHits(compiled, "\\255\\000.evil.example"),
    ["one:evil.example:suffix"],
    "8-bit labels below",
  );
  for (const bytes of [
    [],
    [4],
    [64, ...new Array<number>(64).fill(97), 0],
    [0xc0, 0],
    [4, 101, 118, 105, 108, 7, 101],
    new Array<number>(400).fill(1),
    Array.from({ length: 300 }, (_, at) => (at % 2 === 0 ? 1 : 97)),
  ]) {
    t.strictSame(index.domain(Uint8Array.from(bytes), 0), []);
    t.strictSame(index.domain(Uint8Array.from(bytes), 1000), []);
  }
});

t.test("a miss gives the one shared empty array", async (t) => {
  const index = opened(compileFeeds([feed("one", "domain", ["evil.example"], { match: "exact" })], SEED));
  const miss = index.domain(nameToWire("good.example")!, 0);
  t.equal(index.domain(nameToWire("below.evil.example")!, 0), miss);
  t.equal(index.address(Uint8Array.of(1, 2, 3, 4), 0, 4), index.address(new Uint8Array(16), 0, 16));
  t.ok(Object.isFrozen(miss));
});

t.test("addresses: all prefixes around one, the longest first", async (t) => {
  const compiled = compileFeeds(
    [
      feed("one", "address", ["198.51.100.0/24", "198.51.100.7", "2001:db8::/32", "2001:db8::1"]),
      feed("two", "address", ["198.51.0.0/16", "198.51.100.7", "::ffff:203.0.113.9"], { effect: "alert" }),
    ],
    SEED,
  );
  t.strictSame(addressHits(compiled, "198.51.100.7"), [
    "one:198.51.100.7:address",
    "two:198.51.100.7:address:alert",
    "one:198.51.100.0/24:address",
    "two:198.51.0.0/16:address:alert",
  ]);
  t.strictSame(addressHits(compiled, "198.51.100.8"), [
    "one:198.51.100.0/24:address",
    "two:198.51.0.0/16:address:alert",
  ]);
  t.strictSame(addressHits(compiled, "198.51.255.255"), ["two:198.51.0.0/16:address:alert"]);
  t.strictSame(addressHits(compiled, "198.52.0.0"), []);
  t.strictSame(addressHits(compiled, "0.0.0.0"), []);
  t.strictSame(addressHits(compiled, "2001:db8::1"), [
    "one:2001:db8::1:address",
    "one:2001:db8::/32:address",
  ]);
  t.strictSame(addressHits(compiled, "2001:db9::"), []);
  t.strictSame(addressHits(compiled, "::ffff:203.0.113.9"), ["two:203.0.113.9:address:alert"]);
  t.strictSame(addressHits(compiled, "203.0.113.9"), ["two:203.0.113.9:address:alert"]);
});

t.test("nothing at all", async (t) => {
  for (const lists of [[], [feed("one", "domain", []), feed("two", "address", [])]]) {
    const compiled = compileFeeds(lists, SEED);
    t.strictSame(domainHits(compiled, "evil.example"), []);
    t.strictSame(addressHits(compiled, "192.0.2.1"), []);
    t.strictSame(addressHits(compiled, "::1"), []);
  }
});

t.test("domains against a walk over sets of strings", async () => {
  const label = fc.stringMatching(/^[ab]{1,2}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => `${labels.join(".")}.zz`);
  const list = fc.record({
    match: fc.constantFrom<"suffix" | "exact">("suffix", "exact"),
    names: fc.array(name, { maxLength: 40 }),
  });
  fc.assert(
    fc.property(
      fc.array(list, { maxLength: 5 }),
      fc.array(name, { maxLength: 40 }),
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      (lists, asked, seed) => {
        const compiled = compileFeeds(
          lists.map(({ match, names }, number) => feed(`f${number}`, "domain", names, { match })),
          seed,
        );
        for (const question of [...asked, ...lists.flatMap(({ names }) => names.slice(0, 5))]) {
          const expected: string[] = [];
          for (let rest = question; rest.includes("."); rest = rest.slice(rest.indexOf(".") + 1)) {
            for (const [number, { match, names }] of lists.entries()) {
              if (!new Set(names).has(rest)) continue;
              if (match === "suffix" || rest === question) expected.push(`f${number}:${rest}:${match}`);
            }
          }
          const wire = nameToWire(question.toUpperCase())!;
          const mixed = wire.map((byte, at) => (at % 3 === 0 && byte >= 97 ? byte - 32 : byte));
          if (domainHits(compiled, mixed).sort().join() !== expected.sort().join()) {
            throw new Error(`${question}: ${domainHits(compiled, mixed)} instead of ${expected}`);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

t.test("addresses against a scan of all prefixes", async () => {
  // Few distinct bits, so that prefixes nest and touch.
  const byte = fc.constantFrom(0, 1, 127, 128, 255);
  const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join("."));
  const group = fc.constantFrom("0", "1", "8000", "ffff");
  const ipv6 = fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(":"));
  const prefix = fc.oneof(
    fc.tuple(ipv4, fc.integer({ min: 8, max: 32 })).map(([address, length]) => `${address}/${length}`),
    fc.tuple(ipv6, fc.integer({ min: 16, max: 128 })).map(([address, length]) => `${address}/${length}`),
    ipv4,
    ipv6,
  );
  const lists = fc.array(fc.array(prefix, { maxLength: 40 }), { maxLength: 4 });
  fc.assert(
    fc.property(lists, fc.array(fc.oneof(ipv4, ipv6), { maxLength: 40 }), (lists, asked) => {
      const compiled = compileFeeds(
        lists.map((lines, number) => feed(`f${number}`, "address", lines)),
        SEED,
      );
      for (const address of asked) {
        const bytes = parseAddress(address)!;
        const mapped = /^0:0:0:0:0:ffff:/.test(address);
        const expected = lists.flatMap((lines, number) => {
          const around = lines
            .map((line) => parsePrefix(line)!)
            .filter((known) => {
              return !mapped && known.bytes.length === bytes.length && prefixContains(known, bytes);
            });
          return [...new Set(around.map((known) => `f${number}/${known.length}`))];
        });
        if (mapped) continue;
        const found = addressHits(compiled, address);
        const lengths = found.map((hit) => {
          const entry = hit.replace(/^f\d+:/, "").replace(/:address$/, "");
          return `${hit.slice(0, 2)}/${parsePrefix(entry)!.length}`;
        });
        if (lengths.slice().sort().join() !== expected.sort().join()) {
          throw new Error(`${address}: ${found} instead of ${expected}`);
        }
      }
    }),
    { numRuns: 300 },
  );
});

t.test(
  "the same lists and seed give the same bytes; another seed other ones, and the same answers",
  async (t) => {
    const names = Array.from({ length: 3000 }, (_, number) => `n${number}.h${number % 7}.example`);
    const lists = [
      feed("one", "domain", names),
      feed("two", "domain", names.slice(0, 50), { match: "exact" }),
    ];
    const first = compileFeeds(lists, SEED);
    t.strictSame(Buffer.from(compileFeeds(lists, SEED).domains), Buffer.from(first.domains));
    const other = compileFeeds(
      lists,
      SEED.map((byte) => byte + 1),
    );
    t.notSame(Buffer.from(other.domains), Buffer.from(first.domains));
    for (const name of names) t.equal(domainHits(first, `x.${name}`)[0], `one:${name}:suffix`);
    for (const name of names) t.strictSame(domainHits(other, name), domainHits(first, name));
  },
);

t.test("the directory has a word for every hash, in the order of the hashes", async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.nat(1000),
      (rows, high, more) => {
        const word = directoryWord(high, rows);
        const next = directoryWord(Math.min(high + more, 0xffffffff), rows);
        const isBucket = word % ROW_WORDS >= ROW_WORDS - ROW_BUCKETS && word < rows * ROW_WORDS;
        if (!isBucket || next < word) throw new Error(`${word} of ${rows} rows, then ${next}`);
      },
    ),
  );
  const words: number[] = [];
  for (let word = directoryWord(0, 3); word < 3 * ROW_WORDS; word = nextDirectoryWord(word)) words.push(word);
  const spread = Array.from({ length: 420 }, (_, part) => directoryWord(((part + 0.5) * 2 ** 32) / 420, 3));
  if ([...new Set(spread)].join() !== words.join()) throw new Error(`${words} are not all of ${spread}`);
});

t.test("more groups than fit into one byte", async (t) => {
  const names = Array.from({ length: 600 }, (_, number) => `n${number}.example`);
  const lists = Array.from({ length: 10 }, (_, bit) => {
    return feed(
      `f${bit}`,
      "domain",
      names.filter((_name, number) => (number >> bit) % 2 === 1),
    );
  });
  const compiled = compileFeeds(lists, SEED);
  for (const [number, name] of names.entries()) {
    const expected = lists.flatMap(({ source }, bit) =>
      (number >> bit) % 2 === 1 ? [`${source.name}:${name}:suffix`] : [],
    );
    t.strictSame(domainHits(compiled, name), expected.length === 0 ? [] : expected);
  }
});

t.test("a name that is listed again and again takes no longer than as many names", async (t) => {
  // Where each were compared with all others, this would take minutes.
  const names = new Array<string>(400_000).fill("evil.example");
  const lists = [feed("one", "domain", names), feed("two", "domain", names, { match: "exact" })];
  const compiled = compileFeeds(lists, SEED);
  t.equal(new DomainSet(compiled.domains, compiled.sources, { trusted: false }).size, 1);
  t.strictSame(domainHits(compiled, "www.evil.example"), ["one:evil.example:suffix"]);
  t.strictSame(domainHits(compiled, "evil.example"), ["one:evil.example:suffix", "two:evil.example:exact"]);
});

t.test("names whose size does not fit into their slot", async (t) => {
  const names = Array.from({ length: 300 }, (_, number) => {
    // Characters that the other names do not have take the most bits; up to 248 of them.
    const label = "zq-x_j".repeat(10).slice(0, 1 + (number % 57));
    return `n${number}.${`${label}9.`.repeat(1 + (number % 4))}example`;
  });
  const plain = Array.from({ length: 3000 }, (_, number) => `a${number}.example`);
  const lists = [
    feed("one", "domain", [...plain, ...names]),
    feed("two", "domain", names, { match: "exact" }),
  ];
  const compiled = compileFeeds(lists, SEED);
  for (const name of [...plain, ...names]) t.equal(domainHits(compiled, name)[0], `one:${name}:suffix`);
  for (const name of names) t.equal(domainHits(compiled, name)[1], `two:${name}:exact`);
  for (const name of names) t.strictSame(domainHits(compiled, `${name}a`), []);
  const read = new DomainSet(compiled.domains, compiled.sources, { trusted: false }).entriesOf(1);
  const lines = (bytes: Uint8Array): string[] => Buffer.from(bytes).toString("latin1").split("\n").sort();
  t.strictSame(lines(read.entries), lines(lists[1]!.entries));
});

t.test("names that share half of their hash", async (t) => {
  const view = new DataView(SEED.buffer);
  const hash = new SuffixHash(view.getUint32(0, true), view.getUint32(4, true));
  const known = new Map<number, string>();
  const alike: string[] = [];
  for (let number = 0; number < 500_000; number++) {
    const label = number.toString(36);
    const bytes = Buffer.from(label);
    hash.start();
    hash.label(Buffer.from("example"), 0, 7);
    hash.label(bytes, 0, bytes.length);
    hash.finish();
    const other = known.get(hash.high);
    if (other !== undefined) alike.push(`${other}.example`, `${label}.example`);
    known.set(hash.high, label);
  }
  t.ok(alike.length >= 10, `${alike.length} names`);
  // Some are names, some only the ends of names, some both, in several feeds.
  const lists = [0, 1, 2].map((list) =>
    alike.map((name, index) => ((index + list) % 3 === 0 ? `www.${name}` : name)),
  );
  const all = lists.map((names, list) =>
    feed(`f${list}`, "domain", names, { match: list === 1 ? "exact" : "suffix" }),
  );
  for (const feeds of [all, all.slice(0, 1)]) {
    const compiled = compileFeeds(feeds, SEED);
    const distinct = new Set(lists.slice(0, feeds.length).flat()).size;
    t.equal(new DomainSet(compiled.domains, compiled.sources, { trusted: false }).size, distinct);
    for (const name of alike.flatMap((name) => [name, `www.${name}`, `w.${name}`, `www.x.${name}`])) {
      const expected = feeds.flatMap(({ source }, list) =>
        lists[list]!.filter((entry) => {
          return entry === name || (source.match === "suffix" && name.endsWith(`.${entry}`));
        }).map((entry) => `${source.name}:${entry}:${source.match}`),
      );
      t.strictSame(domainHits(compiled, name).sort(), expected.sort(), name);
    }
  }
});

t.test("the entries of one feed can be read back", async (t) => {
  const one = feed("one", "domain", ["b.example", "a.example", "*.c.example"], { match: "exact" });
  const two = feed("two", "domain", ["a.example"]);
  const addresses = feed("three", "address", ["192.0.2.0/24", "192.0.2.1", "2001:db8::/32"]);
  const compiled = compileFeeds([one, two, addresses], SEED);
  const domains = new DomainSet(compiled.domains, compiled.sources, { trusted: false });
  const lines = (bytes: Uint8Array): string[] => Buffer.from(bytes).toString("latin1").split("\n").sort();
  t.strictSame(lines(domains.entriesOf(0).entries), lines(one.entries));
  t.strictSame(lines(domains.entriesOf(1).entries), lines(two.entries));
  t.equal(domains.entriesOf(2).count, 0);
  t.equal(domains.size, 3);
  const prefixes = new PrefixSet(compiled.addresses, compiled.sources, false);
  t.strictSame(Buffer.from(prefixes.entriesOf(2).entries), Buffer.from(addresses.entries));
  t.equal(prefixes.size, 3);
});

t.test("a buffer that is truncated, corrupt, foreign or newer is refused", async (t) => {
  const compiled = compileFeeds(
    [feed("one", "domain", ["evil.example"]), feed("two", "address", ["192.0.2.1"])],
    SEED,
  );
  for (const part of ["domains", "addresses"] as const) {
    const broken = (change: (bytes: Uint8Array) => Uint8Array): CompiledFeeds => {
      const bytes = change(Uint8Array.from(new Uint8Array(compiled[part])));
      const buffer = new SharedArrayBuffer(bytes.length);
      new Uint8Array(buffer).set(bytes);
      return { ...compiled, [part]: buffer };
    };
    const refused = (change: (bytes: Uint8Array) => Uint8Array, message: RegExp): void => {
      t.throws(() => openFeeds(broken(change)), { code: "TM_FEED", message });
    };
    refused((bytes) => bytes.subarray(0, 10), /truncated to 10 bytes/);
    refused((bytes) => bytes.subarray(0, bytes.length - 4), /bytes long instead of/);
    refused((bytes) => bytes.fill(0, 0, 4), /another kind/);
    refused((bytes) => bytes.fill(9, 4, 5), /layout version 9/);
    const length = compiled[part].byteLength;
    for (const at of [16, 40, 128, length - 1]) {
      refused((bytes) => bytes.fill(bytes[at]! ^ 1, at, at + 1), /corrupt/);
    }
  }
  t.throws(() => compileFeeds([], new Uint8Array(7)), RangeError);
});

t.test("groups that would not end, or are of feeds that are not there, are refused", async (t) => {
  const lists = [feed("one", "domain", ["a.example", "b.example"]), feed("two", "domain", ["b.example"])];
  const compiled = compileFeeds(lists, SEED);
  const at = new Uint32Array(compiled.domains, 0, 32)[HEADER.GROUPS_AT]! / 4;
  const groups = new Uint32Array(compiled.domains, 0, 32)[HEADER.GROUPS]!;
  // The first begins at no member that there is; the last member is of another feed.
  for (const [word, value] of [
    [at, 0xffffffff],
    [at + 1, 0xfffffff0],
    [at + groups + 1, 99],
  ] as const) {
    const domains = new SharedArrayBuffer(compiled.domains.byteLength);
    new Uint8Array(domains).set(new Uint8Array(compiled.domains));
    new Uint32Array(domains)[word] = value;
    t.throws(() => openFeeds({ ...compiled, domains }, { trusted: true }), {
      code: "TM_FEED",
      message: /groups .* are corrupt/,
    });
  }
});

t.test("a trusted buffer with rubbish in it ends every look-up", async () => {
  const names = Array.from({ length: 200 }, (_, number) => `n${number}.example`);
  const compiled = compileFeeds([feed("one", "domain", names)], SEED);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 50 }), (changes) => {
      const buffer = new SharedArrayBuffer(compiled.domains.byteLength);
      const bytes = new Uint8Array(buffer);
      bytes.set(new Uint8Array(compiled.domains));
      for (const [place, byte] of changes) bytes[128 + (place % (bytes.length - 128))] = byte;
      for (const portable of [false, true]) {
        let set: DomainSet;
        try {
          set = new DomainSet(buffer, compiled.sources, { trusted: true, portable });
        } catch (error) {
          if (error instanceof TidesmanError && error.code === "TM_FEED") return;
          throw error;
        }
        for (const look of [
          ...names.map((name) => () => set.find(nameToWire(name)!, 0).map(text)),
          () => set.entriesOf(0),
        ]) {
          try {
            look();
          } catch (error) {
            if (!(error instanceof TypeError)) throw error;
          }
        }
      }
    }),
    { numRuns: 100 },
  );
});

t.test("real names against a walk over a set of strings", withData, async (t) => {
  const names = readFileSync(`${DATA}/popular-names-20k.txt`, "latin1").split("\n").filter(Boolean);
  const listed = names.filter((_name, number) => number % 3 === 0);
  const list = feed("one", "domain", listed);
  const compiled = compileFeeds([list], SEED);
  const index = opened(compiled);
  const oracle = new Set(
    Buffer.from(list.entries)
      .toString("latin1")
      .split("\n")
      .map((entry) => entry.slice(1)),
  );
  oracle.delete("");
  let hits = 0;
  for (const name of names) {
    const wire = nameToWire(name);
    if (wire === null) continue;
    const expected: string[] = [];
    for (let rest = name.toLowerCase(); rest.includes("."); rest = rest.slice(rest.indexOf(".") + 1)) {
      if (oracle.has(rest)) expected.push(rest);
    }
    const found = index.domain(wire, 0).map(({ entry }) => entry);
    if (found.join() !== expected.join()) t.strictSame(found, expected, name);
    hits += found.length;
  }
  t.ok(hits > listed.length / 2, "and there are hits");
});
