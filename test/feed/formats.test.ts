import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { formatAddress } from "../../src/address.ts";
import { ADDRESS_ROW, type ParseOptions, parseList, type ReadList } from "../../src/feed/parse.ts";
import type { FeedKind, ListFormatName } from "../../src/feed/types.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const withData = existsSync(DATA) ? {} : { skip: `no real data: ${DATA} does not exist` };
const NOW = Date.UTC(2026, 0, 1);

interface Read {
  readonly list: ReadList;
  /** Names with their dot where they stand for everything below, or prefixes. */
  readonly entries: readonly string[];
  /** The reasons of the samples, without place and text. */
  readonly reasons: readonly string[];
}

function read(body: string | Uint8Array, options: Partial<ParseOptions> = {}): Read {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const list = parseList(bytes, { kind: "domain", now: NOW, ...options });
  const reasons = list.samples.map((sample) => sample.replace(/^.*: /s, ""));
  return { list, entries: entriesOf(list, options.kind ?? "domain"), reasons };
}

function entriesOf({ entries, count }: ReadList, kind: FeedKind): string[] {
  const found: string[] = [];
  if (kind !== "address") found.push(...Buffer.from(entries).toString("latin1").split("\n").slice(0, -1));
  else {
    for (let at = 0; at < entries.length; at += ADDRESS_ROW) {
      found.push(`${formatAddress(entries, at + 2, entries[at] === 4 ? 4 : 16)}/${entries[at + 1]}`);
    }
  }
  t.equal(found.length, count, "the count is that of the entries");
  return found;
}

/** Reads the same body as names and as addresses; both have to be detected as `format`. */
function both(
  body: string,
  format: ListFormatName,
): { names: readonly string[]; addresses: readonly string[] } {
  const names = read(body);
  const addresses = read(body, { kind: "address" });
  t.equal(names.list.format, format);
  t.equal(addresses.list.format, format);
  return { names: names.entries, addresses: addresses.entries };
}

t.test("plain: names, wildcards, addresses, prefixes and ranges", async (t) => {
  const list = [
    "# list",
    "evil.example",
    "*.wild.example ; note",
    ".dot.example",
    "192.0.2.1",
    "198.51.100.0/24 ; SBL1",
    "203.0.113.5-203.0.113.8",
    "203.0.113.16 - 203.0.113.17 # two",
    "2001:db8::/32",
    "2001:db8::ffff-2001:db8::1:0",
  ].join("\n");
  const { names, addresses } = both(list, "plain");
  t.strictSame(names, [".evil.example", ".wild.example", ".dot.example"]);
  t.strictSame(addresses, [
    "192.0.2.1/32",
    "198.51.100.0/24",
    "203.0.113.5/32",
    "203.0.113.6/31",
    "203.0.113.8/32",
    "203.0.113.16/31",
    "2001:db8::/32",
    "2001:db8::ffff/128",
    "2001:db8::1:0/128",
  ]);
  t.strictSame(read("evil.example\n*.wild.example\n", { match: "exact" }).entries, [
    "evil.example",
    ".wild.example",
  ]);
  for (const range of ["192.0.2.9-192.0.2.1", "0.0.0.0-255.255.255.255", "192.0.2.1-evil.example"]) {
    const { list: refused } = read(`192.0.2.1\n${range}\n`, { kind: "address" });
    t.match([refused.count, refused.refused], [1, 1], range);
  }
});

t.test("a range is covered exactly", async () => {
  const ends = fc.tuple(fc.nat(0xffffff), fc.nat(5000));
  const text = (value: number): string => formatAddress(Uint8Array.of(10, value >> 16, value >> 8, value));
  fc.assert(
    fc.property(ends, ([first, length]) => {
      const last = Math.min(0xffffff, first + length);
      const { entries } = read(`${text(first)}-${text(last)}`, { kind: "address", format: "plain" });
      let at = first;
      for (const entry of entries) {
        const [address = "", bits = ""] = entry.split("/");
        if (address !== text(at)) throw new Error(`${entry} does not begin at ${text(at)}`);
        at += 2 ** (32 - Number(bits));
      }
      if (at !== last + 1) throw new Error(`ends at ${text(at - 1)}, not ${text(last)}`);
    }),
    { numRuns: 300 },
  );
});

