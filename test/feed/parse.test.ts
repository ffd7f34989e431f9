import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { formatAddress } from "../../src/address.ts";
import { MAX_LINES } from "../../src/feed/list/lines.ts";
import { isPublicSuffix } from "../../src/feed/list/names.ts";
import { ADDRESS_ROW, FeedBodyError, parseAddresses, parseDomains } from "../../src/feed/parse.ts";
import { nameToWire } from "../../src/name.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const withData = existsSync(DATA) ? {} : { skip: `no real data: ${DATA} does not exist` };

/** The entries as text; a leading dot marks those that stand for everything below. */
function domains(text: string | Uint8Array, match: "suffix" | "exact" = "exact"): string[] {
  const { entries, count } = parseDomains(typeof text === "string" ? Buffer.from(text) : text, match);
  const names = Buffer.from(entries).toString("latin1").split("\n");
  t.equal(names.pop(), "", "every name is ended");
  t.equal(names.length, count, "the count is that of the names");
  return names;
}

function addresses(text: string): string[] {
  const { entries, count } = parseAddresses(Buffer.from(text));
  const texts: string[] = [];
  for (let at = 0; at < entries.length; at += ADDRESS_ROW) {
    texts.push(`${formatAddress(entries, at + 2, entries[at] === 4 ? 4 : 16)}/${entries[at + 1]}`);
  }
  t.equal(texts.length, count);
  return texts;
}

/** The reason for which the only bad line of a list was refused. */
function refusal(line: string, kind: "domain" | "address" = "domain"): string | undefined {
  const good = kind === "domain" ? "good.example" : "192.0.2.1";
  const body = Buffer.from(`${good}\n${line}\n`);
  const { count, refused, samples } = kind === "domain" ? parseDomains(body, "suffix") : parseAddresses(body);
  t.equal(count, 1, `only the good line of ${JSON.stringify(line)} is an entry`);
  t.equal(refused, 1);
  return samples[0]?.replace(/^line 2: .*: /s, "");
}

t.test("a plain-domain list with all that real ones have", async (t) => {
  const list = [
    "\ufeff# Title: a list",
    "! Adblock comment",
    "; zone comment",
    "",
    "   \t",
    "Evil.EXAMPLE",
    "evil.example.  # the final dot is the root's",
    "\tindented.example\t; inline",
    "*.wild.example",
    ".dotted.example",
    "bücher.example",
    "*.BÜCHER.example ! inline",
    "_dmarc.under_score.example",
    "-dash-.example",
    "ideographic。full.example",
    "xn--bcher-kva.example",
  ].join("\r\n");
  t.strictSame(domains(list), [
    "evil.example",
    "evil.example",
    "indented.example",
    ".wild.example",
    ".dotted.example",
    "xn--bcher-kva.example",
    ".xn--bcher-kva.example",
    "_dmarc.under_score.example",
    "-dash-.example",
    "ideographic.full.example",
    "xn--bcher-kva.example",
  ]);
  t.strictSame(domains("evil.example\n*.a.example", "suffix"), [".evil.example", ".a.example"]);
});

t.test("what is no domain is refused, with the reason", async (t) => {
  t.equal(refusal("192.0.2.1"), "an address, not a domain name");
  t.equal(refusal("1.2.3.0x4"), "an address, not a domain name");
  t.equal(refusal("１.２.３.４"), "an address, not a domain name");
  t.equal(refusal("2001:db8::1"), "a URL or port, not a domain name");
  t.equal(refusal("evil.example:8080"), "a URL or port, not a domain name");
  t.equal(refusal("http://evil.example/x"), "a URL or port, not a domain name");
  t.equal(refusal("evil.example/x"), "a URL or port, not a domain name");
  t.equal(refusal("evil.example#fragment"), "not a domain name");
  t.equal(refusal("||evil.example^"), "not a domain name");
  t.equal(refusal("ev%69l.büch.example"), "not a domain name");
  t.equal(refusal("0.0.0.0 evil.example"), "more than one name");
  t.equal(refusal("evil.example other.example"), "more than one name");
  t.equal(refusal("bücher.example other.example"), "more than one name");
  t.equal(refusal("localhost"), "a single label");
  t.equal(refusal("com"), "a single label");
  t.equal(refusal("*.com"), "a single label");
  t.equal(refusal("co.uk"), "a public suffix");
  t.equal(refusal(".github.io"), "a public suffix");
  t.equal(refusal("evil..example"), "empty label");
  t.equal(refusal("..example"), "empty label");
  t.equal(refusal("．evil.example"), "empty label", "full stops of other scripts are full stops");
  t.equal(refusal(".。bücher.example"), "empty label");
  t.equal(refusal("."), "empty label");
  t.equal(refusal("*."), "empty label");
  t.equal(refusal(`${"a".repeat(64)}.example`), "label over 63 bytes");
  t.equal(refusal(`${"a".repeat(60)}.`.repeat(5).slice(0, -1)), "name over 255 bytes");
  t.equal(refusal(`${"a".repeat(100_000)}.example`), "line too long");
});

t.test("labels and names at the limits are kept", async (t) => {
  const label = "a".repeat(63);
  const longest = `${label}.${label}.${label}.${"a".repeat(53)}.example`;
  t.equal(longest.length, 253);
  t.strictSame(domains(`${longest}\n${longest}.\n${label}.example`), [longest, longest, `${label}.example`]);
  t.equal(refusal(longest.replace(".example", "a.example")), "name over 255 bytes");
});

