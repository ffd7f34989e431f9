import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { noFeeds, readFeedFile } from "../../src/feed/load.ts";
import { parseFeeds } from "../../src/feed/manifest.ts";
import type { CompiledFeeds } from "../../src/feed/types.ts";
import { nameToWire } from "../../src/name.ts";
import { loadLists, SEED } from "./load-lists.ts";

function fileError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

/** A file system of the texts given; an Error is thrown where it stands. */
function reader(files: Record<string, string | Error>): (path: string) => Uint8Array {
  return (path) => {
    const file = files[path] ?? fileError("ENOENT");
    if (file instanceof Error) throw file;
    return Buffer.from(file);
  };
}

const MANIFEST = `version: 1
feeds:
  - { name: bad, path: bad.txt, kind: domain }
  - { name: addresses, path: /lists/addresses.txt, kind: address, effect: block }
  - { name: off, path: off.txt, kind: domain, match: exact, enabled: false }
`;

function hits(feeds: CompiledFeeds, name: string): string[] {
  return openFeeds(feeds)
    .domain(nameToWire(name)!, 0)
    .map(({ feed, entry }) => `${feed}:${entry}`);
}

t.test("the manifest", async (t) => {
  t.match(parseFeeds(MANIFEST, "/etc/tidesman/feeds.yaml"), [
    { name: "bad", path: "/etc/tidesman/bad.txt", kind: "domain", enabled: true },
    {
      name: "addresses",
      path: "/lists/addresses.txt",
      kind: "address",
      effect: "block",
      enabled: true,
    },
    { name: "off", path: "/etc/tidesman/off.txt", kind: "domain", match: "exact", enabled: false },
  ]);
  t.strictSame(parseFeeds("version: 1\nfeeds: []", "f.yaml"), []);
});

t.test("every problem of a manifest is told at once, with its place", async (t) => {
  const text = `version: 1
feeds:
  - { name: one, path: one.txt, kind: domains }
  - { name: one, path: two.txt, kind: domain, effect: disable }
  - { name: "two words", path: "", kind: address, match: suffix, colour: red }
`;
  let message = "";
  try {
    parseFeeds(text, "feeds.yaml");
  } catch (error) {
    t.match(error, { code: "TM_FEED", exitStatus: 2 });
    message = error instanceof Error ? error.message : "";
  }
  t.match(message, /^feeds\.yaml:3:\d+: feeds\[0\]\.kind: /m);
  t.match(message, /^feeds\.yaml:4:\d+: feeds\[1\]\.name: `one` is the name of feeds\[0\] already/m);
  t.match(message, /^feeds\.yaml:4:\d+: feeds\[1\]\.effect: .*alert, prevent, block/m);
  t.match(message, /^feeds\.yaml:5:\d+: feeds\[2\]\.name: /m);
  t.match(message, /^feeds\.yaml:5:\d+: feeds\[2\]\.path: /m);
  t.match(message, /^feeds\.yaml:5:\d+: feeds\[2\]\.match: is for domain feeds and/m);
  t.match(message, /^feeds\.yaml:5:\d+: feeds\[2\]\.colour: /m);
  t.throws(() => parseFeeds("", "feeds.yaml"), { code: "TM_FEED" });
  t.throws(() => parseFeeds("feeds: [", "feeds.yaml"), { code: "TM_FEED" });
  t.throws(() => parseFeeds("version: 2\nfeeds: []", "feeds.yaml"), { code: "TM_FEED" });
});

t.test("one list that fails leaves the others in use, and keeps what was last read of it", async (t) => {
  const clock = new ManualClock(1000);
  const files: Record<string, string | Error> = {
    "/lists/addresses.txt": "192.0.2.1\nrubbish\n",
  };
  const load = (previous?: CompiledFeeds): CompiledFeeds => {
    clock.advance(1000);
    return loadLists({ text: MANIFEST, folder: "/m", readFile: reader(files), clock, previous });
  };
  const first = load();
  t.match(first.statuses[0], {
    name: "bad",
    entries: 0,
    error: "`/m/bad.txt` does not exist; the feed is not in use",
  });
  t.strictSame(first.statuses[1], {
    name: "addresses",
    kind: "address",
    entries: 1,
    refused: 1,
    samples: ["line 2: rubbish: not an address"],
    loadedAt: 2000,
    error: null,
  });
  t.match(first.statuses[2], { name: "off", entries: 0, error: null });
  t.equal(openFeeds(first).address(Uint8Array.of(192, 0, 2, 1), 0, 4)[0]?.effect, "block");

  files["/m/bad.txt"] = "evil.example\n*.worse.example\n";
  const second = load(first);
  t.match(second.statuses[0], { entries: 2, error: null, loadedAt: 3000 });
  t.strictSame(hits(second, "x.evil.example"), ["bad:evil.example"]);

  files["/m/bad.txt"] = "<html>503</html>";
  files["/lists/addresses.txt"] = fileError("EACCES");
  let last = second;
  for (let round = 0; round < 3; round++) last = load(last);
  t.match(last.statuses[0], { entries: 2, loadedAt: 3000 });
  t.match(last.statuses[0]?.error, /web page.*; the list as read at 1970-01-01T00:00:03.000Z stays in use$/);
  t.match(last.statuses[1]?.error, /may not be read by this user; the list as read at/);
  t.strictSame(hits(last, "x.evil.example"), ["bad:evil.example"]);
  t.equal(openFeeds(last).address(Uint8Array.of(192, 0, 2, 1), 0, 4).length, 1);

  files["/m/bad.txt"] = "# emptied on purpose\n";
  const emptied = load(last);
  t.match(emptied.statuses[0], { entries: 0, error: null });
  t.strictSame(hits(emptied, "evil.example"), []);
  delete files["/m/bad.txt"];
  t.match(load(emptied).statuses[0], { entries: 0, error: /stays in use$/ }, "an emptied list is a good one");
});