t.test("hosts", async (t) => {
  const list = [
    "# Title: hosts",
    "127.0.0.1 localhost localhost.localdomain",
    "::1 ip6-localhost ip6-loopback",
    "255.255.255.255 broadcasthost",
    "0.0.0.0 0.0.0.0",
    "0.0.0.0 evil.example",
    "127.0.0.1\tone.example two.example # note",
    "000.000.000.000 zero.example",
    "0177.0.0.1 octal.example",
    ":: six.example",
    "0 short.example",
    "192.168.1.7 nas.example",
    "0.0.0.0 192.0.2.1",
    "0.0.0.0",
    "evil.example",
  ].join("\r\n");
  const { list: parsed, entries, reasons } = read(list);
  t.match(parsed, { format: "hosts", match: "exact", refused: 5 });
  t.strictSame(entries, [
    "evil.example",
    "one.example",
    "two.example",
    "zero.example",
    "octal.example",
    "six.example",
    "short.example",
  ]);
  t.strictSame(reasons, [
    "an address that leads somewhere",
    "an address that leads somewhere",
    "an address, not a domain name",
    "no name behind the address",
    "no address at the start of the line",
  ]);
  t.match(parsed.samples[0], /^line 4: 255\.255\.255\.255 broadcasthost: /);
  t.strictSame(read("0.0.0.0 evil.example", { match: "suffix" }).entries, [".evil.example"]);
});

t.test("adblock, with exceptions that win over every rule", async (t) => {
  const list = [
    "[Adblock Plus 2.0]",
    "! Title: rules",
    "||evil.example^",
    "||bad.example^$important",
    "||ads.bad.example^$all,important",
    "||*.wild.example^",
    "||192.0.2.1^",
    "||198.51.100.0/24^",
    "@@||good.evil.example^",
    "||x.good.evil.example^",
    "||gone.example^",
    "||a.gone.example^",
    "@@||gone.example^|",
    "@@||192.0.2.1^",
  ].join("\n");
  const { list: parsed, entries, reasons } = read(list);
  t.equal(parsed.format, "adblock");
  t.strictSame(entries, ["evil.example", ".bad.example", ".ads.bad.example", ".wild.example"]);
  t.equal(reasons.at(-1), "something that it covers is excepted, so that it stands for itself alone");
  const refused = [
    "##.banner",
    "evil.example##.ad",
    "evil.example#@#.ad",
    "||evil.example^$third-party",
    "||evil.example/path^",
    "||evil.example",
    "|https://evil.example|",
    "/banner[0-9]+/",
    "evil.example",
    "||com^",
    "||evil.*^",
    "@@/x/",
  ];
  const dirt = read(`||ok.example^\n${refused.join("\n")}`, { format: "adblock" }).list;
  t.match([dirt.count, dirt.refused], [1, refused.length]);
  t.strictSame(read("||192.0.2.1^\n||192.0.2.0/30^\n@@||192.0.2.1^", { kind: "address" }).entries, [
    "192.0.2.0/32",
    "192.0.2.2/31",
  ]);
});

t.test("a rule that spells no caret costs no more than its line", async (t) => {
  const lines = `||evil.example\n`.repeat(200_000);
  t.equal(read(`||ok.example^\n${lines}`, { format: "adblock" }).list.refused, 200_000);
});

t.test("dnsmasq", async (t) => {
  const list = [
    "# dnsmasq",
    "address=/evil.example/0.0.0.0",
    "address=/six.example/::",
    "address=/hash.example/#",
    "address=/one.example/two.example/",
    "local=/local.example/ # note",
    "server=/server.example/",
    "server=/forward.example/192.0.2.53",
    "address=/nas.example/192.168.1.7",
    "server=/ok.evil.example/#",
    "address=/#/0.0.0.0",
    "ipset=/x.example/set",
    "no-resolv",
  ].join("\n");
  const { list: parsed, entries } = read(list);
  t.match(parsed, { format: "dnsmasq", match: "suffix", refused: 6 });
  t.strictSame(entries, [
    "evil.example",
    ".six.example",
    ".hash.example",
    ".one.example",
    ".two.example",
    ".local.example",
    ".server.example",
  ]);
});

