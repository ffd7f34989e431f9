import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { unpack } from "../../src/feed/list/body.ts";
import { csvFields } from "../../src/feed/list/csv.ts";
import { detectFormat } from "../../src/feed/list/formats.ts";
import { isNowhere } from "../../src/feed/list/nowhere.ts";
import { readFeedFile } from "../../src/feed/load.ts";
import { FeedBodyError, parseFolder, parseList } from "../../src/feed/parse.ts";
import { type CompiledFeeds, LIST_FORMATS } from "../../src/feed/types.ts";
import { nameToWire } from "../../src/name.ts";
import { loadLists } from "./load-lists.ts";

const PACKED = [
  ["list.gz", gzipSync],
  ["list.zst", zstdCompressSync],
  ["list.br", brotliCompressSync],
] as const;

function load(folder: string, feeds: string, previous?: CompiledFeeds): CompiledFeeds {
  const text = `version: 1\nfeeds: [${feeds}]\n`;
  return loadLists({ text, folder, readFile: readFeedFile, clock: new ManualClock(1000), previous });
}

function hits(feeds: CompiledFeeds, name: string): readonly string[] {
  const wire = nameToWire(name) ?? new Uint8Array();
  return openFeeds(feeds)
    .domain(wire, 0)
    .map(({ feed, match }) => `${feed} ${match}`);
}

t.test("compressed bodies", async (t) => {
  const text = Buffer.from("0.0.0.0 evil.example\n".repeat(1000));
  for (const [path, compress] of PACKED) {
    const body = compress(text);
    t.strictSame(Buffer.from(unpack(body, path)), text, path);
    t.throws(() => unpack(body.subarray(0, -3), path), {
      name: "FeedBodyError",
      message: /cut short or damaged/,
    });
    t.throws(() => unpack(body, path, 1000), {
      name: "FeedBodyError",
      message: /unpacks to more than 1000 bytes/,
    });
    const bomb = compress(Buffer.alloc(4 * 1024 * 1024, 10));
    t.throws(() => unpack(bomb, path, 1024 * 1024), FeedBodyError);
    t.equal(unpack(bomb, path, 4 * 1024 * 1024).length, 4 * 1024 * 1024);
  }
  t.equal(unpack(text, "list.gz"), text, "what is not compressed comes back as it is");
  t.throws(() => unpack(text, "list.br"), FeedBodyError);
});

t.test("whatever is compressed or not, unpacking gives bytes or an error of the body", async () => {
  const head = fc.constantFrom([], [0x1f, 0x8b], [0x1f, 0x8b, 8, 0], [0x28, 0xb5, 0x2f, 0xfd]);
  fc.assert(
    fc.property(head, fc.uint8Array({ maxLength: 64 }), fc.constantFrom("a", "a.br"), (magic, rest, path) => {
      try {
        unpack(Uint8Array.of(...magic, ...rest), path, 4096);
      } catch (error) {
        if (!(error instanceof FeedBodyError)) throw error;
      }
    }),
  );
});

t.test("from feeds.yaml to the hit: formats detected or named, packed or not", async (t) => {
  const folder = t.testdir({
    hosts: "0.0.0.0 evil.example\n",
    rules: "||evil.example^\n@@||ok.evil.example^\n",
    "zone.rpz": "$TTL 1\n@ SOA a. b. 1 1 1 1 1\nevil.example CNAME .\n32.1.2.0.192.rpz-ip CNAME .\n",
    "list.br": brotliCompressSync("*.evil.example\n"),
  });
  const feeds = load(
    folder,
    `{ name: hosts, path: hosts, kind: domain },
     { name: named, path: hosts, kind: domain, format: hosts, match: suffix },
     { name: rules, path: rules, kind: domain },
     { name: names, path: zone.rpz, kind: domain },
     { name: addresses, path: zone.rpz, kind: address, format: auto },
     { name: packed, path: list.br, kind: domain },
     { name: wrong, path: hosts, kind: domain, format: stix }`,
  );
  t.strictSame(
    feeds.sources.map(({ name, format, match }) => `${name} ${format} ${match}`),
    [
      "hosts hosts exact",
      "named hosts suffix",
      "rules adblock suffix",
      "names rpz exact",
      "addresses rpz exact",
      "packed plain suffix",
      "wrong stix exact",
    ],
  );
  t.match(feeds.statuses[6]?.error, /JSON body is cut short or damaged.*; the feed is not in use/);
  t.strictSame(hits(feeds, "evil.example"), [
    "hosts exact",
    "named suffix",
    "rules exact",
    "names exact",
    "packed suffix",
  ]);
  t.strictSame(hits(feeds, "a.evil.example"), ["named suffix", "packed suffix"]);
  t.equal(openFeeds(feeds).address(Uint8Array.of(192, 0, 2, 1), 0, 4)[0]?.feed, "addresses");
});

