/** Lists as they really come: whatever stands between the entries, the entries are those, and nothing else is one. */
import fc from "fast-check";
import t from "tap";
import { FeedBodyError, parseList } from "../../src/feed/parse.ts";
import { LIST_FORMATS, type ListFormatName } from "../../src/feed/types.ts";

/** How a name is written in each format of lines. */
const LINES: Readonly<Partial<Record<ListFormatName, (name: string) => string>>> = {
  plain: (name) => name,
  hosts: (name) => `0.0.0.0 ${name}`,
  adblock: (name) => `||${name}^`,
  dnsmasq: (name) => `address=/${name}/0.0.0.0`,
  unbound: (name) => `local-zone: "${name}" always_nxdomain`,
  bind: (name) => `zone "${name}" { type master; file "null"; };`,
  rpz: (name) => `${name} CNAME .`,
  dnscrypt: (name) => name,
  urlhaus: (name) => `"7", "2026-01-01 00:00:00", "http://${name}/", "online", "malware_download"`,
  threatfox: (name) => `"2026-01-01 00:00:00", "7", "${name}", "domain", "botnet_cc"`,
};

const DIRT = [
  ...["", " \t", "#", "# comment, evil.example", "! comment", "; comment", "\ufeff", "\u00a0"],
  ...["192.0.2.1", "192.0.2.1:8080", "[2001:db8::1]:443", "2001:db8::1", "192.0.2.0/24", "0177.0.0.1"],
  ...[
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost",
    "255.255.255.255 broadcasthost",
    "fe80::1%lo0 localhost",
  ],
  ...[
    "http://shared.example/page?x=1",
    "https://shared.example:8443/",
    "ftp://shared.example/a",
    "//shared.example/x",
  ],
  ...[
    "localhost",
    "com",
    "co.uk",
    "github.io",
    "EXAMPLE",
    "a..b.example",
    "..",
    ".",
    "*",
    "*.",
    "*.com",
    "-",
  ],
  ...[
    `${"a".repeat(64)}.example`,
    "a.".repeat(140),
    "x".repeat(20_000),
    "user@shared.example",
    "a b c",
    "a.example b.example",
  ],
  ...[
    "##.banner",
    "shared.example##.ad",
    "/banner[0-9]+/",
    "||shared.example^$third-party",
    "||shared.example/page",
    "@@",
  ],
  ...[
    "address=/",
    "server=1.2.3.4",
    "local-zone:",
    "$TTL 60",
    "NS ns.rpz.example.",
    "=",
    "ads.*",
    "ads[0-9].shared.example",
  ],
  ...[
    "null",
    "{}",
    "[]",
    '{"error":"rate limited"}',
    "Not Found",
    "error code: 1015",
    "\u202eevil\u202c",
    "ex\u0000mple",
    "%00",
  ],
];

for (const [format, write] of Object.entries(LINES)) {
  t.test(`${format}: dirt makes no entry, and costs none`, async () => {
    const name = fc
      .array(fc.constantFrom("evil", "bad", "ck-3", "xn--bcher-kva", "_dmarc", "0x1", "a1"), {
        minLength: 1,
        maxLength: 3,
      })
      .map((labels) => `${labels.join(".")}.listed.example`);
    const line = fc.oneof(
      name.map((one) => ({ name: one })),
      fc.constantFrom(...DIRT).map((dirt) => ({ dirt })),
    );
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 40 }),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        (lines, end, bom) => {
          const texts = lines.map((one) => ("name" in one ? write(one.name) : one.dirt));
          // The first line says that it is no web page, and the byte 0 no binary.
          const text = [write("first.listed.example"), ...texts].join(end).replaceAll("\u0000", "\u0001");
          const body = Buffer.from(`${bom ? "\ufeff" : ""}${text}`);
          const read = (): readonly string[] => {
            try {
              const { entries } = parseList(body, {
                kind: "domain",
                match: "exact",
                format: format as ListFormatName,
                now: 0,
              });
              return Buffer.from(entries).toString("latin1").split("\n").slice(0, -1);
            } catch (error) {
              // Only the beginning of a body tells a binary.
              if (error instanceof FeedBodyError && text.includes("\u0001")) return expected;
              throw error;
            }
          };
          const expected = [
            "first.listed.example",
            ...lines.flatMap((one) => ("name" in one ? [one.name] : [])),
          ];
          const found = read().map((one) => one.replace(/^\./, ""));
          // An owner of a zone that stands there twice in a row is one entry.
          return JSON.stringify([...new Set(found)]) === JSON.stringify([...new Set(expected)]);
        },
      ),
      { numRuns: 300 },
    );
  });
}

t.test("JSON of any shape is read or refused, never more", async () => {
  const key = fc.constantFrom(
    ...[
      "objects",
      "type",
      "pattern",
      "pattern_type",
      "valid_from",
      "valid_until",
      "revoked",
      "Event",
      "Attribute",
    ],
    ...[
      "Object",
      "value",
      "to_ids",
      "cidr",
      "ioc_value",
      "ioc_type",
      "ip_address",
      "url",
      "host",
      "__proto__",
      "length",
    ],
  );
  const leaf = fc.oneof(
    fc.constantFrom<unknown>(
      null,
      true,
      false,
      0,
      -1,
      1e308,
      "",
      "indicator",
      "domain",
      "stix",
      "2026-01-01T00:00:00Z",
    ),
    fc.constantFrom<unknown>(
      "evil.example",
      "192.0.2.1",
      "192.0.2.0/24",
      "http://evil.example/",
      "evil.example|192.0.2.1",
    ),
    fc.constantFrom<unknown>(
      "[domain-name:value = 'evil.example']",
      "[url:value = '",
      "[",
      "ip:port",
      "domain|ip",
    ),
  );
  const { json } = fc.letrec<{ json: unknown }>((tie) => ({
    json: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      leaf,
      fc.array(tie("json"), { maxLength: 4 }),
      fc.array(fc.tuple(key, tie("json")), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
    ),
  }));
  fc.assert(
    fc.property(
      json,
      fc.constantFrom(...LIST_FORMATS),
      fc.constantFrom("domain", "address", "url"),
      (value, format, kind) => {
        try {
          parseList(Buffer.from(JSON.stringify(value)), { kind, format, now: 1e12 });
        } catch (error) {
          if (!(error instanceof FeedBodyError)) throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
});