t.test("unbound", async (t) => {
  const list = [
    "server:",
    '  local-zone: "evil.example" always_nxdomain',
    "local-zone: 'bad.example.' static",
    'local-zone: "redirected.example" redirect',
    'local-data: "redirected.example A 0.0.0.0"',
    'local-data: "alone.example. 3600 IN A 127.0.0.1"',
    'local-zone: "ok.bad.example" transparent',
    'local-data: "nas.example A 192.168.1.7"',
    'local-zone: "x.example" nonsense',
    "forward-zone:",
  ].join("\n");
  const { list: parsed, entries } = read(list);
  t.match(parsed, { format: "unbound", match: "suffix", refused: 4 });
  t.strictSame(entries, [".evil.example", "bad.example", ".redirected.example", "alone.example"]);
});

t.test("BIND zones, on one line and on several", async (t) => {
  const list = [
    "// zones",
    'zone "evil.example" { type master; notify no; file "null.zone.file"; };',
    'zone "bad.example" IN {',
    "    type primary;",
    '    file "/etc/bind/null";',
    "};",
    'zone plain.example {type master; file "x";}; # note',
    'zone "." { type hint; file "root.hints"; };',
    'zone "fwd.example" { type forward; forwarders { 192.0.2.1; }; };',
    '/* zone "comment.example" { type master; };',
    'zone "still.example" { type master; }; */',
    'zone "a.example" { type master; }; zone "b.example" { type master; };',
    "options { recursion yes; };",
    'zone "open.example" {',
    "  type master;",
  ].join("\n");
  const { list: parsed, entries } = read(list);
  t.match(parsed, { format: "bind", match: "suffix", refused: 5 });
  t.strictSame(entries, [".evil.example", ".bad.example", ".plain.example"]);
});

t.test("RPZ", async (t) => {
  const list = [
    "; Title: zone",
    "$TTL 30",
    "@ IN SOA rpz.example. hostmaster.rpz.example. (",
    "   1 ; serial",
    "   86400 3600 604800 30 )",
    " NS localhost.",
    "evil.example CNAME .",
    "both.example 60 IN CNAME .",
    "*.both.example CNAME .",
    "nodata.example CNAME *. ; note",
    "walled.example CNAME garden.example.net.",
    "local.example A 0.0.0.0",
    " AAAA ::",
    "drop.example IN CNAME rpz-drop.",
    "ok.both.example CNAME rpz-passthru.",
    "tcp.example CNAME rpz-tcp-only.",
    "self.example CNAME self.example.",
    "32.1.2.0.192.rpz-ip CNAME .",
    "24.0.100.51.198.rpz-ip CNAME .",
    "48.zz.1.db8.2001.rpz-ip CNAME .",
    "32.9.100.51.198.rpz-ip CNAME rpz-passthru.",
    "32.1.2.0.192.rpz-client-ip CNAME .",
    "ns.example.rpz-nsdname CNAME .",
    "absolute.example. CNAME .",
  ].join("\n");
  const { list: parsed, entries } = read(list);
  t.match(parsed, { format: "rpz", match: "exact" });
  t.strictSame(entries, [
    "evil.example",
    "both.example",
    "nodata.example",
    "walled.example",
    "local.example",
    "drop.example",
  ]);
  const { entries: addresses } = read(list, { kind: "address" });
  t.equal(addresses[0], "192.0.2.1/32");
  t.ok(addresses.includes("2001:db8:1::/48"));
  t.equal(addresses.length, 10, "the /24 is split into 8 around its exception");
  t.notOk(addresses.includes("198.51.100.0/24"));
});