t.test("a list that fails keeps what it last meant", async (t) => {
  const folder = t.testdir({ one: "0.0.0.0 evil.example\n" });
  const feed = (more: string): string => `{ name: one, path: ${more}, kind: domain }`;
  const first = load(folder, feed("one"));
  const kept = load(folder, feed("gone"), first);
  t.match(kept.sources[0], { format: "hosts", match: "exact", path: `${folder}/gone` });
  t.match(kept.statuses[0], { entries: 1, error: /stays in use$/ });
  t.strictSame(hits(load(folder, feed("gone"), kept), "evil.example"), ["one exact"]);
  t.strictSame(hits(load(folder, feed("gone, match: exact"), first), "evil.example"), ["one exact"]);
  t.strictSame(hits(load(folder, feed("gone, match: suffix"), first), "evil.example"), []);
  t.strictSame(hits(load(folder, feed("gone, format: plain"), first), "evil.example"), []);
  const suffix = load(folder, feed("one, match: suffix"));
  t.strictSame(hits(load(folder, feed("gone"), suffix), "evil.example"), [], "its match was another");
});

t.test("a MISP feed is a folder", async (t) => {
  const uuid = (digit: number): string => `00000000-0000-4000-8000-00000000000${digit}`;
  const event = (value: string): string => {
    return JSON.stringify({ Event: { Attribute: [{ type: "domain", value, to_ids: true }] } });
  };
  const folder = t.testdir({
    misp: {
      "manifest.json": JSON.stringify({
        [uuid(1)]: {},
        [uuid(2)]: {},
        [uuid(3)]: {},
        [uuid(4)]: {},
        "../../secret": {},
      }),
      [`${uuid(1)}.json`]: event("evil.example"),
      [`${uuid(2)}.json`]: event("bad.example"),
      [`${uuid(3)}.json`]: event("half.example").slice(0, -4),
    },
    empty: {},
    broken: { "manifest.json": "[]" },
  });
  const feeds = load(
    folder,
    `{ name: misp, path: misp, kind: domain },
     { name: empty, path: empty, kind: domain },
     { name: broken, path: broken, kind: domain, format: misp },
     { name: plain, path: misp, kind: domain, format: plain }`,
  );
  t.match(feeds.sources[0], { format: "misp", match: "exact" });
  t.match(feeds.statuses[0], { entries: 2, refused: 3, error: null });
  t.match(feeds.statuses[0]?.samples, [/half|cut short/, /ENOENT/, /secret: not a UUID/]);
  t.match(feeds.statuses[1]?.error, /it is a folder without `manifest.json`, not a list/);
  t.match(feeds.statuses[2]?.error, /no MISP manifest/);
  t.match(feeds.statuses[3]?.error, /is a folder, not a list/);
  t.strictSame(hits(feeds, "evil.example"), ["misp exact"]);

  const defect = (path: string): Uint8Array => {
    if (path.endsWith("manifest.json")) return readFeedFile(path);
    throw new TypeError("not a matter of that event");
  };
  t.throws(() => parseFolder(`${folder}/misp`, defect, { kind: "domain" }), TypeError);
});

t.test("detection looks at more than the first line", async (t) => {
  const cases: [string, string][] = [
    ["", "plain"],
    ["# comment alone\n", "plain"],
    ["rubbish, and more of it\n".repeat(5), "plain"],
    ["evil.example\n0.0.0.0 a.example\n0.0.0.0 b.example\n", "hosts"],
    [`${"# long head\n".repeat(1000)}address=/a.example/#\n`, "dnsmasq"],
    ["! Title\n! x\n##.banner\n||a.example^\nexample.com##.ad\n", "adblock"],
    ["192.0.2.0/24\n198.51.100.7\n", "plain"],
    ['{"unknown": true}', "plain"],
    [`{"objects":[{"description":"${"x".repeat(2000)}","type":"indicator"}]}`, "stix"],
    ['{\n  "objects": [\n    { "type": "indicator" }\n  ],\n  "type": "bundle"\n}', "stix"],
  ];
  for (const [body, format] of cases)
    t.equal(detectFormat(Buffer.from(body)).name, format, body.slice(0, 40));
});

