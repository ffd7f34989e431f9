import fc from "fast-check";
import t from "tap";
import { TidesmanError } from "../../src/errors.ts";
import { parseFeeds, parseManifest } from "../../src/feed/manifest.ts";
import type { DeclaredFeed } from "../../src/feed/types.ts";

const FILE = "/etc/tidesman/feeds.yaml";
const BODIES = "/var/lib/tidesman/feeds/bodies";
const URL_KEYS = 'url: "https://lists.example/a.txt"';

/** The only feed of a manifest in flow style; name and kind come with it. */
function one(keys: string, kind = "domain"): DeclaredFeed | undefined {
  return parseFeeds(`version: 1\nfeeds: [{ name: a, kind: ${kind}, ${keys} }]`, FILE, BODIES)[0];
}

/** The lines of what is wrong. */
function problems(keys: string, kind = "domain"): readonly string[] {
  try {
    one(keys, kind);
  } catch (error) {
    if (!(error instanceof TidesmanError)) throw error;
    return error.message.split("\n");
  }
  return [];
}

t.test("a fetched list: defaults are careful, and it is kept below the state folder", async (t) => {
  t.strictSame(one(URL_KEYS), {
    name: "a",
    path: `${BODIES}/a`,
    url: "https://lists.example/a.txt",
    remote: {
      protocol: "http",
      url: "https://lists.example/a.txt",
      timeout: 60_000,
      maxSize: 128 * 1024 * 1024,
    },
    kind: "domain",
    enabled: true,
    interval: 3_600_000,
    allowEmpty: false,
    maxShrink: 0.5,
    quarantine: 86_400_000,
    hold: "never",
    allowPopular: false,
    allowInternal: false,
  });
  t.match(one("path: a.txt"), {
    path: "/etc/tidesman/a.txt",
    interval: 0,
    allowEmpty: true,
    maxShrink: 1,
    hold: "never",
    allowPopular: true,
    allowInternal: true,
  });
  t.notOk(one("path: a.txt")?.remote);
});

t.test("all keys", async (t) => {
  const keys = `${URL_KEYS}, effect: block, enabled: false, interval: 1h30m, timeout: 5s, maxSize: 64MiB,
    ca: pki/ca.pem, licence: CC0, attribution: Somebody, allowEmpty: true, maxShrink: 25%, quarantine: 0,
    hold: learned, allowPopular: true, allowInternal: true`;
  t.match(one(keys), {
    effect: "block",
    enabled: false,
    interval: 5_400_000,
    licence: "CC0",
    attribution: "Somebody",
    allowEmpty: true,
    maxShrink: 0.25,
    quarantine: 0,
    hold: "learned",
    allowPopular: true,
    allowInternal: true,
    remote: { timeout: 5000, maxSize: 64 * 1024 * 1024, ca: "/etc/tidesman/pki/ca.pem" },
  });
  t.equal(one(`${URL_KEYS}, maxShrink: 0.1`)?.maxShrink, 0.1);
  t.match(one(`${URL_KEYS}, protocol: taxii`), { format: "stix", remote: { protocol: "taxii" } });
  t.match(one(`${URL_KEYS}, protocol: misp, format: auto`), { format: "misp", remote: { protocol: "misp" } });
  t.equal(one(URL_KEYS, "url")?.match, "exact");
  t.equal(one(`${URL_KEYS}, match: suffix`, "url")?.match, "suffix");
});

t.test("popular names of the operator's own", async (t) => {
  const text = "version: 1\npopular: [ours.txt, /srv/names]\nfeeds: []";
  t.strictSame(parseManifest(text, FILE, BODIES), {
    feeds: [],
    popular: ["/etc/tidesman/ours.txt", "/srv/names"],
  });
  t.strictSame(parseManifest("version: 1\nfeeds: []", FILE).popular, []);
});