t.test("RPZ under $ORIGIN, and of its exceptions the closest", async (t) => {
  const list = [
    "$ORIGIN .",
    "rpz.test 300 IN SOA ns.test. root.test. 1 2 3 4 5",
    "$ORIGIN rpz.test.",
    "evil.example CNAME .",
    "absolute.example.rpz.test. CNAME .",
    "$ORIGIN sub.example.rpz.test.",
    "a CNAME .",
    "*.a CNAME .",
    "*.tree.a CNAME rpz-passthru.",
    "x.tree.a CNAME .",
    "elsewhere.test. CNAME .",
    "$INCLUDE other.zone",
  ].join("\n");
  const { list: parsed, entries, reasons } = read(list);
  t.equal(parsed.format, "rpz");
  t.strictSame(entries, ["evil.example", "absolute.example", "a.sub.example", "x.tree.a.sub.example"]);
  t.strictSame(reasons.slice(0, 2), ["outside of the zone", "a directive that is not followed"]);
});

t.test("dnscrypt blocked names", async (t) => {
  const list = [
    "# names",
    "evil.example",
    "*.wild.example",
    "=alone.example",
    "ads.*",
    "*word*",
    "a.example @work",
  ];
  const { list: parsed, entries, reasons } = read(list.join("\n"));
  t.match(parsed, { format: "dnscrypt", match: "suffix" });
  t.strictSame(entries, [".evil.example", ".wild.example", "alone.example"]);
  t.strictSame(reasons, [
    "a pattern, not a domain name",
    "a pattern, not a domain name",
    "a rule that holds at times",
  ]);
});

const HEADER = "################\n# abuse.ch export #\n################\n#\n";

t.test("URLhaus names URLs, which are no hosts", async (t) => {
  const row = (url: string): string =>
    `"1","2026-01-01 00:00:00","${url}","online","2026-01-01 00:00:00","malware_download","a,b","https://x/","y"`;
  const csv = `${HEADER}# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\r\n${[
    "http://evil.example/",
    "https://bad.example",
    "http://shared.example/x.bin",
    "http://evil.example:8080/",
    "http://user@evil.example/",
    "http://192.0.2.1/",
    "http://[2001:db8::1]/",
  ]
    .map(row)
    .join("\r\n")}\r\n`;
  const { names, addresses } = both(csv, "urlhaus");
  t.strictSame(names, ["evil.example", "bad.example"]);
  t.strictSame(addresses, ["192.0.2.1/32", "2001:db8::1/128"]);
  t.equal(read(csv).reasons[0], "a URL names a page, not its whole host");
  const json = JSON.stringify({
    7: [{ url: "http://evil.example/", url_status: "online" }],
    8: [{ url: "http://a.example/x", url_status: "online" }, 7, null],
  });
  t.match(read(json), { entries: ["evil.example"], list: { format: "urlhaus", refused: 3 } });
  t.throws(() => read(`${HEADER}${row("http://a.example/x")}`), {
    name: "FeedBodyError",
    message: /a URL names/,
  });
});

t.test("ThreatFox", async (t) => {
  const row = (value: string, type: string): string =>
    `"2026-01-01 00:00:00", "12", "${value}", "${type}", "botnet_cc", "win.x", "None", "X, ""y""", "", "75", "False"`;
  const rows = [
    row("evil.example", "domain"),
    row("192.0.2.1:443", "ip:port"),
    row("http://a.example/x", "url"),
    row("0123456789abcdef", "md5_hash"),
    '"2026-01-01 00:00:00", "12", "unclosed',
  ].join("\n");
  const header = '# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type","fk_malware"\n';
  for (const body of [`${HEADER}${header}${rows}\n# Number of entries: 4\n`, rows]) {
    const { names, addresses } = both(body, "threatfox");
    t.strictSame(names, ["evil.example"]);
    t.strictSame(addresses, ["192.0.2.1/32"]);
    t.equal(read(body).list.refused, 4);
  }
  const moved = `"ioc_type","x","ioc_value"\n"domain","","evil.example"\n`;
  t.strictSame(read(moved).entries, ["evil.example"], "columns are found by the header");
  const json = JSON.stringify({ 1: [{ ioc_value: "evil.example", ioc_type: "domain" }] });
  t.strictSame(read(json).entries, ["evil.example"]);
  const answer = { query_status: "ok", data: [{ ioc: "192.0.2.1:80", ioc_type: "ip:port" }] };
  t.strictSame(read(JSON.stringify(answer), { kind: "address" }).entries, ["192.0.2.1/32"]);
});