t.test("CSV fields", async (t) => {
  const cases: [string, string[] | null][] = [
    ["a,b", ["a", "b"]],
    ['"a", "b,c" ,"d""e"', ["a", "b,c", 'd"e']],
    ["a,,", ["a", "", ""]],
    ["", [""]],
    ['"a', null],
    ['"a"b,c', null],
    ['a"b,c', ['a"b', "c"]],
  ];
  for (const [line, fields] of cases) t.strictSame(csvFields(line), fields, line);
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
      const line = fields.map((one) => `"${one.replaceAll('"', '""')}"`).join(", ");
      if (csvFields(line)?.join("\0") !== fields.join("\0")) throw new Error(line);
    }),
  );
});

t.test("addresses that lead nowhere", async (t) => {
  for (const text of [
    "0",
    "0.0.0.0",
    "000.000.000.000",
    "127.0.0.1",
    "127.1",
    "0177.0.0.1",
    "0x7f.1",
    "::",
    "::1",
    "2130706433",
  ])
    t.equal(isNowhere(text), true, text);
  for (const text of ["192.0.2.1", "1", "255.255.255.255", "fe80::1", "2001:db8::"])
    t.equal(isNowhere(text), false, text);
  for (const text of ["", ".", "1.2.3.4.5", "evil.example", "0.0.0.0:80", "1..2", "x"])
    t.equal(isNowhere(text), null, text);
});

t.test("long lines cost what their bytes cost, in every format", async (t) => {
  // Quadratic behaviour in the length of a line would make this test time out.
  const fill = (text: string): string => text.repeat(Math.floor(16_000 / text.length));
  const lines = [
    `${fill(" ")}x`,
    `a.example${fill(" ")}x`,
    `||a.example^${fill(" ")}x`,
    `address=${fill("/a")}/ x`,
    `local-data: "a.example A${fill(" ")}`,
    `local-zone: "a.example"${fill(" ")}`,
    `zone "a.example" { ${fill("/*")}`.slice(0, 4000),
    `a.example CNAME .${fill(" ")}x`,
    `"a", ${fill('"",')}`,
    `{"cidr":"${fill("[")}`,
    fill("}"),
    fill("-"),
    fill("1."),
    fill("#"),
    fill("|"),
    fill("@"),
  ];
  const broken: string[] = [];
  for (const format of [undefined, ...LIST_FORMATS]) {
    for (const line of lines) {
      const body = Buffer.from(`good.example\n${`${line}\n`.repeat(100)}`);
      try {
        parseList(body, { kind: "domain", now: 0, ...(format === undefined ? {} : { format }) });
      } catch (error) {
        if (!(error instanceof FeedBodyError))
          broken.push(`${format}: ${line.slice(0, 20)}: ${String(error)}`);
      }
    }
  }
  t.strictSame(broken, []);
});

t.test("whatever the bytes, in any format: entries or an error of the body, and no wrong name", async () => {
  const piece = fc.oneof(
    fc.constantFrom(
      ..."||^@@*.$/#!;\"'{}[](),:=\\ \t\r\n".split(""),
      "CNAME .",
      "rpz-passthru.",
      ".rpz-ip",
      "$ORIGIN ",
      "address=/",
      'local-zone: "',
      'zone "',
      "type master;",
      '{"Event":{"Attribute":[{"type":"domain","to_ids":true,"value":',
      '{"type":"bundle","objects":[{"type":"indicator","pattern":"[',
      '{"cidr":"',
      "domain-name:value = '",
    ),
    fc.domain(),
    fc.ipV4(),
    fc.ipV6(),
    fc.webUrl(),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const body = fc.array(piece, { maxLength: 24 }).map((pieces) => Buffer.from(pieces.join("")));
  const format = fc.constantFrom(undefined, ...LIST_FORMATS);
  const kind = fc.constantFrom<"domain" | "address">("domain", "address");
  fc.assert(
    fc.property(body, format, kind, (bytes, named, wanted) => {
      try {
        const list = parseList(bytes, {
          kind: wanted,
          now: 0,
          ...(named === undefined ? {} : { format: named }),
        });
        if (wanted === "address") return;
        for (const entry of Buffer.from(list.entries).toString("latin1").split("\n").slice(0, -1)) {
          if (!/^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(entry)) throw new Error(`wrong entry ${entry}`);
          if (nameToWire(entry.replace(/^\./, "")) === null) throw new Error(`no name: ${entry}`);
        }
      } catch (error) {
        if (!(error instanceof FeedBodyError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});