t.test("secrets stand elsewhere", async (t) => {
  const authentication = (form: string): unknown =>
    one(`${URL_KEYS}, authentication: { ${form} }`)?.remote?.authentication;
  t.strictSame(authentication('header: Authorization, prefix: "Bearer ", file: secrets/a'), {
    kind: "header",
    name: "Authorization",
    prefix: "Bearer ",
    secret: { file: "/etc/tidesman/secrets/a" },
  });
  t.strictSame(authentication("header: Auth-Key, environment: ABUSE_CH_KEY"), {
    kind: "header",
    name: "Auth-Key",
    prefix: "",
    secret: { environment: "ABUSE_CH_KEY" },
  });
  t.strictSame(authentication("query: key, file: /run/secret"), {
    kind: "query",
    name: "key",
    secret: { file: "/run/secret" },
  });
  t.strictSame(authentication("user: me, file: /run/secret"), {
    kind: "basic",
    user: "me",
    secret: { file: "/run/secret" },
  });
  for (const [form, wanted] of [
    ["file: a", /authentication: needs one of header, query, user/],
    ["header: A", /authentication: needs one of file, environment/],
    ["header: A, query: b, file: c", /authentication\.query: stands beside `header`/],
    ["header: A, file: b, environment: C", /authentication\.environment: stands beside `file`/],
    [
      "header: A, token: b",
      /authentication\.token: no secret stands in feeds\.yaml, .*`file`.*`environment`/,
    ],
    ["header: A, fil: b", /authentication\.fil: the key is not known \(did you mean `file`\?\)/],
    ["header: 'A: b', file: c", /authentication\.header: needs the name of a header/],
    ["header: Host, file: c", /authentication\.header: is a header of the transfer itself/],
    ["query: a, prefix: b, file: c", /authentication\.prefix: stands before the value of a `header`/],
    ["user: 'a:b', file: c", /authentication\.user: needs a user's name without `:`/],
    ["user: a, environment: 'B=C'", /authentication\.environment: needs the name of a variable/],
  ] as const) {
    t.match(problems(`${URL_KEYS}, authentication: { ${form} }`).join("\n"), wanted);
  }
});

t.test("no message repeats what may be a secret", async (t) => {
  for (const keys of [
    `${URL_KEYS}, authentication: hunter2`,
    `${URL_KEYS}, authentication: { header: A, token: hunter2 }`,
    `${URL_KEYS}, authentication: { header: A, environment: "hunter2 " }`,
    `${URL_KEYS}, authentication: [hunter2]`,
    'url: "https://me:hunter2@lists.example/a"',
    'url: "https://lists.example/a?api_key=hunter2"',
    'url: "hunter2"',
  ]) {
    const found = problems(keys);
    t.ok(found.length > 0, keys);
    t.notMatch(found.join("\n"), "hunter2", keys);
  }
});

t.test("addresses of lists", async (t) => {
  for (const [url, wanted] of [
    ["https://me:x@lists.example/a", /feeds\[0\]\.url: has a user or a password in it; .*`authentication`/],
    ["https://lists.example/a#b", /url: has a fragment/],
    ["ftp://lists.example/a", /url: has a scheme that is not fetched/],
    ["file:///etc/passwd", /url: has a scheme that is not fetched; .*`path`/],
    ["lists.example/a", /url: is no URL/],
    ["https://lists.example/a b", /url: is no URL/],
    [`https://lists.example/?list=1&key=${"k".repeat(16)}`, /url: has a secret in it \(`key`\)/],
    ["https://lists.example/?token=x", /url: has a secret in it \(`token`\); .*`authentication`/],
  ] as const) {
    t.match(problems(`url: "${url}"`).join("\n"), wanted);
  }
  t.equal(
    one('url: "https://LISTS.example:443/a?page=1&key2=b"')?.url,
    "https://lists.example/a?page=1&key2=b",
  );
});

t.test("`all` names no feed, since `feeds test` takes it for every one", async (t) => {
  t.throws(() => parseFeeds("version: 1\nfeeds: [{ name: all, kind: domain, path: a }]", FILE, BODIES), {
    code: "TM_FEED",
    message: /feeds\.yaml:2:17: feeds\[0\]\.name: `all` stands for every feed/,
  });
});

t.test("what does not go together, all at once and with its place", async (t) => {
  t.match(problems("effect: block"), [/^\/etc\/tidesman\/feeds\.yaml:2:9: feeds\[0\]: needs `path`.*`url`/]);
  t.match(problems(`path: a, ${URL_KEYS}`), [/feeds\[0\]\.url: stands beside `path`/]);
  const local = problems("path: a, interval: 1h, timeout: 1s, maxSize: 1MiB, ca: b, protocol: http");
  t.equal(local.length, 5);
  for (const line of local) t.match(line, /is for lists that are fetched/);
  t.match(problems(`${URL_KEYS}, match: exact`, "address"), [/match: is for domain feeds and url feeds/]);
  t.match(problems(`${URL_KEYS}, format: hosts`, "url"), [/format: `hosts` holds no URLs/]);
  t.match(problems(`${URL_KEYS}, protocol: taxii, format: misp`), [
    /format: `misp` is not what `protocol: taxii`/,
  ]);
  t.match(
    problems(
      `${URL_KEYS}, interval: 1m, timeout: 2h, maxSize: 1GiB, maxShrink: 120%, quarantine: soon, hold: no`,
    ),
    [
      /interval: `1m` is out of range; 5m to 30d/,
      /timeout: `2h` is out of range; 1s to 1h/,
      /maxSize: `1GiB` is out of range; 1KiB to 512MiB/,
      /maxShrink: `120%` is no share; 0 to 1/,
      /quarantine: `soon` is no duration/,
      /hold: `no` is not allowed.*never, learned, always/,
    ],
  );
  const text = `version: 1\nfeeds: [{ name: a.json, kind: domain, ${URL_KEYS} }]`;
  t.throws(() => parseFeeds(text, FILE), { message: /feeds\[0\]\.name: ends in `\.json`/ });
});

t.test("whatever stands there, it is a manifest or TM_FEED", async (t) => {
  const value = fc.jsonValue({ maxDepth: 3 });
  const source = fc.dictionary(
    fc.constantFrom(
      "name",
      "path",
      "url",
      "kind",
      "format",
      "match",
      "protocol",
      "authentication",
      "interval",
    ),
    value,
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(source, value)), value, (feeds, popular) => {
      try {
        parseManifest(JSON.stringify({ version: 1, popular, feeds }), FILE, BODIES);
      } catch (error) {
        t.match(error, { code: "TM_FEED" });
      }
    }),
    { numRuns: 300 },
  );
});