t.test("Feodo", async (t) => {
  const csv = `${HEADER}"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"
"2026-01-01 00:00:00","192.0.2.1","443","online","2026-01-01","Dridex"
"2026-01-01 00:00:00", "192.0.2.2", "443", "offline", "2026-01-01", "X"
"2026-01-01 00:00:00","not an address","443","offline","2026-01-01","X"
# END (2) entries`;
  const { list, entries } = read(csv, { kind: "address" });
  t.match(list, { format: "feodo", refused: 1 });
  t.strictSame(entries, ["192.0.2.1/32", "192.0.2.2/32"]);
  const json = JSON.stringify([{ ip_address: "192.0.2.1", port: 443, malware: "X" }], null, 2);
  t.match(read(json, { kind: "address" }), { entries: ["192.0.2.1/32"], list: { format: "feodo" } });
});

t.test("Spamhaus as JSON lines and as text", async (t) => {
  const json = [
    '{"cidr":"192.0.2.0/24","sblid":"SBL1","rir":"x"}',
    '{"cidr":"2001:db8::/32","sblid":"SBL2","rir":"x"}',
    '{"asn":64496,"rir":"x"}',
    '{"cidr":"198.51.100.0/24"',
    '{"type":"metadata","timestamp":1,"records":2}',
  ].join("\n");
  const { list, entries, reasons } = read(json, { kind: "address" });
  t.equal(list.format, "spamhaus");
  t.strictSame(entries, ["192.0.2.0/24", "2001:db8::/32"]);
  t.strictSame(reasons, ["no `cidr`", "no whole JSON object"]);
  const text = "; Spamhaus DROP\n192.0.2.0/24 ; SBL1\n";
  t.strictSame(read(text, { kind: "address" }).entries, ["192.0.2.0/24"]);
  t.strictSame(read(text, { kind: "address", format: "spamhaus" }).entries, ["192.0.2.0/24"]);
});

t.test("STIX", async (t) => {
  const indicator = (pattern: string, more: object = {}): object => ({
    type: "indicator",
    id: "indicator--1",
    pattern_type: "stix",
    valid_from: "2025-01-01T00:00:00Z",
    pattern,
    ...more,
  });
  const bundle = (objects: readonly unknown[]): string =>
    JSON.stringify({ type: "bundle", id: "bundle--1", objects });
  const body = bundle([
    { type: "identity", name: "x" },
    indicator("[domain-name:value = 'evil.example']"),
    indicator("[domain-name:value='a.example' OR domain-name:value = 'b.example']"),
    indicator("[ domain-name:value = 'c.example' ] OR [ipv4-addr:value = '192.0.2.1']"),
    indicator("[domain-name:value IN ('d.example', 'e.example')]"),
    indicator("[ipv4-addr:value ISSUBSET '198.51.100.0/24']"),
    indicator("[network-traffic:dst_ref.value = '192.0.2.2']"),
    indicator("[url:value = 'http://f.example/']"),
    indicator("[url:value = 'http://g.example/x']"),
    indicator("[domain-name:value = 'old.example']", { valid_until: "2025-06-01T00:00:00Z" }),
    indicator("[domain-name:value = 'early.example']", { valid_from: "2027-06-01T00:00:00Z" }),
    indicator("[domain-name:value = 'revoked.example']", { revoked: true }),
    indicator("[domain-name:value = 'and.example' AND ipv4-addr:value = '192.0.2.3']"),
    indicator("[domain-name:value = 'not.example'] AND [domain-name:value = 'two.example']"),
    indicator("[domain-name:value != 'unlike.example']"),
    indicator("[domain-name:value LIKE 'like%']"),
    indicator("[domain-name:value = 'q.example'] REPEATS 5 TIMES"),
    indicator("[file:hashes.'SHA-256' = 'abc']"),
    indicator("[domain-name:value = 'unclosed"),
    indicator("rule x {}", { pattern_type: "yara" }),
  ]);
  const { names, addresses } = both(body, "stix");
  t.strictSame(names, [
    "evil.example",
    "a.example",
    "b.example",
    "c.example",
    "d.example",
    "e.example",
    "f.example",
  ]);
  t.strictSame(addresses, ["192.0.2.1/32", "198.51.100.0/24", "192.0.2.2/32"]);
  t.throws(() => read(body.slice(0, -5)), { name: "FeedBodyError", message: /cut short or damaged/ });
  t.throws(() => read("{}", { format: "stix" }), { name: "FeedBodyError", message: /no `objects`/ });
});