t.test("public suffixes of registries and hosters, but not a customer's name below a wildcard", async (t) => {
  for (const name of ["co.uk", "github.io", "blogspot.com", "anything.ck"]) t.ok(isPublicSuffix(name), name);
  for (const name of ["x.localto.net", "evil.github.io", "www.ck", "evil.co.uk"])
    t.notOk(isPublicSuffix(name), name);
});

t.test("a plain-address list", async (t) => {
  const list =
    "\ufeff# c\r\n192.0.2.1\r\n 198.51.100.77/24 ; SBL1\r\n2001:DB8::/32\n2001:db8::1 # x\n::ffff:192.0.2.9\n::ffff:192.0.2.0/120";
  t.strictSame(addresses(list), [
    "192.0.2.1/32",
    "198.51.100.0/24",
    "2001:db8::/32",
    "2001:db8::1/128",
    "192.0.2.9/32",
    "192.0.2.0/24",
  ]);
  for (const line of [
    "192.0.2.1:80",
    "192.0.2.1-2001:db8::1",
    "192.0.2.1-",
    "evil.example",
    "010.0.0.1",
    "1.2.3",
    "1.2.3.4/33",
  ]) {
    t.equal(refusal(line, "address"), "not an address", line);
  }
  for (const line of ["0.0.0.0/0", "::/0", "128.0.0.0/7", "2000::/3"]) {
    t.equal(refusal(line, "address"), "a prefix too short to be meant", line);
  }
  t.equal(refusal("192.0.2.1 192.0.2.2", "address"), "more than one address");
});

t.test("a body that is no list is refused as a whole", async (t) => {
  const bodies: [string | Uint8Array, RegExp][] = [
    ["<!DOCTYPE html><html><body>evil.example\nevil.example\n</body>", /web page/],
    ["\ufeff \r\n <?xml version='1.0'?>\nevil.example\n", /web page/],
    [Uint8Array.of(0x1f, 0x8b, 8, 0, 0), /binary/],
    [Buffer.from("evil.example\n", "utf16le"), /binary/],
    [Buffer.concat([Buffer.from("evil.example\n".repeat(2000)), Buffer.of(0)]), /binary/],
    ['{"domains": ["evil.example"]}', /its only line is not an entry/],
    ["{".repeat(5), /its only line is not an entry/],
    ["0.0.0.0 a.example\n0.0.0.0 b.example\n", /none of its 2 lines is an entry/],
  ];
  for (const [body, message] of bodies) {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    t.throws(() => parseDomains(bytes, "suffix"), { name: "FeedBodyError", message });
    t.throws(() => parseAddresses(bytes), FeedBodyError);
  }
});

t.test("a list of more lines than any that is published is refused", async (t) => {
  const body = Buffer.alloc(MAX_LINES + 1, "\n");
  t.throws(() => parseDomains(body, "suffix"), {
    name: "FeedBodyError",
    message: /more than 20000000 lines/,
  });
  t.equal(parseDomains(body.subarray(1), "suffix").count, 0);
});

t.test("an empty list, or one of comments alone, is a good one", async (t) => {
  for (const body of ["", "\n\r\n", "# nothing yet\n", "\ufeff"]) {
    t.strictSame(domains(body), []);
    t.strictSame(addresses(body), []);
  }
});

t.test("samples are few, short and harmless on a terminal", async (t) => {
  const body = `good.example\n${`bad\u001b[31m${"x".repeat(200)}\n`.repeat(50)}`;
  t.throws(() => parseDomains(Buffer.from(body), "suffix"), /binary/);
  const later = `${"good.example\n".repeat(400)}${`bad\u001b[31m${"x".repeat(200)}\n`.repeat(50)}`;
  const { refused, samples } = parseDomains(Buffer.from(later), "suffix");
  t.equal(refused, 50);
  t.equal(samples.length, 5);
  for (const sample of samples) t.match(sample, /^line 4\d\d: bad\\x1b\[31mx+…: not a domain name$/);
});

t.test(
  "whatever the bytes: entries, a refusal, or an error of the body; and never a wrong entry",
  async () => {
    const line = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.webUrl(),
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^[.*a-zA-Z0-9#;! -]{0,20}$/),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(line, { maxLength: 8 }).map((lines) => Buffer.from(lines.join("\n"))),
          fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        ),
        fc.constantFrom<"suffix" | "exact">("suffix", "exact"),
        (body, match) => {
          for (const parse of [() => parseDomains(body, match), () => parseAddresses(body)]) {
            try {
              parse();
            } catch (error) {
              if (!(error instanceof FeedBodyError)) throw error;
            }
          }
          try {
            const { entries } = parseDomains(body, match);
            for (const entry of Buffer.from(entries).toString("latin1").split("\n").slice(0, -1)) {
              const name = entry.replace(/^\./, "");
              if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name))
                throw new Error(`wrong entry ${JSON.stringify(entry)}`);
              if (nameToWire(name) === null) throw new Error(`no name: ${JSON.stringify(entry)}`);
            }
          } catch (error) {
            if (!(error instanceof FeedBodyError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  },
);

t.test("real lists", withData, async (t) => {
  const read = (name: string): Buffer => readFileSync(`${DATA}/feeds/${name}`);
  const mixed = parseDomains(read("urlhaus-filter-domains-online.txt"), "suffix");
  t.equal(mixed.count, 1241, "the names of a list that is mostly addresses");
  t.equal(mixed.refused, 5174);
  t.equal(parseDomains(read("urlhaus-filter-dnscrypt-blocked-names-online.txt"), "exact").count, 1241);
  t.equal(parseAddresses(read("ipsum-level3.txt")).count, 14217);
});