t.test("a list that changed its meaning, or was switched off, does not come back", async (t) => {
  const clock = new ManualClock();
  const load = (manifest: string, files: Record<string, string>, previous?: CompiledFeeds): CompiledFeeds => {
    const text = `version: 1\nfeeds: [${manifest}]`;
    return loadLists({ text, folder: "/m", readFile: reader(files), clock, previous });
  };
  const suffix = load("{ name: one, path: one.txt, kind: domain }", { "/m/one.txt": "evil.example" });
  t.equal(hits(suffix, "a.evil.example").length, 1);
  const exact = load("{ name: one, path: one.txt, kind: domain, match: exact }", {}, suffix);
  t.match(exact.statuses[0]?.error, /not in use$/);
  t.equal(hits(exact, "evil.example").length, 0);
  const off = load("{ name: one, path: one.txt, kind: domain, enabled: false }", {}, suffix);
  t.equal(hits(off, "evil.example").length, 0);
});

t.test(
  "a list that is fetched is read from where it is kept; before that it is a state, not a failure",
  async (t) => {
    const files: Record<string, string> = {};
    const text = `version: 1
feeds: [{ name: far, url: "https://lists.example/far.txt", kind: domain }, { name: pages, url: "https://lists.example/urls.txt", kind: url }]`;
    const options = { text, folder: "/m", bodies: "/state", clock: new ManualClock(1000) };
    const first = loadLists({ ...options, readFile: reader(files) });
    t.match(first.statuses, [
      { entries: 0, error: "not fetched yet; the feed is not in use" },
      { entries: 0, error: "not fetched yet; the feed is not in use" },
    ]);
    files["/state/far"] = "evil.example\n";
    files["/state/pages"] = "http://page.example/\nhttp://shared.example/a\n";
    const second = loadLists({ ...options, readFile: reader(files), previous: first });
    t.match(second.statuses, [{ entries: 1 }, { entries: 1, kind: "url", refused: 1, error: null }]);
    t.strictSame(hits(second, "page.example"), ["pages:page.example"]);
    t.strictSame(hits(second, "a.page.example"), []);
    delete files["/state/pages"];
    const third = loadLists({ ...options, readFile: reader(files), previous: second });
    t.match(third.statuses[1], {
      entries: 1,
      error: /^not fetched yet; the list as read at .* stays in use$/,
    });
    t.strictSame(hits(third, "page.example"), ["pages:page.example"]);
  },
);

t.test("no feeds at all are as good as an empty manifest", async (t) => {
  const text = "version: 1\nfeeds: []";
  const feeds = loadLists({ text, folder: "/m", readFile: reader({}), clock: new ManualClock() });
  t.strictSame(feeds.sources, []);
  t.strictSame(Buffer.from(noFeeds(SEED).domains), Buffer.from(feeds.domains));
});

t.test("only regular files are read", async (t) => {
  const folder = t.testdir({ "list.txt": "evil.example\n" });
  execFileSync("mkfifo", [`${folder}/pipe`]);
  t.equal(Buffer.from(readFeedFile(`${folder}/list.txt`)).toString(), "evil.example\n");
  t.throws(() => readFeedFile(`${folder}/pipe`), { message: /not a regular file/ });
  t.throws(() => readFeedFile(folder));
  t.throws(() => readFeedFile(`${folder}/none`), { code: "ENOENT" });
});

t.test("what ships: two empty local lists, and lists to fetch", async (t) => {
  const manifest = resolve(import.meta.dirname, "../../feeds/feeds.yaml");
  const text = readFileSync(manifest, "utf8");
  const sources = parseFeeds(text, manifest);
  const enabled = sources.filter((source) => source.enabled);
  t.strictSame(
    enabled.map(({ name, kind }) => `${name} ${kind}`),
    [
      "custom-domains domain",
      "custom-addresses address",
      "spamhaus-drop address",
      "spamhaus-drop-ipv6 address",
      "ipsum address",
      "hagezi-threats domain",
    ],
  );
  for (const { name, url, licence = "", attribution, remote, maxShrink, enabled } of sources) {
    if (remote === undefined) continue;
    t.match(url, /^https:/, `${name} is fetched safely`);
    t.ok(attribution, `${name} names its publisher`);
    t.ok(maxShrink > 0, `${name} may shrink`);
    t.equal(
      /check its terms/.test(licence),
      !enabled,
      `${name} is enabled where its terms are known to allow it`,
    );
  }
  t.notMatch(text, /npmjs|debian\.org|jsdelivr/, "registries are no feeds");
  const lists = { text, folder: dirname(manifest), bodies: t.testdir() };
  const feeds = loadLists({ ...lists, readFile: readFeedFile, clock: new ManualClock() });
  t.match(feeds.statuses.slice(0, 3), [
    { error: null, refused: 0 },
    { error: null, refused: 0 },
    { error: /not fetched yet/ },
  ]);
});