t.test("a MISP event in a file", async (t) => {
  const attribute = (type: string, value: unknown, to_ids: unknown = true): object => ({
    type,
    value,
    to_ids,
  });
  const body = JSON.stringify({
    Event: {
      info: "x",
      Attribute: [
        attribute("domain", "evil.example"),
        attribute("hostname", "www.bad.example"),
        attribute("domain|ip", "pair.example|192.0.2.1"),
        attribute("ip-dst|port", "192.0.2.2|443"),
        attribute("ip-src", "192.0.2.3"),
        attribute("hostname|port", "port.example|443"),
        attribute("url", "http://page.example/x"),
        attribute("url", "http://host.example/"),
        attribute("sha256", "00"),
        attribute("domain", "context.example", false),
        attribute("domain", 7),
        null,
      ],
      Object: [{ Attribute: [attribute("ip-dst", "2001:db8::1")] }, null],
    },
  });
  const { names, addresses } = both(body, "misp");
  t.strictSame(names, ["evil.example", "www.bad.example", "pair.example", "port.example", "host.example"]);
  t.strictSame(addresses, ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "2001:db8::1/128"]);
  t.throws(() => read('{"a":{"Orgc":{}}}'), { name: "FeedBodyError", message: /name its folder/ });
});

t.test("entries come back from every format of names", async () => {
  const write: Readonly<Record<string, (name: string) => string>> = {
    plain: (name) => name,
    hosts: (name) => `0.0.0.0 ${name}`,
    adblock: (name) => `||${name}^`,
    dnsmasq: (name) => `address=/${name}/#`,
    unbound: (name) => `local-zone: "${name}" static`,
    bind: (name) => `zone "${name}" { type master; file "x"; };`,
    rpz: (name) => `${name} CNAME .`,
    dnscrypt: (name) => name,
    spamhaus: (name) => JSON.stringify({ cidr: name }),
  };
  const label = fc.stringMatching(/^[a-z]{1,10}$/);
  const names = fc.uniqueArray(
    label.map((first) => `${first}.example`),
    { minLength: 1, maxLength: 20 },
  );
  const gap = fc.constantFrom("\n", "\r\n", " \n\n");
  fc.assert(
    fc.property(names, gap, fc.constantFrom<"suffix" | "exact">("suffix", "exact"), (listed, end, match) => {
      for (const [format, line] of Object.entries(write)) {
        const body = listed.map((name) => line(name) + end).join("");
        for (const named of [{ format: format as ListFormatName }, {}]) {
          if (format === "spamhaus" || (format === "dnscrypt" && !named.format)) continue;
          const { list, entries } = read(body, { match, ...named });
          if (list.format !== format) throw new Error(`${format} was taken for ${list.format}: ${body}`);
          const dot = match === "suffix" ? "." : "";
          if (entries.join() !== listed.map((name) => dot + name).join())
            throw new Error(`${format}: ${entries}`);
        }
      }
    }),
    { numRuns: 200 },
  );
});

t.test("exceptions are what a slow search says", async () => {
  const name = fc
    .array(fc.constantFrom("a", "b", "c"), { minLength: 0, maxLength: 3 })
    .map((labels) => [...labels, "evil", "example"].join("."));
  const list = fc.array(name, { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(
      list,
      fc.array(name, { maxLength: 4 }),
      fc.array(name, { maxLength: 8 }),
      (rules, holes, asked) => {
        const body = [...rules.map((rule) => `||${rule}^`), ...holes.map((hole) => `@@||${hole}^`)].join(
          "\n",
        );
        const { entries } = read(body, { format: "adblock" });
        const under = (one: string, top: string): boolean => one === top || one.endsWith(`.${top}`);
        const hits = (one: string): boolean => {
          return entries.some((entry) =>
            entry.startsWith(".") ? under(one, entry.slice(1)) : entry === one,
          );
        };
        for (const one of [...asked, ...rules, ...holes]) {
          const excepted = holes.some((hole) => under(one, hole));
          if (excepted && hits(one)) throw new Error(`${one} is excepted and hits: ${body}`);
          if (!excepted && rules.includes(one) && !hits(one)) throw new Error(`${one} is lost: ${body}`);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

t.test("one real feed in seven forms", withData, async (t) => {
  const form = (name: string, options: Partial<ParseOptions> = {}): Read => {
    return read(readFileSync(`${DATA}/feeds/urlhaus-filter-${name}`), { match: "exact", ...options });
  };
  const reference = form("hosts-online.txt").entries;
  t.equal(reference.length, 1241);
  for (const [name, format] of [
    ["agh-online.txt", "adblock"],
    ["bind-online.conf", "bind"],
    ["dnscrypt-blocked-names-online.txt", "plain"],
    ["dnsmasq-online.conf", "dnsmasq"],
    ["domains-online.txt", "plain"],
    ["hosts-online.txt", "hosts"],
    ["rpz-online.conf", "rpz"],
  ] as const) {
    const { list, entries } = form(name);
    t.equal(list.format, format, name);
    t.strictSame(entries, reference, `${name} holds the same names`);
    // Two of the forms carry the addresses too; the others leave them out.
    t.equal(list.refused, /^(?:agh|domains)/.test(name) ? 5174 : 0, name);
  }
  const addresses = form("domains-online.txt", { kind: "address" });
  t.equal(addresses.list.count, 5174);
  const rules = form("agh-online.txt", { kind: "address" });
  t.strictSame(rules.entries.toSorted(), addresses.entries.toSorted(), "in another order");
});

t.test("kind url: whole hosts of URLs, and nothing else", async (t) => {
  const body = [
    "# feed",
    "http://evil.example/",
    "https://Bad.Example",
    "http://shared.example/page.html?x=1",
    "https://evil.example:8443/",
    "http://192.0.2.1/",
    "https://[2001:db8::1]/",
    "name.example",
    "http://github.io/",
  ].join("\n");
  const { list, entries, reasons } = read(body, { kind: "url" });
  t.strictSame(entries, ["evil.example", "bad.example"]);
  t.equal(list.format, "plain");
  t.equal(list.match, "exact");
  t.equal(list.refused, 6);
  t.match(reasons, [/names a page/, /names a page/, /of kind `address`/, /of kind `address`/, /not a URL/]);
  t.strictSame(read(body, { kind: "url", match: "suffix" }).entries, [".evil.example", ".bad.example"]);

  const threatfox = [
    '# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type"',
    '"2026-01-01 00:00:00", "1", "name.example", "domain", "botnet_cc"',
    '"2026-01-01 00:00:00", "2", "http://host.example/", "url", "payload_delivery"',
    '"2026-01-01 00:00:00", "3", "http://shared.example/x.bin", "url", "payload_delivery"',
  ].join("\n");
  t.strictSame(read(threatfox, { kind: "url" }).entries, ["host.example"]);
  const stix = (value: string): string =>
    JSON.stringify({
      type: "bundle",
      objects: [{ type: "indicator", pattern_type: "stix", pattern: `[url:value = '${value}']` }],
    });
  t.strictSame(read(stix("https://host.example"), { kind: "url" }).entries, ["host.example"]);
  t.throws(() => read("https://host.example/page\n", { kind: "url" }), {
    message: /its only line is not an entry \(URL of a whole host expected\)/,
  });
});
